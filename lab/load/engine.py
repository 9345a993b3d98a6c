"""The C engine as a Python object, and `offer`: a schedule offered by this very thread."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lab.compile import shared
from lab.load.report import REQUEST, EngineReport
from lab.record import OUTCOMES, CannotRun, Failed, Mistake, Outcome

SOURCE = Path(__file__).with_name("engine.c")
SPARE_FILES = 64  # of the process itself, beside one per connection

Times = npt.NDArray[np.int64]


class _Counts(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("warmups", "on_wire", "connects", "reconnects")),
        *((name, ctypes.c_int64) for name in ("bytes_sent", "bytes_received")),
        *((name, ctypes.c_int32) for name in ("failed", "status", "error")),
    )


class _Plan(ctypes.Structure):
    _fields_ = (
        ("head", ctypes.c_char_p),
        ("head_bytes", ctypes.c_int32),
        ("connections", ctypes.c_int32),
        ("address", ctypes.c_uint32),
        ("port", ctypes.c_uint16),
        ("spin", ctypes.c_uint16),
        ("timeout_ns", ctypes.c_int64),
        ("requests", ctypes.c_int64),
        ("table", ctypes.c_void_p),
        ("give_up", ctypes.c_void_p),
        ("counts", ctypes.c_void_p),
    )


@dataclass(frozen=True)
class Target:
    """Where requests go and how. `timeout_s` counts from the moment a request is sent, or a connection is dialled."""

    address: str  # IPv4
    port: int
    path: str
    connections: int
    timeout_s: float
    spin: bool = False

    @property
    def head(self) -> bytes:
        """The whole request as it goes on the wire."""
        lines = (
            f"GET {self.path} HTTP/1.1",
            f"Host: {self.address}:{self.port}",
            "User-Agent: mesh-lab",
            "Accept: */*",
        )
        return "\r\n".join((*lines, "", "")).encode("ascii")

    @property
    def number(self) -> int:
        """The address as the kernel wants it."""
        try:
            return int.from_bytes(socket.inet_pton(socket.AF_INET, self.address), "little")
        except OSError:
            raise Mistake(f"address={self.address!r}; the engine dials an IPv4 address such as 10.79.0.1") from None


class Engine:
    """A context manager: leaving it closes every connection. `open`, then `run` once."""

    def __init__(
        self,
        target: Target,
        scheduled_ns: Times,
        window: npt.NDArray[np.int32],
        give_up_ns: Times,
        library: Path | None = None,
    ) -> None:
        self.target = target
        self.requests = np.zeros(len(scheduled_ns), REQUEST)
        for name in ("sent_ns", "first_byte_ns", "done_ns", "connection"):
            self.requests[name] = -1
        self.requests["window"], self.requests["scheduled_ns"] = window, scheduled_ns
        self._give_up = np.array(give_up_ns, np.int64)  # its own: `stop` writes into it
        if len(self._give_up) != len(self.requests) or np.any(np.diff(scheduled_ns) < 0):
            raise Mistake(
                "the schedule must be sorted and have one give_up time per request; make it with lab.load.schedule"
            )
        self._counts = _Counts()
        self._head = target.head
        self._plan = self._planned()
        allow_files(target.connections + SPARE_FILES)
        self._c = _load(library or shared(SOURCE))
        self._engine = self._c.engine_new(ctypes.byref(self._plan))
        if not self._engine:
            raise CannotRun(f"no engine for {target.connections} connections: {os.strerror(ctypes.get_errno())}")

    def _planned(self) -> _Plan:
        target = self.target
        return _Plan(
            head=self._head,
            head_bytes=len(self._head),
            connections=target.connections,
            address=target.number,
            port=target.port,
            spin=target.spin,
            timeout_ns=round(target.timeout_s * 1e9),
            requests=len(self.requests),
            table=self.requests.ctypes.data,
            give_up=self._give_up.ctypes.data,
            counts=ctypes.addressof(self._counts),
        )

    def open(self) -> None:
        """Open every connection and have one warm-up request answered on each; `Failed` when one is not."""
        if _finish(lambda: self._c.engine_open(self._engine)):
            counts, target = self._counts, self.target
            what = OUTCOMES[counts.failed - 1]
            detail = f"status {counts.status}" if what is Outcome.OK else str(what)
            reason = f" ({os.strerror(counts.error)})" if counts.error and what is Outcome.REFUSED else ""
            raise Failed(
                f"warm-up of {target.connections} connections to http://{target.address}:{target.port}{target.path} "
                f"failed: {detail}{reason}; see that the server is up and answers 2xx"
            )

    def run(self, epoch_ns: int) -> EngineReport:
        """Follow the schedule from `epoch_ns` (CLOCK_MONOTONIC) on, then drain for at most the timeout."""
        before = resource.getrusage(resource.RUSAGE_THREAD)
        _finish(lambda: self._c.engine_run(self._engine, epoch_ns))
        after = resource.getrusage(resource.RUSAGE_THREAD)
        counts = {name: getattr(self._counts, name) for name, *_ in _Counts._fields_[:6]}
        return EngineReport(
            self.requests,
            **counts,
            cpu_user_s=after.ru_utime - before.ru_utime,
            cpu_system_s=after.ru_stime - before.ru_stime,
        )

    def stop(self) -> None:
        """From now on nothing more is sent: `run`, in another thread, drains and returns."""
        self._give_up[:] = np.iinfo(np.int64).min // 2

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self._c.engine_free(self._engine)


def offer(
    target: Target,
    scheduled_ns: Times,
    window: npt.NDArray[np.int32] | int = 0,
    give_up_ns: Times | int | None = None,
    epoch_ns: int | None = None,
) -> EngineReport:
    """Open, warm up and follow a schedule in this thread: for notebooks, tests and the bench.

    `give_up_ns` defaults to never, `epoch_ns` to 10 ms after the last warm-up.
    """
    count = len(scheduled_ns)
    last = np.iinfo(np.int64).max // 2 if give_up_ns is None else give_up_ns
    with Engine(target, scheduled_ns, np.broadcast_to(np.int32(window), count), np.broadcast_to(last, count)) as engine:
        engine.open()
        return engine.run(time.monotonic_ns() + 10_000_000 if epoch_ns is None else epoch_ns)


def _finish(step: Callable[[], int]) -> int:
    """Call until it is through: a signal brings the engine back to Python, which so gets to handle it."""
    while (code := step()) == errno.EINTR:
        pass
    return code


def allow_files(count: int) -> None:
    """Raise this process's limit of open files to `count`; `CannotRun` when the hard limit forbids it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise CannotRun(f"{count} open files are needed, the hard limit is {hard}; raise it with: ulimit -Hn {count}")
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def _load(library: Path) -> Any:
    c = ctypes.CDLL(str(library), use_errno=True)
    c.engine_new.restype = ctypes.c_void_p
    c.engine_free.argtypes = c.engine_open.argtypes = (ctypes.c_void_p,)
    c.engine_run.argtypes = (ctypes.c_void_p, ctypes.c_int64)
    return c
