"""Route patterns as an automaton over path segments: what `routes.h` walks in the kernel, and the same walk in Python.

A pattern is a path whose segments are literals, `*` or `{name}` (one segment, not empty), or at its end `**` (all the
rest, be it empty): `/users/{id}`, `/static/**`, `/`. Where several match, the first segment in which they differ
decides: a literal comes before `*`, `*` before `**`. A path is matched as it is written: nothing is decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lab.record import Mistake

FEW = 16
"""Route numbers below it say only the method."""
SEGMENT_BYTES = 64
MOST_STATES = 4096
_SEGMENTS = 32
_NOWHERE, _BEGINNING = 0, 1
_ONE, _REST = "*", "**"
_MIX, _WORD = 0x9E3779B97F4A7C15, (1 << 64) - 1

_STATE = struct.Struct("=IIIHH")
_POINT = struct.Struct("=QII")
_EDGE = struct.Struct(f"={SEGMENT_BYTES}sII")

_Places = frozenset[tuple[int, int]]  # (pattern, how many of its segments were matched)


@dataclass(frozen=True)
class State:
    """Where a path can stand. Edges lead to states by number, 0 where nothing can match; `best` is a pattern."""

    any: int
    empty: int
    literals: dict[bytes, int]
    matching: frozenset[int]
    best: int | None
    settled: bool


class Routes:
    """The automaton of some patterns. `Mistake` where one is none, or together they need too many states.

    `numbers` are the patterns' route numbers, from FEW up; without, pattern i has FEW + i.
    """

    def __init__(self, patterns: Sequence[str] = (), numbers: Sequence[int] = ()) -> None:
        self.patterns = tuple(patterns)
        self._routes = tuple(numbers) or tuple(range(FEW, FEW + len(self.patterns)))
        self._parsed = [_segments(pattern) for pattern in self.patterns]
        self._numbers: dict[_Places, int] = {frozenset(): _NOWHERE}
        self._found: list[_Places] = [frozenset()]
        self._number(frozenset((i, 0) for i in range(len(self.patterns))))
        self.states: list[State] = []
        while len(self.states) < len(self._found):  # each may find more
            self.states.append(self._state(self._found[len(self.states)]))

    def match(self, path: str | bytes) -> str | None:
        """The best pattern for a path (without query), as the kernel finds it."""
        state = self.states[self.state(path)]
        return None if state.best is None else self.patterns[state.best]

    def matching(self, state: int) -> frozenset[str]:
        """Every pattern that matches the paths which end in a state; of 0: none."""
        return frozenset(self.patterns[i] for i in self.states[state].matching)

    def state(self, path: str | bytes) -> int:
        """The state that a path ends in; 0 where no pattern matches."""
        text = path if isinstance(path, bytes) else path.encode("latin-1", "replace")
        if not self.patterns or not text.startswith(b"/"):
            return _NOWHERE
        segments, at = text[1:].split(b"/"), _BEGINNING
        for number, segment in enumerate(segments):
            state = self.states[at]
            if state.settled:
                break
            if number == _SEGMENTS:
                return _NOWHERE
            at = state.literals.get(segment, state.any) if segment else state.empty
        return at if self.states[at].matching else _NOWHERE

    def name(self, number: int) -> str | None:
        """The pattern that has a route number."""
        return self.patterns[self._routes.index(number)] if number in self._routes else None

    def packed_states(self) -> Iterator[bytes]:
        """`struct route_state` of each state, in order."""
        for state in self.states:
            number = 0 if state.best is None else self._routes[state.best]
            yield _STATE.pack(state.any, state.empty, number, bool(state.literals), state.settled)

    def packed_edges(self) -> dict[bytes, bytes]:
        """`struct route_point` to `struct route_edge`."""
        edges = [(n, text, to) for n, state in enumerate(self.states) for text, to in state.literals.items()]
        packed = {_POINT.pack(digest(text), n, len(text)): _EDGE.pack(text, to, 0) for n, text, to in edges}
        if len(packed) < len(edges):
            raise Mistake("two literal segments of the route patterns have one hash; rename one of them")
        return packed

    def _number(self, places: _Places) -> int:
        if places not in self._numbers:
            if len(self._found) == MOST_STATES:
                raise Mistake(
                    f"the route patterns need more than {MOST_STATES} states; use fewer with * before literals"
                )
            self._numbers[places] = len(self._found)
            self._found.append(places)
        return self._numbers[places]

    def _state(self, places: _Places) -> State:
        ahead = {self._parsed[i][at] for i, at in places if at < len(self._parsed[i])} - {"", _ONE, _REST}
        matching = frozenset(i for i, at in places if at == len(self._parsed[i]))
        after = self._number(self._after(places, None)), self._number(self._after(places, ""))
        literals = {text.encode("latin-1"): self._number(self._after(places, text)) for text in sorted(ahead)}
        settled = not literals and after == (self._numbers[places],) * 2
        return State(*after, literals, matching, min(matching, key=self._rank, default=None), settled)

    def _after(self, places: _Places, segment: str | None) -> _Places:
        """Where `segment` leads; None: one that is neither empty nor a literal here."""
        return frozenset(next_ for place in places for next_ in self._step(*place, segment))

    def _step(self, pattern: int, at: int, segment: str | None) -> Iterator[tuple[int, int]]:
        wanted = self._parsed[pattern]
        here = wanted[at] if at < len(wanted) else None
        if here == _REST or (here is None and wanted[-1] == _REST):
            yield pattern, len(wanted)
        elif here is not None and ((here == _ONE and segment != "") or here == segment):
            yield pattern, at + 1

    def _rank(self, pattern: int) -> tuple[list[int], int]:
        kinds = {_ONE: 1, _REST: 2}
        return [kinds.get(segment, 0) for segment in self._parsed[pattern]], pattern


def digest(segment: bytes) -> int:
    """The hash of a segment, as `segment_end` of routes.h computes it from words of eight bytes."""
    value = 0
    for at in range(0, len(segment) + 1, 8):
        value = (value ^ int.from_bytes(segment[at : at + 8], "little")) * _MIX & _WORD
        value ^= value >> 29
    return value


def _segments(pattern: str) -> tuple[str, ...]:
    if not pattern.startswith("/") or not pattern.isascii() or any(c in pattern for c in " ?#") or "\0" in pattern:
        raise Mistake(f"route pattern {pattern!r}; it must start with / and be a path of ASCII without a query")
    segments = tuple(_segment(pattern, text) for text in pattern[1:].split("/"))
    if _REST in segments[:-1]:
        raise Mistake(f"route pattern {pattern!r}; ** is allowed as its last segment only")
    if len(segments) >= _SEGMENTS:
        raise Mistake(f"route pattern {pattern!r} has {len(segments)} segments; allowed are {_SEGMENTS - 1}")
    return segments


def _segment(pattern: str, text: str) -> str:
    if text in {_ONE, _REST}:
        return text
    if text.startswith("{") and text.endswith("}") and len(text) > 2:
        return _ONE
    if any(c in text for c in "{}*"):
        raise Mistake(f"route pattern {pattern!r}; a segment is a word, *, {{name}} or **, not {text!r}")
    if len(text) > SEGMENT_BYTES:
        raise Mistake(f"route pattern {pattern!r}; a segment has at most {SEGMENT_BYTES} bytes")
    return text
