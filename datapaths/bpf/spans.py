"""Spans: how the kernel writes them down (`struct span` of trace.h) and what they mean."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

METHODS = ("_OTHER", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")  # as in stream.h
RECORD = struct.Struct("=QQQ16s8s8sIIIHBBBB6x")
FRAME = struct.Struct("=cI")
"""Before each piece that the agent hands to the exporter: what it is, and its bytes."""
NAMES, SPANS = b"n", b"s"
_NO_PARENT = bytes(8)


@dataclass(frozen=True, slots=True)
class Span:
    """One request as its side of the connection saw it. Times are ns since 1970; ids are raw bytes."""

    start_ns: int
    end_ns: int
    trace: bytes
    parent: bytes  # empty: it is the first of its trace
    id: bytes
    flags: int  # of the W3C context; bit 0: sampled
    source: str
    destination: str
    method: str
    route: str | None
    status: int  # 0: the connection was closed before there was a whole answer
    answer_bytes: int
    version: str  # of HTTP
    called: bool  # the context came from the caller


@dataclass(frozen=True)
class Names:
    """What the numbers in a record stand for."""

    identities: dict[int, str] = field(default_factory=dict)
    routes: dict[int, str | None] = field(default_factory=dict)

    @property
    def told(self) -> dict[str, Any]:
        """As JSON."""
        return {"identities": self.identities, "routes": self.routes}

    def learn(self, told: Mapping[str, Mapping[str, Any]]) -> None:
        """Take in what another's `told` says; JSON made its numbers text."""
        self.identities.update({int(number): name for number, name in told["identities"].items()})
        self.routes.update({int(number): name for number, name in told["routes"].items()})


def numbers(records: Iterable[bytes]) -> tuple[set[int], set[int]]:
    """The identities and the routes that occur in records."""
    identities, routes = set[int](), set[int]()
    for record in records:
        fields = RECORD.unpack(record)
        identities.update(fields[6:8])
        routes.add(fields[8])
    return identities, routes


def decoded(records: Iterable[bytes], names: Names, clock_offset_ns: int) -> Iterator[Span]:
    """Records as spans; `clock_offset_ns` is what CLOCK_MONOTONIC lacks to the time of day (`clock_offset`)."""
    for record in records:
        start, end, size, trace, parent, own, source, destination, route, *rest = RECORD.unpack(record)
        status, method, flags, minor, called = rest
        yield Span(
            start_ns=start + clock_offset_ns,
            end_ns=end + clock_offset_ns,
            trace=trace,
            parent=b"" if parent == _NO_PARENT else parent,
            id=own,
            flags=flags,
            source=names.identities.get(source, "unknown"),
            destination=names.identities.get(destination, "unknown"),
            method=METHODS[method] if method < len(METHODS) else METHODS[0],
            route=names.routes.get(route),
            status=status,
            answer_bytes=size,
            version=f"1.{chr(minor)}",
            called=bool(called),
        )


def clock_offset() -> int:
    """The time of day less CLOCK_MONOTONIC, ns, to some microseconds; it changes when the clock is set."""
    before, now, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
    return now - (before + after) // 2
