"""States as the kernel's `judge.h` walks them, a byte at a time: their numbers, and where each byte leads."""

from __future__ import annotations

import string
import struct
from dataclasses import dataclass, field

BYTES, HIGH = 130, 128  # one next state for each byte below 128 and one for the others
MALFORMED, RULE, UPGRADE, FRAMING = range(4)
BETWEEN, FIELD, SIZE_START, CHUNK_END, FIRST_FREE = 32, 33, 34, 35, 64
(NOTHING, LINE10, LINE11, DENIED10, DENIED11, LENGTH, DIGIT, CODING, HEX, SIZE, HEAD, STATUS, ANSWER) = range(13)
MOVES, IN_NAME, IN_VALUE = range(3)  # as in policy.h

_ROW = struct.Struct(f"=HBB{BYTES}H")
TOKEN = frozenset((string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~").encode())
"""What names are made of (RFC 9110, 5.6.2)."""


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
