"""What a process weighs once it has come to rest, and the CPU time it has used."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from lab.cluster import Process
from lab.meter.memory import Resident, fields, resident, rollups
from lab.meter.processes import gone

LOOK_S = 0.25
REST = 0.002  # two looks that differ by less than this share: it has come to rest
PATIENCE_S = 6.0


def at_rest(process: Process) -> Resident:
    """Its memory once two looks agree, or after PATIENCE_S."""
    deadline = time.monotonic() + PATIENCE_S
    before = resident(process)
    while time.monotonic() < deadline:
        time.sleep(LOOK_S)
        now = resident(process)
        if abs(now.private_bytes - before.private_bytes) <= REST * before.private_bytes:
            return now
        before = now
    return before


def dirty_bytes(process: Process) -> int:
    """What the process has written to and nobody can share with it (Private_Dirty of smaps_rollup)."""
    return sum(fields(text)["Private_Dirty"] for text in rollups(process))


def weigh(processes: Sequence[Process]) -> Iterator[tuple[str, float]]:
    """Metrics over several processes together: private, dirty, PSS and RSS."""
    at_rest(processes[-1])
    total = sum((resident(p) for p in processes), Resident(0, 0, 0))
    yield "private_bytes", total.private_bytes
    yield "dirty_bytes", sum(map(dirty_bytes, processes))
    yield "pss_bytes", total.pss_bytes
    yield "rss_bytes", total.rss_bytes


def cpu_s(process: Process) -> float:
    """CPU seconds of all its threads since they started, to the nanosecond (schedstat, proc(5))."""
    return sum(_schedstat(process, pid) for pid in process.pids()) / 1e9


def _schedstat(process: Process, pid: int) -> int:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)
    except OSError as error:
        raise gone(process, error) from error
