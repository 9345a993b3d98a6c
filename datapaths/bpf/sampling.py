"""Which requests become spans: the thresholds that `trace.h` holds trace-ids against."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datapaths.bpf.libbpf import Object
from lab.record import Mistake

TRACED = ("-DTRACED",)
"""What `http.bpf.c` is compiled with; without it tracing is not in the program at all."""
_ALL = 1 << 56
_LEAST_RING, _MOST_RING = 4096, 1 << 26


@dataclass(frozen=True)
class Sampling:
    """One request in `every` that brings no context begins a trace of its own (0: none does).

    Of the requests whose context has the sampled flag, one in `callers_every` is recorded (1: all, as the flag asks).
    Both go by the trace-id's last seven bytes, so every node decides alike; a context without the flag is never
    recorded. `ring_bytes` is the room for spans that the agent has not fetched yet, a power of two (88 bytes each).
    """

    every: int = 100
    callers_every: int = 1
    ring_bytes: int = 1 << 18

    def __post_init__(self) -> None:
        if self.every < 0 or self.callers_every < 0:
            raise Mistake(f"tracing 1 in {self.every} and {self.callers_every}; allowed are 0 (none), 1 (all) and more")
        if not _LEAST_RING <= self.ring_bytes <= _MOST_RING or self.ring_bytes & (self.ring_bytes - 1):
            raise Mistake(f"ring_bytes {self.ring_bytes}; allowed are powers of two, {_LEAST_RING} to {_MOST_RING}")

    @staticmethod
    def told(mesh: Mapping[str, Any]) -> Sampling | None:
        """What the agent's file says under `tracing`; None where nothing: tracing is off."""
        tracing = mesh.get("tracing")
        names = ("every", "callers_every", "ring_bytes")
        return Sampling(**{n: int(tracing[n]) for n in names if n in tracing}) if tracing else None

    def records(self, trace: bytes) -> bool:
        """Whether a caller's trace-id whose sampled flag is set is recorded; the rule of `trace.h` in Python."""
        return int.from_bytes(trace[9:], "big") >= threshold(self.callers_every)

    def set_up(self, program: Object) -> None:
        """Before loading."""
        program.set(".rodata.sampling", struct.pack("=QQ", threshold(self.every), threshold(self.callers_every)))
        program.resize("spans", self.ring_bytes)


def threshold(every: int) -> int:
    """Trace-ids whose last 56 bits are not below it are one in `every` of all; of 0: none."""
    return _ALL - _ALL // every if every else _ALL
