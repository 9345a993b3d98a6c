"""The columns of frames stand in the docstrings of what returns them, and nowhere else; frames are made from there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pandas as pd

from lab.record import Mistake, Outcome

HEADING = "Columns:"
LINE = re.compile(r"^\s+(?P<names>\w+(?:, \w+)*): (?P<words>.+)$")
OUTCOMES = {f"outcome_{o}": str(o) for o in Outcome}


def documented(function: Callable[..., object]) -> dict[str, str]:
    """Every column of the frames that `function` returns with its meaning and unit, in order.

    They are the lines `name: meaning` (or `one, two: meaning`) below `Columns:` in its docstring.
    """
    _, found, lines = (function.__doc__ or "").partition(HEADING)
    if not found:
        raise Mistake(f"{function.__name__} has no documented columns; it must be one that returns a frame")
    told: dict[str, str] = {}
    for line in lines.splitlines():
        match = LINE.match(line)
        if match:
            told |= dict.fromkeys(match["names"].split(", "), match["words"])
        elif line.strip() and told:  # a line that goes on
            last = list(told)[-1]
            told[last] = f"{told[last]} {line.strip()}"
    return told


def columns(function: Callable[..., object]) -> pd.DataFrame:
    """What the columns of a frame mean and in which unit they are: `columns(latencies)`.

    Columns:
        column: its name
        meaning: what it is, and its unit
    """
    return pd.DataFrame(list(documented(function).items()), columns=["column", "meaning"])


def framed(function: Callable[..., object], rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """A frame of exactly the documented columns, also without rows. A row that differs is a fault of ours."""
    names = list(documented(function))
    kept = list(rows)
    for row in kept:
        if row.keys() != set(names):
            raise AssertionError(f"{function.__name__} gives {set(row) ^ set(names)} against its docstring")
    return pd.DataFrame(kept, columns=names)


def spread(name: str, estimate: Mapping[str, float]) -> dict[str, float]:
    """An estimate as three columns: value, and the ends of its 95 % interval."""
    return {name: estimate["value"], f"{name}_low": estimate["low"], f"{name}_high": estimate["high"]}


def outcomes(counts: Mapping[str, int]) -> dict[str, int]:
    """Requests by how they ended, as columns."""
    return {column: counts.get(name, 0) for column, name in OUTCOMES.items()}
