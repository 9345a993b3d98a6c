"""Choosing one of several with given weights in constant time: Walker's alias method.

A table has one slot for each choice. A slot is taken by chance, all alike; then a second chance says whether it stays
with its own choice or goes to its alias. A. J. Walker, ACM TOMS 3(3), 1977; the tables are built as by M. D. Vose, IEEE
TSE 17(9), 1991. Unlike a fixed table of slots (Maglev), it has any weights, to 2^-32, in as many slots as there are
choices, and unlike cumulative weights it needs no search. What Maglev adds, that several machines choose alike without
telling each other, is not wanted here: one machine chooses, once for each connection, and the socket remembers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WHOLE = 1 << 32


@dataclass(frozen=True)
class Slot:
    """`keep` of 2^32 times its own choice, else `alias`: an index of the table."""

    keep: int
    alias: int


def slots(weights: Sequence[int]) -> tuple[Slot, ...]:
    """The table for weights that are all positive; slot i stands for choice i."""
    total, count = sum(weights), len(weights)
    left = [weight * count for weight in weights]  # so that an even share is `total`
    small, large = ([i for i, each in enumerate(left) if (each < total) == less] for less in (True, False))
    table = [Slot(WHOLE - 1, i) for i in range(count)]
    while small:
        poor, rich = small.pop(), large[-1]
        table[poor] = Slot(left[poor] * WHOLE // total, rich)
        left[rich] -= total - left[poor]
        if left[rich] < total:
            small.append(large.pop())
    return tuple(table)
