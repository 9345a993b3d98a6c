"""The machine beneath: time stolen by its hypervisor, idle time, pressure, load, context switches."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path

from lab.meter import Meter
from lab.meter.cpu import STAT, host_times
from lab.record import Block, Failed, Reading, Window

PRESSURES = ("cpu", "memory", "io")
Row = Mapping[str, float | int | None]


def shares(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Each class's share of all processors' time, 0 to 1. A class may go back by a tick: that counts as none."""
    passed = {name: max(0.0, after[name] - before[name]) for name in after}
    total = sum(passed.values()) or 1.0
    return {name: value / total for name, value in passed.items()}


def steal_share(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    """The share of all processors' time that the hypervisor gave to others: 0 to 1, in steps of one tick (10 ms)."""
    return shares(before, after)["steal"]


def pressure_s(kind: str, root: Path = Path("/proc/pressure")) -> float | None:
    """Seconds since boot in which some task waited for this resource; None where the kernel does not account it."""
    try:
        text = (root / kind).read_text()
    except OSError:  # absent, or switched off at boot (EOPNOTSUPP)
        return None
    return int(text.splitlines()[0].rpartition("total=")[2]) / 1e6


class Host(Meter):
    """The steal of each window: part host, subject `all`, metric `steal_share` (see `steal_share` for its grain)."""

    name = "host"

    def __init__(self) -> None:
        self.before: dict[str, float] | None = None

    def open(self, block: Block) -> None:
        super().open(block)
        self.before = None

    def begin(self, window: Window) -> None:
        self.before = host_times()

    def end(self, window: Window) -> tuple[Reading, ...]:
        if self.before is None:
            raise Failed(f"window {window.index} of {self.block} ended but never began; call begin first")
        share = steal_share(self.before, host_times())
        self.before = None
        return (self.reading(window.arm, window.index, "host", "all", "steal_share", share),)


class HostSeries:
    """Samples the host in a thread of its own, once a second, from `start` to `stop`.

    `rows` are ready for a table: `monotonic_ns` (the end of the interval), `interval_s`, `steal_share`, `idle_share`,
    `softirq_share` (of all processors' time, 0 to 1), `load_1m`, `context_switches_per_s`, and `cpu_pressure`,
    `memory_pressure`, `io_pressure` (share of the interval in which some task waited; None where this kernel has no
    pressure accounting).
    """

    def __init__(self, interval_s: float = 1.0) -> None:
        self.interval_s = interval_s
        self.rows: list[Row] = []
        self.error: Exception | None = None
        self._stopping = self._ended = False
        self._wanted = threading.Event()  # a sample before its time
        self._sampled = threading.Condition()
        self._thread = threading.Thread(target=self._sample, name="host series", daemon=True)

    def start(self) -> HostSeries:
        """Begin to sample, from this very moment; returns itself."""
        self._before = _moment()
        self._thread.start()
        return self

    def settle(self) -> None:
        """Return once the rows reach up to now: within half an interval, as ticks of 10 ms make no shares of less."""
        now = time.monotonic_ns()
        self._wanted.set()
        with self._sampled:
            self._sampled.wait_for(lambda: self._ended or self._until() >= now)
        self._check()

    def stop(self) -> list[Row]:
        """End with one last sample and return all rows; idempotent. What went wrong in the thread is raised here."""
        self._stopping = True
        self._wanted.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._check()
        return self.rows

    def __enter__(self) -> HostSeries:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def worst(self, start_ns: int, end_ns: int) -> float:
        """The highest steal share of the samples that overlap a span of CLOCK_MONOTONIC; `Failed` when none does."""
        shares = [float(r["steal_share"] or 0) for r in self.rows if _overlaps(r, start_ns, end_ns)]
        if not shares:
            raise Failed(
                f"no sample of the host between {start_ns} and {end_ns} ns; sample from before it until after it"
            )
        return max(shares)

    @property
    def has_pressure(self) -> bool:
        """Whether this kernel accounts pressure at all."""
        return pressure_s("cpu") is not None

    def _until(self) -> int:
        return int(self.rows[-1]["monotonic_ns"] or 0) if self.rows else 0

    def _check(self) -> None:
        if self.error is not None:
            raise Failed(f"the host could not be sampled: {self.error}") from self.error

    def _sample(self) -> None:
        try:
            while not self._stopping:
                self._before = self._next(self._before)
        except Exception as error:  # noqa: BLE001 - kept for the others: a thread has nobody to tell
            self.error = error
        with self._sampled:
            self._ended = True
            self._sampled.notify_all()

    def _next(self, before: Moment) -> Moment:
        self._wanted.wait(self.interval_s)
        self._wanted.clear()  # whoever asked before this line is served by the sample below
        time.sleep(max(0.0, self.interval_s / 2 - (time.monotonic_ns() - before[0]) / 1e9))
        after = _moment()
        with self._sampled:
            self.rows.append(_row(before, after))
            self._sampled.notify_all()
        return after


Moment = tuple[int, dict[str, float], int, dict[str, float | None]]


def _moment() -> Moment:
    text = STAT.read_text()
    switches = int(text[text.index("\nctxt ") + 6 :].split(maxsplit=1)[0])
    return time.monotonic_ns(), host_times(text), switches, {kind: pressure_s(kind) for kind in PRESSURES}


def _row(before: Moment, after: Moment) -> Row:
    (start_ns, host0, switches0, pressure0), (end_ns, host1, switches1, pressure1) = before, after
    passed_s = (end_ns - start_ns) / 1e9
    used = shares(host0, host1)
    row: dict[str, float | int | None] = {"monotonic_ns": end_ns, "interval_s": passed_s}
    row |= {f"{name}_share": used[name] for name in ("steal", "idle", "softirq")}
    row["load_1m"] = float(Path("/proc/loadavg").read_text().split()[0])
    row["context_switches_per_s"] = (switches1 - switches0) / passed_s
    return row | {f"{kind}_pressure": _share(pressure0[kind], pressure1[kind], passed_s) for kind in PRESSURES}


def _share(before: float | None, after: float | None, passed_s: float) -> float | None:
    return None if before is None or after is None else (after - before) / passed_s


def _overlaps(row: Row, start_ns: int, end_ns: int) -> bool:
    end = int(row["monotonic_ns"] or 0)
    return end >= start_ns and end - float(row["interval_s"] or 0) * 1e9 <= end_ns
