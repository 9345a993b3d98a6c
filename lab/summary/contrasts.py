"""Every arm against the baseline, round by round, under every load: ratio, difference, verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lab import gates, stats
from lab.plan import AGAIN, BASE
from lab.record import BlockKind
from lab.stats import Comparison, Interval, Words
from lab.summary import slices
from lab.summary.pieces import METRICS, Floats, Ints, Piece, by_load, grouped, of_kind
from lab.summary.results import Contrast, Estimate

NOTHING = Interval(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class Pair:
    """An arm and the baseline in the deployments in which both are valid: one array a deployment, one value a round."""

    arm: tuple[Floats, ...]
    base: tuple[Floats, ...]
    places: tuple[tuple[int, int], ...]  # (deployment, round) of every value, in order

    @property
    def compared(self) -> Comparison | None:
        """What they say; None where there is nothing to compare."""
        return stats.compare(self.arm, self.base) if self.arm else None


def contrasts(found: Sequence[Piece]) -> Iterator[Contrast]:
    """All contrasts with the baseline, A/A included. One family for Holm's correction is one load of one scenario."""
    for group in grouped(of_kind(found, BlockKind.SLICES), by_load).values():
        yield from _family(group, found)


def _family(group: Sequence[Piece], found: Sequence[Piece]) -> list[Contrast]:
    arms = grouped(group, lambda p: p.run.arm)
    base = arms.pop(BASE, [])
    scenario = group[0].run.scenario
    for one in found:  # an arm that saturated below this rate was not offered it, but is not forgotten
        if one.run.scenario == scenario and one.run.arm != BASE:
            arms.setdefault(one.run.arm, [])
    drawn = [_contrast(name, own, base, group, found, metric) for name, own in arms.items() for metric in METRICS]
    measured = [c for c in drawn if c is not None]
    return [_worded(c, arms[c.arm], base, _knee(c.arm, scenario, found)) for c in _corrected(measured)]


def _contrast(
    name: str, own: Sequence[Piece], base: Sequence[Piece], group: Sequence[Piece], found: Sequence[Piece], metric: str
) -> Contrast | None:
    """One contrast, its verdict still open; None where the metric has too few requests to be told at all."""
    load, scenario = group[0].block.load, group[0].run.scenario
    knee = _knee(name, scenario, found)
    too_fast = knee is not None and load.rate_per_s >= knee
    pair = paired(own, base, metric)
    compared = None if too_fast else pair.compared
    if compared is None and not too_fast and _both_fit(own, base, metric):
        return None
    return Contrast(
        scenario=scenario,
        load=group[0].block.name,
        rate_per_s=load.rate_per_s,
        service_time_s=load.service_time_s,
        arm=name,
        base=BASE,
        metric=metric,
        ratio=Estimate(*(compared.ratio if compared else NOTHING)),
        geometric_ratio=Estimate(*(compared.geometric_ratio if compared else NOTHING)),
        difference_s=Estimate(*(compared.difference if compared else NOTHING)),
        deployments=compared.deployments if compared else 0,
        rounds=len(compared.rounds) if compared else 0,
        wilcoxon_p=compared.wilcoxon_p if compared else 1.0,
        holm_p=1.0,
        noise_floor=float("nan"),
        detectable=compared.detectable if compared else float("nan"),
        verdict="",
        because="",
        rounds_ratio=_placed(pair, compared),
    )


def _both_fit(own: Sequence[Piece], base: Sequence[Piece], metric: str) -> bool:
    """Is there a deployment in which both may be compared?"""
    return bool({p.run.trial for p in own if metric in p.fit} & {p.run.trial for p in base if metric in p.fit})


def paired(own: Sequence[Piece], base: Sequence[Piece], metric: str, *, clean: bool = False) -> Pair:
    """One value a round of both arms. `clean` leaves out rounds in which the hypervisor disturbed either.

    A p99 needs `stats.LEAST_FOR_P99` requests: where a slice has fewer, neighbouring rounds are taken together until
    both arms have them; a deployment with fewer in all says nothing.
    """
    arms, bases, places = [], [], []
    valid = {p.run.trial: p for p in base if metric in p.fit}
    for one in own:
        other = valid.get(one.run.trial)
        if metric not in one.fit or other is None:
            continue
        rounds = _rounds(one, other, clean=clean)
        join = _joined(one, other, len(rounds)) if metric == "p99" else 1
        first, second = (_values(p, rounds, join, metric) for p in (one, other))
        there = np.isfinite(first) & np.isfinite(second)
        if there.any():
            arms.append(first[there])
            bases.append(second[there])
            places += [(one.run.deployment, rounds[i * join]) for i in np.flatnonzero(there)]
    return Pair(tuple(arms), tuple(bases), tuple(places))


def _rounds(one: Piece, other: Piece, *, clean: bool) -> list[int]:
    """The rounds that both arms had, in order."""

    def had(p: Piece) -> set[int]:
        return {w.round for w in p.block.only(p.run.arm) if not (clean and w.index in p.stolen)}

    return sorted(had(one) & had(other))


def _joined(one: Piece, other: Piece, rounds: int) -> int:
    return slices.rounds_to_join(min(len(one.window), len(other.window)), rounds, stats.LEAST_FOR_P99)


def _values(p: Piece, rounds: Sequence[int], join: int, metric: str) -> Floats:
    """The metric of each group of `join` neighbouring rounds; what is left over at the end joins no group."""
    groups = len(rounds) // join
    if not groups:
        return np.empty(0)
    place = {number: i // join for i, number in enumerate(rounds[: groups * join])}
    table: Ints = np.full(max(w.index for w in p.block.windows) + 1, -1, dtype=np.int64)
    for w in p.block.only(p.run.arm):
        table[w.index] = place.get(w.round, -1)
    group = table[p.window]
    return slices.statistic(p.response_s[group >= 0], group[group >= 0], groups, metric)


def _placed(pair: Pair, compared: Comparison | None) -> tuple[tuple[int, int, float], ...]:
    if compared is None:
        return ()
    return tuple((*where, ratio) for where, (_, _, ratio) in zip(pair.places, compared.rounds, strict=True))


def _knee(arm: str, scenario: str, found: Sequence[Piece]) -> float | None:
    """The lowest rate at which the arm failed in any deployment of the scenario."""
    runs = (p.run for p in found if p.run.arm == arm and p.run.scenario == scenario)
    return min((r.saturated_at for r in runs if r.saturated_at is not None), default=None)


def _corrected(family: Sequence[Contrast]) -> list[Contrast]:
    """Holm's p over the arms and metrics of one load; A/A is no hypothesis. Noise floors from A/A, metric by metric."""
    tested = [c for c in family if c.arm != AGAIN and c.rounds]
    adjusted = dict(zip(((c.arm, c.metric) for c in tested), stats.holm([c.wilcoxon_p for c in tested]), strict=True))
    floors = {c.metric: stats.reach(_interval(c)) for c in family if c.arm == AGAIN and c.rounds}
    return [
        replace(
            c,
            holm_p=adjusted.get((c.arm, c.metric), c.wilcoxon_p),
            noise_floor=floors.get(c.metric, float("nan")),
        )
        for c in family
    ]


def _worded(c: Contrast, own: Sequence[Piece], base: Sequence[Piece], knee: float | None) -> Contrast:
    verdict, because = _verdict(c, own, base, knee)
    return replace(c, verdict=str(verdict), because=because)


def _verdict(c: Contrast, own: Sequence[Piece], base: Sequence[Piece], knee: float | None) -> tuple[str, str]:
    unequal = {f.detail for p in own for f in p.run.findings if f.gate == "parity" and not f.passed}
    if unequal:
        return Words.NOT_COMPARABLE, "; ".join(sorted(unequal))
    if knee is not None and c.rate_per_s >= knee:
        return Words.SATURATED, f"it could not keep {knee:g}/s on the ladder"
    if not c.rounds:
        return _nothing(own, base, c.metric)
    floor = float("-inf") if c.arm == AGAIN else c.noise_floor
    said, because = _said(_interval(c), c.deployments, c.rounds, c.holm_p, floor)
    return said, because + _cleaned(c, own, base, floor, said)


def _said(ratio: Interval, deployments: int, rounds: int, holm_p: float, floor: float) -> tuple[str, str]:
    return stats.verdict(ratio, deployments=deployments, rounds=rounds, holm_p=holm_p, floor=floor)


def _cleaned(c: Contrast, own: Sequence[Piece], base: Sequence[Piece], floor: float, said: str) -> str:
    """What the windows that the hypervisor left alone say, where that is something else. Declared beforehand."""
    if not any(p.stolen & {w.index for w in p.block.only(p.run.arm)} for p in (*own, *base)):
        return ""
    again = paired(own, base, c.metric, clean=True).compared
    if again is None:
        return "; no round is clean of steal"
    other, _ = _said(again.ratio, again.deployments, len(again.rounds), c.holm_p, floor)
    low, high = again.ratio.low, again.ratio.high
    return "" if other == said else f"; but clean of steal: {other}, {again.ratio.value:.3f} [{low:.3f}, {high:.3f}]"


def _nothing(own: Sequence[Piece], base: Sequence[Piece], metric: str) -> tuple[str, str]:
    """Why there is no ratio."""
    failed = failing(own, metric)
    if any(p.overloaded for p in own):
        return Words.SATURATED, f"it could not keep this rate in slices: {', '.join(failed)} failed"
    if not any(metric in p.fit for p in base):
        return Words.UNDECIDED, f"the baseline itself is not valid here: {', '.join(failing(base, metric))} failed"
    return Words.UNDECIDED, f"no deployment is valid: {', '.join(failed)} failed; see the gates"


def failing(found: Sequence[Piece], metric: str) -> list[str]:
    """The gates that make these pieces unfit for a metric."""
    skipped = gates.LABELS | {gate for gate, voids in gates.OF_METRIC.items() if voids != metric}
    findings = (f for p in found for f in p.run.findings if f.block in (p.block.name, "") and not f.passed)
    return sorted({f.gate for f in findings} - skipped)


def _interval(c: Contrast) -> Interval:
    return Interval(c.ratio.value, c.ratio.low, c.ratio.high)
