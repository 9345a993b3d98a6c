"""Rules and HTTP/1.x as one automaton: what the kernel's `judge.h` walks, a byte at a time.

What a rule allows is the language "method SP path [? query] SP HTTP/1.x CR LF"; all that is not in it is denied, so no
trick of spelling has to be known to be refused. Beside it every start line is read that is well formed, so that a
denied request's end is found: it can be answered, or let pass and counted in audit mode. A state from which no allowed
line can be reached any more is `hopeless`.

A segment that a `{name}`, `*` or `**` matches is opaque: letters, digits and marks of RFC 3986, `;` excepted; not only
dots; percent-encoded bytes only where decoding them gives neither structure (`/`, `\\`, `.`, `;`, `%`, `?`, `#`),
control bytes, nor what could have been written plainly. Literal segments are compared as they are written.
"""

from __future__ import annotations

import string
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lab.record import Mistake

BYTES, HIGH = 130, 128  # one next state for each byte below 128 and one for the others
MALFORMED, RULE, UPGRADE, FRAMING = range(4)
BETWEEN, FIELD, SIZE_START, CHUNK_END, FIRST_FREE = 32, 33, 34, 35, 64
(NOTHING, LINE10, LINE11, DENIED10, DENIED11, LENGTH, DIGIT, CODING, HEX, SIZE, HEAD, STATUS, ANSWER) = range(13)
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH")
"""What `*` stands for. CONNECT is never allowed."""

MOVES, IN_NAME, IN_VALUE = range(3)  # as in policy.h

_ROW = struct.Struct(f"=HBB{BYTES}H")
_TOKEN = frozenset((string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~").encode())
_PLAIN = frozenset((string.ascii_letters + string.digits + "-_~!$&'()*+,=:@").encode())
_UNRESERVED = frozenset((string.ascii_letters + string.digits + "-_.~").encode())
_HIDDEN = _UNRESERVED | frozenset(b"/\\.;%?#\x7f") | frozenset(range(32)) | {0xC0, 0xC1} | frozenset(range(0xF5, 0x100))
_VISIBLE = frozenset(range(0x21, 0x7F))
_QUERY = _VISIBLE - frozenset(b"#")
_VALUE = frozenset(range(0x20, 0x7F)) | {9, HIGH}
_SPACE = frozenset(b" \t")


@dataclass
class Row:
    """A state: what is done on entering it, and where each byte leads; absent: malformed.

    `lingers` says that all letters, digits and hyphens lead back to it (IN_NAME), or all but control bytes (IN_VALUE):
    the kernel then passes over several at a time.
    """

    action: int = NOTHING
    hopeless: bool = False
    next: dict[int, int] = field(default_factory=dict)
    lingers: int = MOVES

    def packed(self) -> bytes:
        """As `struct row`."""
        over = (self.next.get(byte, MALFORMED) for byte in range(BYTES))
        return _ROW.pack(self.action, self.hopeless, self.lingers, *over)


class Nondeterministic:
    """An automaton under construction: states with moves on bytes and on nothing."""

    def __init__(self) -> None:
        self.moves: list[list[tuple[frozenset[int], int]]] = []
        self.free: list[list[int]] = []

    def state(self) -> int:
        self.moves.append([])
        self.free.append([])
        return len(self.moves) - 1

    def move(self, at: int, over: Iterable[int], to: int | None = None) -> int:
        """Lead from `at` over each of these bytes to `to`, or to a new state; which is returned."""
        to = self.state() if to is None else to
        self.moves[at].append((frozenset(over), to))
        return to

    def text(self, at: int, words: bytes) -> int:
        for byte in words:
            at = self.move(at, (byte,))
        return at

    def join(self, at: int, to: int) -> None:
        self.free[at].append(to)

    def closed(self, states: Iterable[int]) -> frozenset[int]:
        """With all that is reached over nothing."""
        found, todo = set(states), list(states)
        while todo:
            for to in self.free[todo.pop()]:
                if to not in found:
                    found.add(to)
                    todo.append(to)
        return frozenset(found)

    def segment(self, at: int) -> int:
        """One opaque segment."""
        seen, dots = self.state(), self.state()
        self.join(at, dots)
        self.move(dots, b".", dots)
        for state in (dots, seen):
            self.move(state, _PLAIN, seen)
            for high in range(16):
                low = [n for n in range(16) if high * 16 + n not in _HIDDEN]
                if low:
                    digit = self.move(self.move(state, b"%"), _hex([high]))
                    self.move(digit, _hex(low), seen)
        self.move(seen, b".", seen)
        return seen

    def pattern(self, at: int, pattern: str) -> int:
        """A route pattern: `{x}` or `*` one segment, `**` at its end the rest, be it empty."""
        if not pattern.startswith("/"):
            raise Mistake(f"route pattern {pattern!r}; it must start with /")
        segments = pattern[1:].split("/")
        for number, text in enumerate(segments):
            if text == "**" and number == len(segments) - 1:
                return self._rest(at, first=number == 0)
            at = self.move(at, b"/")
            if text == "*" or (text.startswith("{") and text.endswith("}") and len(text) > 2):
                at = self.segment(at)
            elif set(text.encode()) <= _PLAIN | {0x2E} and (not text or text.strip(".")) and "*" not in text:
                at = self.text(at, text.encode())
            else:
                raise Mistake(
                    f"route pattern {pattern!r}: segment {text!r}; allowed are words of unencoded characters, "
                    "*, {name}, and ** at the end"
                )
        return at

    def _rest(self, at: int, first: bool) -> int:
        end, again = self.state(), self.state()
        if not first:
            self.join(at, end)  # `/a/**` is `/a` too
        self.join(at, again)
        slash = self.move(again, b"/")
        self.join(slash, end)
        done = self.segment(slash)
        self.join(done, again)
        self.join(done, end)
        return end

    def version(self, at: int, old: int, new: int) -> None:
        """The end of a start line, which leads to one of two states."""
        at = self.text(at, b" HTTP/1.")
        self.move(self.text(at, b"0\r"), b"\n", old)
        self.move(self.text(at, b"1\r"), b"\n", new)


def _hex(digits: Iterable[int]) -> bytes:
    return b"".join(b"%x%X" % (n, n) if n > 9 else b"%d" % n for n in digits)


Rules = frozenset[tuple[str, str]]  # (method or *, pattern)


def start_lines(rules: Rules, first: int, apart: int = 1) -> tuple[list[Row], int]:
    """Rows numbered from `first` for the start lines of one source and destination, and the number of the first."""
    machine = Nondeterministic()
    root, wide = machine.state(), machine.state()
    ends = {machine.state(): action for action in (LINE10, LINE11, DENIED10, DENIED11)}
    by_action = {action: state for state, action in ends.items()}
    for method, pattern in sorted(rules):
        for name in METHODS if method == "*" else (method,):
            if name == "CONNECT" or not name or not set(name.encode()) <= _TOKEN:
                raise Mistake(f"method {method!r}; allowed are tokens such as GET, and * for {', '.join(METHODS)}")
            at = machine.pattern(machine.text(root, name.encode() + b" "), pattern)
            query = machine.move(at, b"?")
            machine.move(query, _QUERY, query)
            for end in (at, query):
                machine.version(end, by_action[LINE10], by_action[LINE11])
    some = machine.move(wide, _TOKEN)
    machine.move(some, _TOKEN, some)
    target = machine.move(machine.move(some, b" "), _VISIBLE)
    machine.move(target, _VISIBLE, target)
    machine.version(target, by_action[DENIED10], by_action[DENIED11])
    ruled = set(range(len(machine.moves))) - _reach(machine, wide) | {by_action[LINE10], by_action[LINE11]}
    return _determined(machine, (root, wide), ends, frozenset(ruled), first, apart), first


def _reach(machine: Nondeterministic, start: int) -> set[int]:
    found, todo = {start}, [start]
    while todo:
        at = todo.pop()
        for to in [*machine.free[at], *(to for _, to in machine.moves[at])]:
            if to not in found:
                found.add(to)
                todo.append(to)
    return found


def _determined(
    machine: Nondeterministic,
    roots: tuple[int, ...],
    ends: dict[int, int],
    ruled: frozenset[int],
    first: int,
    apart: int,
) -> list[Row]:
    """The subset construction (Rabin and Scott, 1959)."""
    start = machine.closed(roots)
    numbers, found, rows = {start: first}, [start], list[Row]()
    while len(rows) < len(found):
        subset = found[len(rows)]
        over: dict[int, set[int]] = {}
        for state in subset:
            for choice, to in machine.moves[state]:
                for byte in choice:
                    over.setdefault(byte, set()).add(to)
        row = Row(NOTHING, not subset & ruled)
        actions = [ends[state] for state in subset if state in ends]
        if actions:
            row = Row(min(actions), min(actions) >= DENIED10, dict(_FIELDS[FIELD].next))
        closures: dict[frozenset[int], int] = {}
        for byte, states in over.items():
            key = frozenset(states)
            if key not in closures:
                closed = machine.closed(key)
                if closed not in numbers:
                    numbers[closed] = first + apart * len(found)
                    found.append(closed)
                closures[key] = numbers[closed]
            row.next[byte] = closures[key]
        rows.append(row)
    return rows


class _Fixed:
    """The states that never change: header fields, chunks and answers."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {number: Row() for number in (BETWEEN, FIELD, SIZE_START, CHUNK_END)}
        self._next = FIRST_FREE

    def new(self, action: int = NOTHING) -> int:
        self.rows[self._next] = Row(action)
        self._next += 1
        return self._next - 1

    def lead(self, at: int, over: Iterable[int], to: int) -> int:
        for byte in over:
            self.rows[at].next[byte] = to
        return to

    def linger(self, at: int, over: Iterable[int], how: int) -> None:
        self.lead(at, over, at)
        self.rows[at].lingers = how

    def line_end(self, at: int, action: int = NOTHING, to: int | None = None) -> None:
        feed = self.lead(at, b"\r", self.new())
        self.lead(feed, b"\n", self.new(action) if to is None else to)


def _fields() -> tuple[dict[int, Row], int]:
    """Rows of header fields, chunks and answers by number, and the state in which an answer begins."""
    made = _Fixed()
    name, value = made.new(), made.new()
    made.linger(name, _TOKEN, IN_NAME)
    made.lead(name, b":", value)
    made.linger(value, _VALUE, IN_VALUE)
    made.line_end(value, to=FIELD)
    made.lead(FIELD, _TOKEN, name)
    made.line_end(FIELD, HEAD)
    _named(made, name, b"content-length", _length(made))
    _named(made, name, b"transfer-encoding", _coding(made))
    _named(made, name, b"upgrade", UPGRADE)
    _named(made, name, b"http2-settings", UPGRADE)
    _chunks(made)
    return made.rows, _answer(made)


def _named(made: _Fixed, other: int, name: bytes, to: int) -> None:
    """A field name, in capitals or not, followed by a colon; every other name goes on as `other`."""
    at = FIELD
    for number, byte in enumerate(name):
        both = {byte, *bytes([byte]).upper()}
        there = made.rows[at].next.get(byte, other)
        if there == other:
            there = made.new()
            made.lead(there, _TOKEN, other)
            made.lead(there, b":", made.rows[other].next[0x3A])
        at = made.lead(at, both, there)
        if number == len(name) - 1:
            made.lead(at, b":", to)


def _length(made: _Fixed) -> int:
    before, digit, after = made.new(LENGTH), made.new(DIGIT), made.new()
    made.rows[before].next = dict.fromkeys(range(BYTES), FRAMING)
    made.rows[digit].next = dict.fromkeys(range(BYTES), FRAMING)
    made.rows[after].next = dict.fromkeys(range(BYTES), FRAMING)
    spaces = made.lead(before, _SPACE, made.new())
    made.rows[spaces].next = dict(made.rows[before].next)
    made.lead(spaces, _SPACE, spaces)
    for at in (before, spaces, digit):
        made.lead(at, string.digits.encode(), digit)
    for at in (digit, after):
        made.lead(at, _SPACE, after)
        made.line_end(at, to=FIELD)
    return before


def _coding(made: _Fixed) -> int:
    before = made.new(CODING)
    at = before
    made.rows[at].next = dict.fromkeys(range(BYTES), FRAMING)
    spaces = made.new()
    made.rows[spaces].next = dict.fromkeys(range(BYTES), FRAMING)
    made.lead(before, _SPACE, spaces)
    made.lead(spaces, _SPACE, spaces)
    for number, byte in enumerate(b"chunked"):
        to = made.new()
        made.rows[to].next = dict.fromkeys(range(BYTES), FRAMING)
        for origin in (before, spaces) if number == 0 else (at,):
            made.lead(origin, {byte, *bytes([byte]).upper()}, to)
        at = to
    after = made.lead(at, _SPACE, made.new())
    made.lead(after, _SPACE, after)
    for end in (at, after):
        made.line_end(end, to=FIELD)
    return before


def _chunks(made: _Fixed) -> None:
    hexadecimal = made.lead(SIZE_START, string.hexdigits.encode(), made.new(HEX))
    made.lead(hexadecimal, string.hexdigits.encode(), hexadecimal)
    made.line_end(hexadecimal, SIZE)
    made.line_end(CHUNK_END, to=SIZE_START)
    made.rows[SIZE_START].next |= {ord(";"): FRAMING}
    made.rows[hexadecimal].next |= {ord(";"): FRAMING}


def _answer(made: _Fixed) -> int:
    """A status line; fields are read as those of requests."""
    first = made.new()
    at = first
    for byte in b"HTTP/1.":
        at = made.lead(at, (byte,), made.new())
    at = made.lead(made.lead(at, b"01", made.new()), b" ", made.new())
    for _ in range(3):
        at = made.lead(at, string.digits.encode(), made.new(STATUS))
    reason = made.lead(at, b" ", made.new())
    made.linger(reason, _VALUE, IN_VALUE)
    for end in (at, reason):
        feed = made.lead(end, b"\r", made.new())
        line = made.lead(feed, b"\n", made.new(ANSWER))
        made.rows[line].next = made.rows[FIELD].next
    return first


_FIELDS, ANSWERS = _fields()


def fixed() -> dict[int, bytes]:
    """The rows that never change, by number."""
    return {number: row.packed() for number, row in _FIELDS.items()}


FIRST_START = max(_FIELDS) + 1
"""Start lines have rows from this number on."""


@dataclass(frozen=True)
class Automaton:
    """Start lines under all rules: packed rows, and where each set of rules begins."""

    rows: tuple[bytes, ...]
    starts: dict[Rules, int]


def automaton(sets: Sequence[Rules], first: int = FIRST_START, apart: int = 1) -> Automaton:
    """Rows numbered from `first`, so far `apart`, for some sets of rules; equal sets share theirs."""
    rows, starts = list[bytes](), dict[Rules, int]()
    for rules in dict.fromkeys(sets):
        made, starts[rules] = start_lines(rules, first + apart * len(rows), apart)
        rows += [row.packed() for row in made]
    return Automaton(tuple(rows), starts)
