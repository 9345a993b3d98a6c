"""The HTTP/1.x watch: `http.bpf.c` loaded and attached to pods, and what it has counted, by name."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from types import TracebackType

from datapaths.bpf.libbpf import Map, Object
from datapaths.bpf.routes import FEW, Routes
from lab import compile
from lab.record import Mistake

SOURCE = Path(__file__).with_name("http.bpf.c")
FLAGS = ("-mcpu=v3",)
PROGRAMS = ("packet_in", "packet_out", "connection")
SIDES = ("server", "client")

# As in counts.h.
TOTALS = (
    "requests",
    "answered",
    "unanswered",
    "not_http",
    "holes",
    "untold",
    "upgraded",
    "no_room",
    "connections",
    "unwatched",
)
METHODS = ("_OTHER", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
UNKNOWN, OTHER = "unknown", "other"
_NOBODY, _PATH = 0xFFFFFFFF, 64
_SHIFT, _LOWEST, _HIGHEST = 4, 10, 36
_BUCKETS = ((_HIGHEST - _LOWEST) << _SHIFT) + 2
_KEY = struct.Struct("=IIIHH")
_METRIC = struct.Struct(f"=QQQ{_BUCKETS}I")
_ROUTE = struct.Struct(f"={_PATH}sII")

_STEPS = [1 + step / (1 << _SHIFT) for step in range(1 << _SHIFT)]
_BOUNDS = [(1 << octave) * step / 1e9 for octave in range(_LOWEST, _HIGHEST + 1) for step in _STEPS]
BOUNDS_S = tuple(_BOUNDS[: _BUCKETS - 1])
"""Upper bounds of the histogram's buckets, seconds; the last bucket has none. Neighbours are at most 6.25 % apart."""


@dataclass(frozen=True)
class Series:
    """What was counted for one source, destination, route and status; `buckets` match `BOUNDS_S`, and one above."""

    source: str
    destination: str
    method: str
    route: str
    status: int
    count: int
    response_bytes: int  # bodies, as far as sent
    duration_s: float  # sum, from the first byte of the request to the last of the answer
    buckets: tuple[int, ...]

    @property
    def status_class(self) -> str:
        return f"{self.status // 100}xx"

    def quantile(self, q: float) -> float:
        """The middle of the bucket that holds the quantile, seconds: within 3.2 %. Of no requests: 0."""
        rank = q * self.count
        for i, seen in enumerate(accumulate(self.buckets)):
            if seen >= rank and seen:
                low, high = BOUNDS_S[max(i - 1, 0)], BOUNDS_S[min(i, len(BOUNDS_S) - 1)]
                return (low + high) / 2
        return 0.0


class HttpWatch:
    """Watches the pods whose cgroups are given, from the server's side or the client's. A context manager.

    `identities` are names by IPv4 address. With `patterns` (see `datapaths.bpf.routes`) a request's route is the best
    pattern for its path, or `other`; without, it is the path itself. `keys` and `routes` (of paths) bound the maps:
    beyond, requests are counted under `other` (and in `totals()["no_room"]`), never lost.
    """

    def __init__(
        self,
        cgroups: Iterable[Path],
        identities: Mapping[str, str],
        side: str = "server",
        keys: int = 512,
        routes: int = 1024,
        patterns: Sequence[str] = (),
    ) -> None:
        if side not in SIDES:
            raise Mistake(f"side {side!r}; allowed are {', '.join(SIDES)}")
        self.patterns = Routes(patterns)
        self._names = dict(enumerate(sorted(set(identities.values())), start=1))
        self.object = Object(compile.bpf(SOURCE, *FLAGS))
        try:
            self._set_up(identities, side, keys, routes)
            for cgroup in cgroups:
                for program in PROGRAMS:
                    self.object.attach(program, cgroup)
        except BaseException:
            self.object.close()
            raise

    def _set_up(self, identities: Mapping[str, str], side: str, keys: int, routes: int) -> None:
        self.object.set(".rodata.options", struct.pack("=III", side == "client", routes, len(self.patterns.patterns)))
        self.object.resize("metrics", keys + len(_classes()))
        self.object.resize("routes", routes)
        self.object.resize("identities", max(len(identities), 1))
        edges = self.patterns.packed_edges()
        self.object.resize("route_states", len(self.patterns.states))
        self.object.resize("route_edges", max(len(edges), 1))
        self.object.load()
        numbers = {name: n for n, name in self._names.items()}
        known = self.object.map("identities")
        for address, name in identities.items():
            known[socket.inet_aton(address)] = struct.pack("=I", numbers[name])
        self._metrics, self._routes = self.object.map("metrics"), self.object.map("routes")
        self._totals = self.object.map("totals")
        self._put_in(edges)
        for status in _classes():
            self._metrics[_KEY.pack(_NOBODY, _NOBODY, 0, status, 0)] = b""

    def _put_in(self, edges: Mapping[bytes, bytes]) -> None:
        states, into = self.object.map("route_states"), self.object.map("route_edges")
        for number, state in enumerate(self.patterns.packed_states()):
            states[struct.pack("=I", number)] = state
        for point, edge in edges.items():
            into[point] = edge

    def totals(self) -> dict[str, int]:
        """What is counted whatever the keys: by the names in `TOTALS`."""
        return {name: _sum(self._totals, struct.pack("=I", i)) for i, name in enumerate(TOTALS)}

    def not_understood(self) -> int:
        """Connections given up with requests in them that were not read, or that were never watched."""
        totals = self.totals()
        return totals["not_http"] + totals["holes"] + totals["unwatched"]

    def series(self) -> Iterator[Series]:
        """Every key that has been counted."""
        paths = self._paths()
        for key in self._metrics:
            source, destination, route, status, method = _KEY.unpack(key)
            count, size, duration_ns, *buckets = map(sum, zip(*map(_METRIC.unpack, self._copies(key)), strict=True))
            if count:
                name = OTHER if route < FEW else self.patterns.name(route) or paths.get(route, OTHER)
                who = self._name(source), self._name(destination), METHODS[method], name
                yield Series(*who, status, count, size, duration_ns / 1e9, tuple(buckets))

    def _copies(self, key: bytes) -> list[bytes]:
        return [copy[: _METRIC.size] for copy in self._metrics.copies(key)]

    def _paths(self) -> dict[int, str]:
        found = {}
        for route, number in self._routes.items():
            path, _, cut = _ROUTE.unpack(route)
            text = path.rstrip(b"\0").decode("latin-1") + ("…" if cut else "")
            found[struct.unpack("=I", number)[0]] = text
        return found

    def _name(self, number: int) -> str:
        return OTHER if number == _NOBODY else self._names.get(number, UNKNOWN)

    def close(self) -> None:
        """Detach. Idempotent."""
        self.object.close()

    def __enter__(self) -> HttpWatch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _classes() -> tuple[int, ...]:
    return tuple(range(0, 1000, 100))  # a status has three digits, whatever they are


def _sum(counters: Map, key: bytes) -> int:
    return sum(int.from_bytes(copy, "little") for copy in counters.copies(key))
