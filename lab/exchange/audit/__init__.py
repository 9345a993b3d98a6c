"""The audit of methods: what the way of measuring takes from a result, decided by rules on what was read, nothing else.

A rule looks at fields of one sample, or at all samples together, and either has something to say or not. What a file
does not tell decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lab.exchange.audit import connections, loop, rate, times, trials
from lab.exchange.audit.rule import Rule
from lab.exchange.audit.sample import Sample, samples
from lab.foreign import Concern, Severity

__all__ = ["GRAVEST_FIRST", "RULES", "Sample", "audit", "grave", "samples"]

RULES: tuple[Rule, ...] = (*loop.RULES, *rate.RULES, *times.RULES, *connections.RULES)
GRAVEST_FIRST = tuple(Severity)


def audit(found: Sequence[Sample]) -> tuple[Concern, ...]:
    """Every concern about these samples, the gravest first, then in the order of rules and samples."""
    concerns = [*trials.concerns(found), *_each(found)]
    return tuple(sorted(concerns, key=lambda c: GRAVEST_FIRST.index(c.severity)))


def grave(concerns: Sequence[Concern]) -> bool:
    """Is one of them serious?"""
    return any(c.severity is Severity.SERIOUS for c in concerns)


def _each(found: Sequence[Sample]) -> Iterator[Concern]:
    for rule in RULES:
        for sample in found:
            said = rule.decide(sample)
            if said is not None:
                because, evidence = said
                yield Concern(rule.name, rule.severity, sample.name, because, evidence, rule.source)
