"""Words, numbers and times in files that nobody vouches for: each as it should be, or a `Mistake` that says where."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from lab.foreign import Document
from lab.record import Mistake

LARGEST_BYTES = 256 << 20
LONGEST = 200  # characters of one label
MOST = 1e18  # of any number: as nanoseconds, thirty years
MOST_COUNT = 1 << 53  # whole numbers above are no longer exact in JSON
UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
TIME = re.compile(r"(?P<number>\d{1,15}(?:\.\d{1,15})?)(?P<unit>ns|us|µs|ms|s|m|h)")


def text(document: Document) -> str:
    """The file's text; `Mistake` unless it is UTF-8 without NUL bytes."""
    try:
        found = document.raw.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        raise Mistake(
            f"{document.name} is no text (byte {wrong.start} is not UTF-8); give what the tool wrote"
        ) from None
    if "\0" in found:
        raise Mistake(f"{document.name} is no text (it has NUL bytes); give what the tool wrote")
    return found.replace("\r\n", "\n")


def parsed(document: Document) -> dict[str, Any]:
    """The file's JSON object; `Mistake` where it is none."""
    try:
        found = json.loads(text(document))
    except (ValueError, RecursionError) as wrong:
        raise Mistake(f"{document.name} is not JSON ({wrong}); give the whole file that the tool wrote") from None
    if not isinstance(found, dict):
        raise Mistake(f"{document.name} must be a JSON object; found {type(found).__name__}")
    return found


def number(value: object, where: str, least: float = 0.0) -> float:
    """A finite number of at least `least`; protobuf's JSON writes large ones as strings."""
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,20}(?:\.\d{1,20})?", value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Mistake(f"{where} must be a number; found {value!r:.60}")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found) or not least <= found <= MOST:
        raise Mistake(f"{where} must be a finite number from {least:g} to {MOST:g}; found {found:g}")
    return found


def whole(value: object, where: str) -> int:
    """A count: a whole number of at least 0."""
    found = number(value, where)
    if found != int(found) or found > MOST_COUNT:
        raise Mistake(f"{where} must be a whole number of at most {MOST_COUNT}; found {found:g}")
    return int(found)


def mapping(value: object, where: str) -> Mapping[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise Mistake(f"{where} must be an object; found {value!r:.60}")
    return value


def items(value: object, where: str) -> list[Any]:
    """A JSON list."""
    if not isinstance(value, list):
        raise Mistake(f"{where} must be a list; found {value!r:.60}")
    return value


def said(value: object) -> str:
    """A label for people: printable, on one line, not long; empty where there is none."""
    if not isinstance(value, str | int | float):
        return ""
    shown = "".join(c if c.isprintable() else " " for c in str(value))
    return " ".join(shown.split())[:LONGEST]


def seconds(word: str, where: str) -> float:
    """`1.23ms`, `45us`, `1.50m` in seconds."""
    match = TIME.fullmatch(word.strip())
    if not match:
        raise Mistake(f"{where} must be a time like 1.23ms; found {word!r:.60}")
    return float(match["number"]) * UNITS_S[match["unit"]]


def step(word: str) -> float:
    """The smallest difference that a printed time can show, in seconds: `1.23ms` has 10 µs."""
    match = TIME.fullmatch(word.strip())
    if not match:
        return 0.0
    _, _, decimals = match["number"].partition(".")
    return float(10 ** -len(decimals) * UNITS_S[match["unit"]])


def rising(quantiles: Sequence[tuple[float, float]], where: str) -> tuple[tuple[float, float], ...]:
    """Quantiles (share, seconds) where both rise from one to the next, within 0 and 1."""
    falls = any(a > b for one, other in pairwise(quantiles) for a, b in zip(one, other, strict=True))
    if falls or any(not 0 <= share <= 1 for share, _ in quantiles):
        raise Mistake(f"{where} must rise, at shares from 0 to 1; found {tuple(quantiles)!r:.80}")
    return tuple(quantiles)


def line(body: str, pattern: str, document: Document, expected: str) -> re.Match[str]:
    """The only place where a pattern matches a line; `Mistake` where there is none, or more than one."""
    found = list(re.finditer(pattern, body, re.MULTILINE))
    if len(found) != 1:
        count = "none" if not found else f"{len(found)}"
        raise Mistake(
            f"{document.name} must have one line like {expected!r}; found {count}: give one run's whole output"
        )
    return found[0]
