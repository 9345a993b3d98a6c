"""The part `tracing`: visibility (so it stands in the place of `http`), and spans of sampled requests sent as OTLP.

The kernel writes spans into a ring buffer that wakes nobody; the agent comes by every `PAUSE_S` and hands them on as
they are to a process of its own (`datapaths.bpf.exporter`), which names, encodes and sends them. Why a second process:
protobuf and an HTTP client would take the agent to the edge of the memory it is allowed, and what talks to the network
then holds no rights over the kernel's programs.

What the exporter does not take at once stays in the ring; what finds no room there is dropped and counted. Always:
sampled = exported + dropped + in flight.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from datapaths.bpf.http import HttpWatch
from datapaths.bpf.openmetrics import Family, counters
from datapaths.bpf.part import Told
from datapaths.bpf.sampling import Sampling
from datapaths.bpf.spans import FRAME, NAMES, SPANS, Names, numbers
from datapaths.bpf.visibility import Visibility
from lab import compile
from lab.record import Failed, Mistake

PAUSE_S = 0.05
CLOSING_S = 5.0
_PIPE_BYTES = 1 << 18
_FIRST_REST_S, _LONGEST_REST_S = 0.5, 30.0
_TOTALS = ("spans_sampled", "spans_dropped_ring", "contexts_refused")  # as enum span_total of trace.h

HELPS = {
    "spans_sampled": "Requests that ended and were to become a span.",
    "spans_exported": "Spans that the receiver took.",
    "spans_dropped": "Spans lost, for whatever reason.",
    "spans_dropped_ring": "Spans lost because the kernel's ring was full.",
    "spans_dropped_export": "Spans lost because the receiver refused them or could not be reached in time.",
    "contexts_refused": "Requests with a traceparent that is malformed, or with several.",
    "export_retries": "Times that a batch of spans was sent again.",
    "exporter_restarts": "Times that the exporter had to be started again.",
}


class Tracer:
    """Brings the spans of a watch to the exporter that it starts. `tend` must be called every `PAUSE_S` or so.

    `told` is the mesh file's `tracing`: `otlp` is where spans go, `http://host:4318` or `file:/path` (OTLP/JSON, one
    export a line); `patience_s` how long a batch is tried before it is dropped.
    """

    def __init__(self, watch: HttpWatch, told: Mapping[str, Any], node: str) -> None:
        self._watch, self._names, self._records = watch, Names(), list[bytes]()
        self._command = _command(told, node, watch.side)
        self._counters = watch.object.map("span_totals")
        self._ring = watch.object.ring("spans", self._records.append)
        self._pending, self._handed, self._restarts = b"", 0, 0
        self._said = {"exported": 0, "dropped": 0, "retries": 0}  # by the exporter that runs
        self._before = dict(self._said)  # by those that ran
        self._rest_s, self._not_before, self._closed = _FIRST_REST_S, 0.0, False
        try:
            self._exporter: subprocess.Popen[bytes] = self._start()
        except BaseException:
            self._ring.close()
            raise

    def tend(self) -> None:
        """Fetch what the kernel has written and hand it on; never waits for the exporter."""
        self._hear()
        if self._exporter.poll() is not None:
            self._bury()
        elif self._flush():
            self._ring.consume()
            self._wrap()
            self._flush()

    def totals(self) -> dict[str, int]:
        """Monotonic counters by the names in `HELPS`."""
        kernel = self._counters.counters(_TOTALS)
        self._hear()
        export = {name: self._before[name] + self._said[name] for name in self._said}
        return kernel | {
            "spans_exported": export["exported"],
            "spans_dropped_export": export["dropped"],
            "spans_dropped": export["dropped"] + kernel["spans_dropped_ring"],
            "export_retries": export["retries"],
            "exporter_restarts": self._restarts,
        }

    @property
    def exporter(self) -> int:
        """The exporter's process id."""
        return self._exporter.pid

    def close(self) -> None:
        """Hand over what there is and end the exporter, which tries once more to send it. Idempotent."""
        if self._closed:
            return
        self._closed = True
        deadline = time.monotonic() + CLOSING_S
        self.tend()
        while self._pending and self._exporter.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
            self._flush()
        _shut(self._exporter.stdin)
        try:
            self._exporter.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            self._exporter.kill()
        self._exporter.wait()
        self._hear()
        self._settle()
        _shut(self._exporter.stdout)
        self._ring.close()

    def _start(self) -> subprocess.Popen[bytes]:
        env = {**os.environ, "PYTHONPATH": str(compile.ROOT)}
        process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        for pipe in (process.stdin, process.stdout):
            os.set_blocking(_open(pipe).fileno(), False)
        fcntl.fcntl(_open(process.stdin).fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._names, self._pending, self._handed = Names(), b"", 0
        return process

    def _bury(self) -> None:
        """The exporter died: what it did not speak of is lost. Another is started, later and later."""
        if self._exporter.stdin is not None and not self._exporter.stdin.closed:
            self._settle()
            _shut(self._exporter.stdin)
            _shut(self._exporter.stdout)
            self._not_before = time.monotonic() + self._rest_s
            self._rest_s = min(self._rest_s * 2, _LONGEST_REST_S)
        elif time.monotonic() >= self._not_before:
            self._exporter = self._start()
            self._restarts += 1

    def _settle(self) -> None:
        self._said["dropped"] += max(self._handed - self._said["exported"] - self._said["dropped"], 0)
        for name, value in self._said.items():
            self._before[name] += value
        self._said = dict.fromkeys(self._said, 0)
        self._handed, self._pending = 0, b""

    def _wrap(self) -> None:
        """What was fetched, as frames; names that the exporter does not know go before."""
        if not self._records:
            return
        identities, routes = numbers(self._records)
        new = Names(
            {n: self._watch.identity(n) for n in identities - self._names.identities.keys()},
            self._watch.route_names(routes - self._names.routes.keys()),
        )
        if new.identities or new.routes:
            self._names.identities.update(new.identities)
            self._names.routes.update(new.routes)
            text = json.dumps(new.told).encode()
            self._pending += FRAME.pack(NAMES, len(text)) + text
        self._pending += FRAME.pack(SPANS, sum(map(len, self._records))) + b"".join(self._records)
        self._handed += len(self._records)
        self._records.clear()

    def _flush(self) -> bool:
        """Write as much as the pipe takes; whether that was all."""
        pipe = _open(self._exporter.stdin)
        try:
            while self._pending:
                self._pending = self._pending[os.write(pipe.fileno(), self._pending) :]
        except (BlockingIOError, BrokenPipeError):
            return False
        return True

    def _hear(self) -> None:
        """What the exporter has said since; its last line counts."""
        pipe = self._exporter.stdout
        if pipe is None or pipe.closed:
            return
        lines = (pipe.read() or b"").split(b"\n")  # each is written at once and so is whole
        if len(lines) > 1:
            self._said = json.loads(lines[-2])
            self._rest_s = _FIRST_REST_S


class Tracing(Visibility):
    """Visibility with spans; the mesh file says under `tracing` which (see `Sampling`) and where to."""

    pause_s = PAUSE_S

    def __init__(self, told: Told, pins: Path | None) -> None:
        if not told.get("tracing"):
            raise Mistake('the mesh file has no "tracing"; say {"every": 100, "otlp": "http://host:4318"} there')
        super().__init__(told, pins)
        try:
            self._tracer = Tracer(self._watch, told["tracing"], told.get("node", ""))
        except BaseException:
            super().close()
            raise

    def _sampling(self, told: Told) -> Sampling | None:
        return Sampling.told(told)

    def tend(self) -> None:
        """See `Part`."""
        self._tracer.tend()

    def totals(self) -> dict[str, int]:
        return super().totals() | self._tracer.totals()

    def families(self) -> Iterable[Family]:
        yield from super().families()
        yield from counters("mesh_tracing", self._tracer.totals(), HELPS)

    def close(self) -> None:
        self._tracer.close()
        super().close()


def _command(told: Mapping[str, Any], node: str, side: str) -> list[str]:
    to = str(told.get("otlp", ""))
    if not to.startswith(("http://", "https://", "file:/")):
        raise Mistake(f'tracing "otlp": {to!r}; allowed are http://host:port, https://host:port and file:/path')
    command = [sys.executable, "-m", "datapaths.bpf.exporter", "--to", to, "--node", node, "--side", side]
    for name in ("patience_s", "linger_s", "queue"):
        if name in told:
            command += [f"--{name.replace('_', '-')}", str(told[name])]
    return command


def _open(pipe: Any) -> Any:
    if pipe is None:
        raise Failed("the exporter has no pipe; it was started without")
    return pipe


def _shut(pipe: Any) -> None:
    if pipe is not None and not pipe.closed:
        pipe.close()
