"""Repetitions and the baseline: rules on all samples together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lab.exchange.audit.sample import Sample
from lab.foreign import LEAST_REPEATS, Concern, Severity

GEORGES = "https://doi.org/10.1145/1297027.1297033"
HEISER = "https://gernot-heiser.org/benchmarking-crimes.html"
Group = tuple[str, str]  # arm, load


def concerns(found: Sequence[Sample]) -> Iterator[Concern]:
    """What all samples together lack."""
    groups: dict[Group, list[Sample]] = {}
    for sample in found:
        groups.setdefault((sample.arm, sample.load), []).append(sample)
    bases = {sample.load for sample in found if sample.base}
    for group, members in groups.items():
        yield from _single_run(group, members)
    for group, members in groups.items():
        if not members[0].base:
            yield from _missing_baseline(group, bases)


def _single_run(group: Group, members: Sequence[Sample]) -> Iterator[Concern]:
    """Fewer repetitions than an interval needs."""
    repeats = sum(sample.repeats for sample in members)
    if repeats < LEAST_REPEATS:
        yield Concern(
            "single_run",
            Severity.SERIOUS,
            _words(group),
            "runs differ from each other by more than requests within one do; without at least "
            f"{LEAST_REPEATS} there is no interval, and any difference may be luck",
            (f"repetitions = {repeats}",),
            GEORGES,
        )


def _missing_baseline(group: Group, bases: set[str]) -> Iterator[Concern]:
    """Nothing to compare with at the same load."""
    if group[1] not in bases:
        others = ", ".join(sorted(bases))
        yield Concern(
            "missing_baseline",
            Severity.SERIOUS,
            _words(group),
            "a time says nothing of a datapath without the same measurement without it, at the same load on the same "
            "machine",
            (f"baseline at other loads = {others}" if others else "baseline = none",),
            HEISER,
        )


def _words(group: Group) -> str:
    return f"{group[0]}, {group[1]}"
