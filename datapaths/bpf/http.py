"""The HTTP/1.x watch: `http.bpf.c` loaded and attached to pods, and what it has counted, by name."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from datapaths.bpf.address import written
from datapaths.bpf.closing import Closing
from datapaths.bpf.libbpf import Object
from datapaths.bpf.names import Names
from datapaths.bpf.routes import FEW, Routes
from datapaths.bpf.sampling import TRACED, Sampling
from datapaths.bpf.spans import METHODS
from lab import compile
from lab.record import Mistake

SOURCE = Path(__file__).with_name("http.bpf.c")
FLAGS = ("-mcpu=v3",)
PROGRAMS = ("packet_in", "packet_out", "connection")
TOLD = ("identities", "route_states", "route_edges")  # maps that say who is who; all others are counts and state
SPARE = 64
"""Room for addresses that come while the agent runs, beyond twice as many as it is told at first."""
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
    "upgraded_bytes",
)
UNKNOWN, OTHER = "unknown", "other"
_NOBODY, _PATH = 0xFFFFFFFF, 64
_SHIFT, _LOWEST, _HIGHEST = 4, 10, 36
_BUCKETS = ((_HIGHEST - _LOWEST) << _SHIFT) + 2
_KEY = struct.Struct("=IIIHH")
_METRIC = struct.Struct(f"=QQQQ{_BUCKETS}I")
METRIC_BYTES = _METRIC.size
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
    upgraded_bytes: int = 0  # in both directions, after an answer that made the connection something else

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


class HttpWatch(Closing):
    """Watches the pods whose cgroups are given, from the server's side or the client's. A context manager.

    `identities` are names by IPv4 or IPv6 address. With `patterns` (see `datapaths.bpf.routes`) a request's route is
    the best pattern for its path, or `other`; without, it is the path itself. `keys` and `routes` (of paths) bound the
    maps: beyond, requests are counted under `other` (and in `totals()["no_room"]`), never lost.
    """

    def __init__(
        self,
        cgroups: Iterable[Path],
        identities: Mapping[str, str],
        side: str = "server",
        keys: int = 512,
        routes: int = 1024,
        patterns: Sequence[str] = (),
        pins: Path | None = None,
        sample: Sampling | None = None,
    ) -> None:
        if side not in SIDES:
            raise Mistake(f"side {side!r}; allowed are {', '.join(SIDES)}")
        self.side, self._sample = side, sample
        self._names, self._routed = Names("identity", 1, pins), Names("route", FEW, pins)
        self.patterns = Routes(patterns, tuple(self._routed.numbers(patterns).values()))
        version = f"{TOTALS} {'patterns' if patterns else 'paths'}"  # a route's number is one or the other
        self.object = Object(compile.bpf(SOURCE, *FLAGS, *(TRACED if sample else ())), pins, version, TOLD)
        try:
            self._set_up(identities, side, keys, routes)
            self.object.cover(cgroups, PROGRAMS)
        except BaseException:
            self.object.close()
            raise

    def _set_up(self, identities: Mapping[str, str], side: str, keys: int, routes: int) -> None:
        slots = keys + len(_classes())
        options = (side == "client", routes, len(self.patterns.patterns), slots)
        self.object.set(".rodata.options", struct.pack("=IIII", *options))
        self.object.resize("metrics", slots)
        self.object.resize("slots", slots)
        self.object.resize("routes", routes)
        self.object.resize("identities", 2 * len(identities) + SPARE)
        edges = self.patterns.packed_edges()
        self.object.resize("route_states", len(self.patterns.states))
        self.object.resize("route_edges", max(len(edges), 1))
        if self._sample:
            self._sample.set_up(self.object)
        self.object.load()
        self._know(identities)
        self._slots, self._metrics = self.object.map("slots"), self.object.map("metrics")
        self._routes, self._totals = self.object.map("routes"), self.object.map("totals")
        self._put_in(edges)
        for slot, status in enumerate(_classes()):
            self._slots.add(_KEY.pack(_NOBODY, _NOBODY, 0, status, 0), struct.pack("=I", slot))

    def update(self, cgroups: Iterable[Path], identities: Mapping[str, str]) -> None:
        """Follow pods that came or went; connections and counts stay."""
        self._know(identities)
        self.object.cover(cgroups, PROGRAMS)

    def _know(self, identities: Mapping[str, str]) -> None:
        numbers = self._names.numbers(sorted(identities.values()))
        self.object.map("identities").replace(
            {written(address): struct.pack("=I", numbers[name]) for address, name in identities.items()}
        )

    def _put_in(self, edges: Mapping[bytes, bytes]) -> None:
        states, into = self.object.map("route_states"), self.object.map("route_edges")
        for number, state in enumerate(self.patterns.packed_states()):
            states[struct.pack("=I", number)] = state
        for point, edge in edges.items():
            into[point] = edge

    def totals(self) -> dict[str, int]:
        """What is counted whatever the keys: by the names in `TOTALS`."""
        return self._totals.counters(TOTALS)

    def not_understood(self) -> int:
        """Connections given up with requests in them that were not read, or that were never watched."""
        return _not_understood(self.totals())

    def coverage(self) -> float:
        """Requests understood over requests seen, 0 to 1; of nothing: 1.

        What was in a connection that was given up or not watched is not known: it counts as one request not understood.
        """
        totals = self.totals()
        seen = totals["requests"] + _not_understood(totals)
        return totals["requests"] / seen if seen else 1.0

    def series(self) -> Iterator[Series]:
        """Every key that has been counted."""
        paths = self._paths()
        for key, slot in self._slots.items():
            source, destination, route, status, method = _KEY.unpack(key)
            copies = (_METRIC.unpack(copy[: _METRIC.size]) for copy in self._metrics.copies(slot))
            count, size, duration_ns, upgraded, *buckets = map(sum, zip(*copies, strict=True))
            if count:
                name = OTHER if route < FEW else self._routed.name(route) or paths.get(route, OTHER)
                who = self._name(source), self._name(destination), METHODS[method], name
                yield Series(*who, status, count, size, duration_ns / 1e9, tuple(buckets), upgraded)

    def identity(self, number: int) -> str:
        """The name that a number stands for in keys and spans."""
        return self._name(number)

    def route_names(self, numbers: Iterable[int]) -> dict[int, str | None]:
        """The routes that numbers stand for; None where a number says only the method."""
        wanted = set(numbers)
        paths = self._paths() if any(n >= FEW and self.patterns.name(n) is None for n in wanted) else {}
        return {n: None if n < FEW else self.patterns.name(n) or paths.get(n) for n in wanted}

    def _paths(self) -> dict[int, str]:
        found = {}
        for route, number in self._routes.items():
            path, _, cut = _ROUTE.unpack(route)
            text = path.rstrip(b"\0").decode("latin-1") + ("…" if cut else "")
            found[struct.unpack("=I", number)[0]] = text
        return found

    def _name(self, number: int) -> str:
        return OTHER if number == _NOBODY else self._names.name(number) or UNKNOWN

    def close(self) -> None:
        """Detach. Idempotent."""
        self.object.close()


def _classes() -> tuple[int, ...]:
    return tuple(range(0, 1000, 100))  # a status has three digits, whatever they are


def _not_understood(totals: Mapping[str, int]) -> int:
    return totals["not_http"] + totals["holes"] + totals["unwatched"]
