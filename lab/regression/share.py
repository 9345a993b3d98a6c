"""Thresholds as they are typed: `3%` or `0.03`."""

from __future__ import annotations

import math
import re

from lab.record import Mistake

MOST = 10.0
NUMBER = re.compile(r"\+?(\d+(?:\.\d*)?|\.\d+)\s*(%?)")


def share(option: str, text: str, *, zero: bool = False) -> float:
    """The share of one that `text` says: `3%` and `0.03` are 0.03. `zero` allows 0.

    `Mistake` for anything else; a bare number from 1 on is refused, since `3` may mean 3 % or three times as much.
    """
    found = NUMBER.fullmatch(text.strip())
    if not found:
        raise Mistake(f"{option} {text!r} is no share; give it as 3% or as 0.03")
    number, percent = float(found[1]), bool(found[2])
    if not percent and number >= 1:
        raise Mistake(
            f"{option} {text!r} may mean {number:g} % or {number:g} times; write {number:g}% or {number * 100:g}%"
        )
    value = number / 100 if percent else number
    if not (0 < value <= MOST and math.isfinite(value)) and not (zero and value == 0):
        least = "0 %" if zero else "above 0 %"
        raise Mistake(f"{option} {text!r} is out of range; allowed is {least} to {MOST:.0%}, e.g. 3%")
    return value
