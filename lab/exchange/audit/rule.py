"""What a rule is, and how its evidence is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lab.exchange.audit.sample import Sample
from lab.foreign import Severity

Said = tuple[str, tuple[str, ...]] | None
"""Why it matters, in a sentence, and the fields that it stands on; None: the rule has nothing to say."""


@dataclass(frozen=True)
class Rule:
    """One rule on one sample. `source` is public, and shows that what the rule looks for does harm."""

    name: str
    severity: Severity
    source: str
    decide: Callable[[Sample], Said]


def time(value_s: float) -> str:
    """A time as people write it."""
    for unit, least in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if abs(value_s) >= least:
            return f"{value_s / least:.3g} {unit}"
    return f"{value_s * 1e9:.3g} ns"


def per_s(rate: float) -> str:
    """A rate as people write it."""
    return f"{rate:,.6g}/s"
