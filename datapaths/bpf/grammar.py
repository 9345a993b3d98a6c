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

from collections.abc import Sequence
from dataclasses import dataclass

from datapaths.bpf.fixed import FIELD_MOVES, FIRST_START
from datapaths.bpf.machine import Nondeterministic
from datapaths.bpf.states import DENIED10, DENIED11, LINE10, LINE11, NOTHING, TOKEN, Row
from lab.record import Mistake

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH")
"""What `*` stands for. CONNECT is never allowed."""

_VISIBLE = frozenset(range(0x21, 0x7F))
_QUERY = _VISIBLE - frozenset(b"#")

Rules = frozenset[tuple[str, str]]  # (method or *, pattern)


def start_lines(rules: Rules, first: int, apart: int = 1) -> tuple[list[Row], int]:
    """Rows numbered from `first` for the start lines of one source and destination, and the number of the first."""
    machine = Nondeterministic()
    root, wide = machine.state(), machine.state()
    ends = {machine.state(): action for action in (LINE10, LINE11, DENIED10, DENIED11)}
    by_action = {action: state for state, action in ends.items()}
    for method, pattern in sorted(rules):
        for name in METHODS if method == "*" else (method,):
            if name == "CONNECT" or not name or not set(name.encode()) <= TOKEN:
                raise Mistake(f"method {method!r}; allowed are tokens such as GET, and * for {', '.join(METHODS)}")
            at = machine.pattern(machine.text(root, name.encode() + b" "), pattern)
            query = machine.move(at, b"?")
            machine.move(query, _QUERY, query)
            for end in (at, query):
                machine.version(end, by_action[LINE10], by_action[LINE11])
    some = machine.move(wide, TOKEN)
    machine.move(some, TOKEN, some)
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
            row = Row(min(actions), min(actions) >= DENIED10, dict(FIELD_MOVES))
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
