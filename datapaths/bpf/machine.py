"""Patterns of routes as an automaton under construction; which paths they match is said in `grammar.py`."""

from __future__ import annotations

import string
from collections.abc import Iterable

from lab.record import Mistake

_PLAIN = frozenset((string.ascii_letters + string.digits + "-_~!$&'()*+,=:@").encode())
_UNRESERVED = frozenset((string.ascii_letters + string.digits + "-_.~").encode())
_HIDDEN = _UNRESERVED | frozenset(b"/\\.;%?#\x7f") | frozenset(range(32)) | {0xC0, 0xC1} | frozenset(range(0xF5, 0x100))


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
