"""Where the processor's time went: user and system seconds of each process, and what remains to the kernel.

What is attributed to whom:

- A process's `cpu_s` is its cgroup's `usage_usec`: the scheduler's own clock, exact to the microsecond. Unless the
  kernel was built with IRQ_TIME_ACCOUNTING, it *includes* interrupts and softirqs that ran on its processor while it
  was current. Packets that a process sends over veth or loopback are received in softirq in its own context, so the
  sender pays for most of the receiver's TCP and for BPF programs on that way. `cpu_user_s` and `cpu_system_s` split
  `cpu_s` by the ratio that ticks saw.
- The host's `busy_s` = wall × cores − idle − iowait − stolen: the kernel keeps those by the clock. Its user, system,
  irq and softirq are sampled by the tick instead, which misses most of what wakes between two ticks (an open-loop load
  does just that: half of the busy time of 1,000 requests/s was not seen by ticks): they tell proportions, not sums.
- The kernel's remainder = busy − all processes of the lab (every arm) − the lab's own process: ksoftirqd, kworkers,
  interrupts and softirqs that woke an idle processor, and strangers. /proc/stat is cut to 10 ms a class, and where the
  hypervisor steals, a process's own clock may run on while it is stopped: the remainder may be a few 10 ms below zero.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.cluster import Cluster, Process
from lab.meter import Meter
from lab.meter.awake import Awake
from lab.meter.processes import alive, gone, part, subject
from lab.record import Block, Failed, Reading, Window

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
STAT = Path("/proc/stat")
HOST_CLASSES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
NOT_BUSY = ("idle", "iowait", "steal")


@dataclass(frozen=True)
class Usage:
    """Seconds of processor time. `total_s` is exact, the split is not (see above)."""

    total_s: float = 0.0
    user_s: float = 0.0
    system_s: float = 0.0

    def __sub__(self, other: Usage) -> Usage:
        return Usage(self.total_s - other.total_s, self.user_s - other.user_s, self.system_s - other.system_s)


def usage(process: Process) -> Usage:
    """What a process and its children have used since it started: from its cgroup v2, else from /proc/PID/stat."""
    try:
        if process.cgroup is not None:
            return _of_cgroup(process.cgroup)
        return _of_pids(process.pids())
    except OSError as error:
        raise gone(process, error) from error


def _of_cgroup(folder: Path) -> Usage:
    lines = (line.split() for line in (folder / "cpu.stat").read_text().splitlines())
    values = {name: int(value) / 1e6 for name, value in lines}
    return Usage(values["usage_usec"], values["user_usec"], values["system_usec"])


def _of_pids(pids: Sequence[int]) -> Usage:
    """Ticks of living processes and of the children they waited for; children lost to others are missing."""
    user = system = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        user += int(fields[11]) + int(fields[13])
        system += int(fields[12]) + int(fields[14])
    return Usage((user + system) * TICK_S, user * TICK_S, system * TICK_S)


def own_usage() -> Usage:
    """What the lab's own process has used."""
    seen = resource.getrusage(resource.RUSAGE_SELF)
    return Usage(seen.ru_utime + seen.ru_stime, seen.ru_utime, seen.ru_stime)


def host_times(stat: str | None = None) -> dict[str, float]:
    """Seconds of all processors together since boot, by class of /proc/stat (or its text); guests are inside user."""
    words = (stat or STAT.read_text()).partition("\n")[0].split()
    if words[:1] != ["cpu"] or len(words) <= len(HOST_CLASSES):
        raise Failed(f"/proc/stat starts with {' '.join(words)!r}; a Linux with steal time prints at least 8 classes")
    return {name: int(value) * TICK_S for name, value in zip(HOST_CLASSES, words[1:], strict=False)}


@dataclass(frozen=True)
class Snapshot:
    """All counters at one moment."""

    monotonic_s: float
    host: dict[str, float]
    own: Usage
    soaked_s: float
    processes: dict[Process, Usage]


class Cpu(Meter):
    """Seconds of processor time in each window.

    Metrics: `cpu_s`, `cpu_user_s`, `cpu_system_s` by process; part kernel, subject `remainder`: `cpu_s`; part host:
    subject `all` with `busy_s` and `user_s` … `steal_s`, `wall_s`, `cores`; subjects `lab` and `other arms` with
    `cpu_s`.
    """

    name = "cpu"

    def __init__(self, cluster: Cluster, awake: Awake | None = None) -> None:
        self.cluster = cluster
        self.awake = awake or Awake(wanted=False)
        self.before: Snapshot | None = None

    def open(self, block: Block) -> None:
        super().open(block)
        self.before = None

    def begin(self, window: Window) -> None:
        self.before = self._now()

    def end(self, window: Window) -> tuple[Reading, ...]:
        if self.before is None:
            raise Failed(f"window {window.index} of {self.block} ended but never began; call begin first")
        before, self.before = self.before, None
        return tuple(self._readings(before, self._now(before), window.arm, window.index))

    def _now(self, earlier: Snapshot | None = None) -> Snapshot:
        """The counters now. A process of the earlier snapshot is read again even if it has just ended."""
        known = dict.fromkeys(alive(self.cluster.processes))
        known |= dict.fromkeys(earlier.processes if earlier else ())
        return Snapshot(
            time.monotonic(), host_times(), own_usage(), self.awake.soaked_s(), {p: usage(p) for p in known}
        )

    def _readings(self, before: Snapshot, after: Snapshot, arm: str, window: int) -> list[Reading]:
        used = {p: u - before.processes.get(p, Usage()) for p, u in after.processes.items()}
        own = after.own - before.own
        host = {name: after.host[name] - before.host[name] for name in HOST_CLASSES}
        wall_s, cores = after.monotonic_s - before.monotonic_s, os.cpu_count() or 1
        soaked_s = after.soaked_s - before.soaked_s  # the spinners' time is nobody's: idle, but for its clock class
        busy = wall_s * cores - sum(host[name] for name in NOT_BUSY) - soaked_s
        others = sum(u.total_s for p, u in used.items() if p.arm != arm)
        remainder = busy - own.total_s - sum(u.total_s for u in used.values())
        readings = [r for p, u in used.items() if p.arm == arm for r in self._of(p, u, window)]
        figures = {("kernel", "remainder", "cpu_s"): remainder, ("host", "lab", "cpu_s"): own.total_s}
        figures |= {("host", "other arms", "cpu_s"): others, ("host", "all", "busy_s"): busy}
        figures |= {("host", "all", f"{name}_s"): value for name, value in host.items()}
        figures |= {("host", "all", "wall_s"): wall_s, ("host", "all", "cores"): float(cores)}
        return readings + [self.reading(arm, window, *key, value) for key, value in figures.items()]

    def _of(self, process: Process, used: Usage, window: int) -> tuple[Reading, ...]:
        values = {"cpu_s": used.total_s, "cpu_user_s": used.user_s, "cpu_system_s": used.system_s}
        who = (part(process), subject(process))
        return tuple(self.reading(process.arm, window, *who, metric, value) for metric, value in values.items())
