"""Meters watch a deployment while it is under load. Each reads one thing; all answer to `Meter`.

A block is watched in one straight line::

    with Watch(block, meters(block.kind, cluster)) as watch:   # instruments start before the engines do
        ...start the engines...
        watch.meet()                                            # who is there now?
        watch.walk(epoch_ns)                                    # `begin` before each whole window, `end` after it
        ...collect the engines...
        watch.judge(arm, requests, epoch_ns)                    # what an engine says, beside what was seen
    watch.readings, watch.missing

An engine must keep its connections open until the last window's `end` has returned.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lab.cluster import Cluster
from lab.record import Block, BlockKind, CannotRun, Reading, Window

if TYPE_CHECKING:
    from lab.meter.awake import Awake  # its own process imports this package


LOOK_S = 0.1  # meters begin this long before a window and end this long after it, in the silence around it


class Meter:
    """Watches one thing. Hooks default to nothing; `close` is called once after `open`, whatever happened between.

    A window belongs to one arm, and so do the readings that `end` returns. A reading that failed raises `Failed`.
    """

    name: str = ""
    block: str = ""
    lacking: Mapping[str, str] = MappingProxyType({})  # what else it stands for and cannot run, and why

    def open(self, block: Block) -> None:
        """Get ready for a block, before its engines start. `CannotRun` where this machine lacks what it needs."""
        self.block = block.name

    def meet(self) -> None:
        """The engines live, and the epoch is about to be chosen: the last moment for what takes time."""

    def start(self, epoch_ns: int) -> None:
        """The engines were told when the block begins, in CLOCK_MONOTONIC of this process."""

    def begin(self, window: Window) -> None:
        """The window starts: remember where the counters stand."""

    def end(self, window: Window) -> tuple[Reading, ...]:
        """The window has ended: what it saw in between."""
        return ()

    def finish(self) -> None:
        """The block's time has passed; the engines keep their connections until this returns."""

    def judge(self, window: Window, requests: Any, epoch_ns: int) -> tuple[Reading, ...]:
        """What the engine says of a window beside what was seen. `requests`: that window's rows of the raw table.

        `epoch_ns` is what the engine was told.
        """
        return ()

    def close(self) -> tuple[Reading, ...]:
        """Let go of everything; readings of the block as a whole carry window -1."""
        return ()

    def reading(self, arm: str, window: int, part: str, subject: str, metric: str, value: float) -> Reading:
        """A reading of this meter in its present block."""
        return Reading(self.name, self.block, window, arm, part, subject, metric, float(value))


class Watch:
    """Several meters over one block. `readings` grows; `missing` says which meters this machine cannot run, and why."""

    def __init__(self, block: Block, meters: Sequence[Meter]) -> None:
        self.block = block
        self.meters = list(meters)
        self.readings: list[Reading] = []
        self.missing: dict[str, str] = {}

    def __enter__(self) -> Watch:
        wanted, self.meters = self.meters, []
        try:
            for meter in wanted:
                self._open(meter)
        except BaseException:
            self._close()
            raise
        return self

    def _open(self, meter: Meter) -> None:
        try:
            meter.open(self.block)
        except CannotRun as reason:
            self.missing[meter.name] = str(reason)
        else:
            self.meters.append(meter)

    def meet(self) -> None:
        """Call once the engines live, before an epoch is chosen."""
        for meter in self.meters:
            meter.meet()

    def walk(self, epoch_ns: int) -> None:
        """Let the block's time pass. Whole windows are watched one by one; between slices nothing may stir."""
        for meter in self.meters:
            meter.start(epoch_ns)
        look_s = min(LOOK_S, self.block.guard_s / 2)
        if self.block.kind is not BlockKind.SLICES:
            for window in self.block.windows:
                _sleep_until(epoch_ns, window.start_s - look_s)
                self.begin(window)
                _sleep_until(epoch_ns, window.start_s + window.duration_s + look_s)
                self.end(window)
        _sleep_until(epoch_ns, self.block.duration_s)
        for meter in self.meters:
            meter.finish()
            self.missing |= meter.lacking

    def begin(self, window: Window) -> None:
        """The first meter begins last and ends first: what the others cost must not be on its bill."""
        for meter in reversed(self.meters):
            meter.begin(window)

    def end(self, window: Window) -> tuple[Reading, ...]:
        """What all meters saw in the window; also added to `readings`."""
        seen = tuple(reading for meter in self.meters for reading in meter.end(window))
        self.readings.extend(seen)
        return seen

    def judge(self, arm: str, requests: Any, epoch_ns: int) -> tuple[Reading, ...]:
        """Once an engine was collected: its raw table, beside what the meters saw; also added to `readings`."""
        seen = tuple(
            reading
            for window in self.block.only(arm)
            for meter in self.meters
            for reading in meter.judge(window, requests[requests["window"] == window.index], epoch_ns)
        )
        self.readings.extend(seen)
        return seen

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        """Close every meter, then raise the first error: one that fails must not leave other instruments behind."""
        errors: list[Exception] = []
        for meter in self.meters:
            try:
                self.readings.extend(meter.close())
            except Exception as error:  # noqa: BLE001 - raised below, once all are closed
                errors.append(error)
        self.meters = []
        if errors:
            raise errors[0]


def _sleep_until(epoch_ns: int, after_s: float) -> None:
    time.sleep(max(0.0, after_s - (time.monotonic_ns() - epoch_ns) / 1e9))


def meters(kind: BlockKind, cluster: Cluster, awake: Awake | None = None) -> tuple[Meter, ...]:
    """The meters of a kind of block; what disturbs (BPF statistics, the referee's clock) watches no other kind.

    They read this machine's /proc: for a cluster whose processes are elsewhere, `lab.meter.nodes` runs them there.
    """
    # imported here: the instruments' own processes import this package too, and must stay small
    from lab.meter.connections import Connections, Openings  # noqa: PLC0415
    from lab.meter.cpu import Cpu  # noqa: PLC0415
    from lab.meter.host import Host  # noqa: PLC0415
    from lab.meter.memory import Memory  # noqa: PLC0415
    from lab.meter.programs import Programs  # noqa: PLC0415
    from lab.meter.wire import Wire  # noqa: PLC0415

    edges: tuple[Meter, ...] = (Cpu(cluster, awake), Host())
    return {
        BlockKind.LADDER: edges,
        BlockKind.SLICES: (),  # nothing may stir between slices: `HostSeries` alone watches them
        BlockKind.COST: (*edges, Programs(cluster), Connections(cluster), Memory(cluster)),
        BlockKind.HOLD: (*edges, Connections(cluster), Memory(cluster), Openings(cluster)),
        BlockKind.REFEREE: (*edges, Wire(cluster)),
    }[kind]
