"""Bytes of memory: each process's own (smaps_rollup), and its BPF maps and programs (memlock of fdinfo)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

from lab.cluster import Cluster, Process
from lab.meter import Meter
from lab.meter.bpf import Held, held
from lab.meter.processes import gone, leader, of_arm, part, subject
from lab.record import Reading, Window


@dataclass(frozen=True)
class Resident:
    """What a process keeps in memory, in bytes.

    `rss` counts shared pages in full, `pss` divides them among those who map them *now* (several proxies side by side
    share their program text, so each one's PSS is below that of a lone one), `private` leaves them out: clean + dirty.
    """

    rss_bytes: int
    pss_bytes: int
    private_bytes: int

    def __add__(self, other: Resident) -> Resident:
        mine, theirs = astuple(self), astuple(other)
        return Resident(*(a + b for a, b in zip(mine, theirs, strict=True)))


def resident(process: Process) -> Resident:
    """The sum over the process and its children."""
    return sum(map(rollup, rollups(process)), Resident(0, 0, 0))


def rollups(process: Process) -> Iterator[str]:
    """The smaps_rollup of the process and of each of its children."""
    leader(process)  # a process without pids is an error, not a zero
    for pid in process.pids():
        try:
            yield Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError as error:
            raise gone(process, error) from error


def rollup(text: str) -> Resident:
    """One smaps_rollup, as what a process keeps."""
    values = fields(text)
    return Resident(values["Rss"], values["Pss"], values["Private_Clean"] + values["Private_Dirty"])


def fields(text: str) -> dict[str, int]:
    """One smaps_rollup, bytes by name. Its first line is the address range; the others are `Name: n kB`."""
    return {name: int(rest.split()[0]) * 1024 for name, _, rest in (x.partition(":") for x in text.splitlines()[1:])}


def bpf_memory(processes: Iterable[Process]) -> dict[Process, Held]:
    """The maps and programs each process holds; what several hold is put on the first one's bill."""
    taken: set[tuple[str, int]] = set()
    result = {}
    for process in processes:
        try:
            result[process] = held(process.pids()).without(taken)
        except OSError as error:
            raise gone(process, error) from error
        taken |= result[process].keys()
    return result


class Memory(Meter):
    """At the end of each window, for every process of its arm.

    Metrics: `rss_bytes`, `pss_bytes`, `private_bytes`; and for those that hold any: `bpf_map_bytes`,
    `bpf_program_bytes`.
    """

    name = "memory"

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def end(self, window: Window) -> tuple[Reading, ...]:
        processes = of_arm(self.cluster.processes, window.arm)
        return tuple(
            self.reading(window.arm, window.index, part(process), subject(process), metric, value)
            for process, bpf in bpf_memory(processes).items()
            for metric, value in _figures(resident(process), bpf).items()
        )


def _figures(seen: Resident, bpf: Held) -> dict[str, int]:
    figures = {"rss_bytes": seen.rss_bytes, "pss_bytes": seen.pss_bytes, "private_bytes": seen.private_bytes}
    if bpf.maps or bpf.programs:
        figures["bpf_map_bytes"] = sum(m.memory_bytes for m in bpf.maps)
        figures["bpf_program_bytes"] = sum(p.memory_bytes for p in bpf.programs)
    return figures
