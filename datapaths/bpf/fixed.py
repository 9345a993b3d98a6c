"""The states that never change: header fields, chunks and answers."""

from __future__ import annotations

import string
from collections.abc import Iterable

from datapaths.bpf.states import (
    ANSWER,
    BETWEEN,
    BYTES,
    CHUNK_END,
    CODING,
    DIGIT,
    FIELD,
    FIRST_FREE,
    FRAMING,
    HEAD,
    HEX,
    HIGH,
    IN_NAME,
    IN_VALUE,
    LENGTH,
    NOTHING,
    SIZE,
    SIZE_START,
    STATUS,
    TOKEN,
    UPGRADE,
    Row,
)

_VALUE = frozenset(range(0x20, 0x7F)) | {9, HIGH}
_SPACE = frozenset(b" \t")


class _Fixed:
    """Rows under construction."""

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
    made.linger(name, TOKEN, IN_NAME)
    made.lead(name, b":", value)
    made.linger(value, _VALUE, IN_VALUE)
    made.line_end(value, to=FIELD)
    made.lead(FIELD, TOKEN, name)
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
            made.lead(there, TOKEN, other)
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


def _packed() -> tuple[dict[int, bytes], dict[int, int], int]:
    """As rows' dictionaries weigh a megabyte, only this is kept of them."""
    rows, answers = _fields()
    return {number: row.packed() for number, row in rows.items()}, rows[FIELD].next, answers


FIXED, FIELD_MOVES, ANSWERS = _packed()
"""The rows by number; where each byte leads where a field may begin; the state in which an answer begins."""
FIRST_START = max(FIXED) + 1
"""Start lines have rows from this number on."""
