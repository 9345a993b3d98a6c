"""The referee: when requests left and answers arrived by the kernel's clock, beside what the engine says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lab.cluster import Cluster, Part, Process
from lab.meter import Meter
from lab.meter.clock import Clock
from lab.meter.processes import of_arm, subject
from lab.record import Block, CannotRun, Failed, Reading, Window

PACKET = np.dtype([("time_ns", "<u8"), ("port", "<u2"), ("out", "<u2"), ("payload_bytes", "<u4")])
Times = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Exchanges:
    """Requests and their answers as packets, in the order of sending; one entry each, times in CLOCK_MONOTONIC ns.

    `port` tells the connection; `sent_ns` is the first packet of the request, `first_ns` and `last_ns` the first and
    last packet of the answer with payload (-1: none came).
    """

    port: Times
    sent_ns: Times
    first_ns: Times
    last_ns: Times

    def __len__(self) -> int:
        return len(self.sent_ns)

    @property
    def answered(self) -> npt.NDArray[np.bool_]:
        """Which ones got an answer."""
        return self.last_ns >= 0

    @property
    def service_s(self) -> npt.NDArray[np.float64]:
        """Seconds from the request's first packet to the answer's last, of those that got one."""
        return (self.last_ns - self.sent_ns)[self.answered] / 1e9

    @property
    def first_byte_s(self) -> npt.NDArray[np.float64]:
        """Seconds from the request's first packet to the answer's first, of those that got one."""
        return (self.first_ns - self.sent_ns)[self.answered] / 1e9


def exchanges(packets: bytes) -> Exchanges:
    """Packets put together to requests, provided that a connection carries one request at a time.

    On each connection, a run of outgoing packets is a request and the run of incoming ones after it its answer.
    """
    rows = np.frombuffer(packets, PACKET)
    rows = rows[np.lexsort((rows["time_ns"], rows["port"]))]
    port, out, time = (rows[name].astype(np.int64) for name in ("port", "out", "time_ns"))
    same_port = np.r_[False, port[1:] == port[:-1]]
    starts = np.flatnonzero((out == 1) & ~(same_port & np.r_[False, out[:-1] == 1]))
    if not len(starts):
        empty = np.empty(0, np.int64)
        return Exchanges(empty, empty, empty, empty)
    first, last = _answers(starts, port, out, time)
    order = np.argsort(time[starts], kind="stable")
    return Exchanges(port[starts][order], time[starts][order], first[order], last[order])


def _answers(starts: Times, port: Times, out: Times, time: Times) -> tuple[Times, Times]:
    """The first and the last incoming packet between a request's start and the next one's, on its connection."""
    request = np.cumsum(np.isin(np.arange(len(port)), starts)) - 1
    belongs = (out == 0) & (request >= 0)
    belongs[belongs] = port[belongs] == port[starts][request[belongs]]
    first, last = np.full(len(starts), -1, np.int64), np.full(len(starts), -1, np.int64)
    last[request[belongs]] = time[belongs]  # of several, the last one stays
    first[request[belongs][::-1]] = time[belongs][::-1]
    return first, last


def comparison(kernel: Exchanges, sent_ns: Times, done_ns: Times) -> dict[str, float]:
    """How far the engine's clock is from the kernel's. The engine's times are CLOCK_MONOTONIC ns, -1 for never.

    `requests_engine`; `service_p50_engine_minus_kernel_s` and `…_p99_…`: what the engine adds to a service time between
    the system calls and the packets. Where both saw the same number of requests they are paired in the order of sending
    (one thread sends them all, and a send puts its packet on the wire before it returns): `send_delay_p50_s` is
    kernel's sent − engine's, `receive_delay_p50_s` engine's done − kernel's last packet, and their p99.
    """
    order = np.argsort(sent_ns[sent_ns >= 0], kind="stable")
    sent, done = sent_ns[sent_ns >= 0][order], done_ns[sent_ns >= 0][order]
    figures = {"requests_engine": float(len(sent))}
    finished = done >= 0
    if not finished.any() or not kernel.answered.any():
        return figures
    for q in (50, 99):
        engine_s = float(np.percentile((done - sent)[finished], q)) / 1e9
        figures[f"service_p{q}_engine_minus_kernel_s"] = engine_s - float(np.percentile(kernel.service_s, q))
    if len(sent) == len(kernel):
        both = finished & kernel.answered
        for q in (50, 99):
            figures[f"send_delay_p{q}_s"] = float(np.percentile(kernel.sent_ns - sent, q)) / 1e9
            figures[f"receive_delay_p{q}_s"] = float(np.percentile((done - kernel.last_ns)[both], q)) / 1e9
    return figures


def _absolute(times_ns: Times, epoch_ns: int) -> Times:
    return np.where(times_ns >= 0, times_ns + epoch_ns, -1)


class Wire(Meter):
    """Kernel timestamps of every request that the window's load sent between `begin` and `end`.

    Metrics, part load: `requests`, `unanswered`, `service_p50_s`, `service_p99_s`, `first_byte_p50_s`. `exchanges`
    keeps the times themselves by window index. Once the engine's own times are known, `judge` adds the readings of
    `comparison`, subject `engine`. Of several engines of a load the one in the first pod is watched: `judge` wants its
    rows, and where it is on another machine, windows pass by.
    """

    name = "wire"

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.clock: Clock | None = None
        self.engine: Process | None = None
        self.exchanges: dict[int, Exchanges] = {}
        self.engines = 1

    def open(self, block: Block) -> None:
        super().open(block)
        self.exchanges, self.engines = {}, block.load.engines
        self.clock = Clock.start()

    def begin(self, window: Window) -> None:
        self.engine = self._engine(window)
        if self.engine is None:
            return
        folder = self.engine.cgroup
        if folder is None:
            raise CannotRun(
                f"the load of {window.arm} has no cgroup v2; the referee's clock watches one: leave REFEREE blocks out"
            )
        self._clock().attach(folder)

    def end(self, window: Window) -> tuple[Reading, ...]:
        found = self.exchanges[window.index] = exchanges(self._clock().detach())
        figures = {"requests": float(len(found)), "unanswered": float(len(found) - found.answered.sum())}
        if found.answered.any():
            figures |= {f"service_p{q}_s": float(np.percentile(found.service_s, q)) for q in (50, 99)}
            figures["first_byte_p50_s"] = float(np.median(found.first_byte_s))
        who = subject(self.engine) if self.engine else "engine"
        return tuple(
            self.reading(window.arm, window.index, "load", who, name, value) for name, value in figures.items()
        )

    def close(self) -> tuple[Reading, ...]:
        clock, self.clock = self.clock, None
        if clock is not None:
            clock.instrument.stop()
        return ()

    def judge(self, window: Window, requests: Any, epoch_ns: int) -> tuple[Reading, ...]:
        if window.index not in self.exchanges:
            raise Failed(f"window {window.index} was not watched; there are {sorted(self.exchanges)}")
        sent_ns, done_ns = (_absolute(requests[name], epoch_ns) for name in ("sent_ns", "done_ns"))
        figures = comparison(self.exchanges[window.index], sent_ns, done_ns)
        return tuple(
            self.reading(window.arm, window.index, "load", "engine", name, value) for name, value in figures.items()
        )

    def _clock(self) -> Clock:
        if self.clock is None:
            raise Failed("the referee's clock is not running; open the meter first")
        return self.clock

    def _engine(self, window: Window) -> Process | None:
        engines = [p for p in of_arm(self.cluster.processes, window.arm) if p.spec.part is Part.LOAD]
        if not 1 <= len(engines) <= self.engines:
            raise Failed(
                f"arm {window.arm} has {len(engines)} living load processes of {self.engines}; the referee watches one"
            )
        if self.engines == 1:
            return engines[0]
        first = min(engines, key=lambda p: p.where)
        apps = {pod.name: pod.app for pod in self.cluster.mesh.pods if pod.arm == window.arm}
        alike = [name for name, app in apps.items() if app == apps[first.where]]
        return first if first.where == min(alike) else None
