"""From stored runs to samples: one logarithm a deployment for each metric under each load, and why some are missing.

In one run a deployment gives log(candidate / against) of rounds that hold both. Of two runs each gives log(arm / none)
within itself, and their difference is judged. Sizes need no baseline: they do not depend on how fast a machine is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lab.plan import AGAIN, BASE
from lab.record import BlockKind, Mistake
from lab.regression.overload import barred, swamped
from lab.regression.ruling import LATENCY, Sides
from lab.regression.seen import Seen
from lab.stats import Floats, middles
from lab.store import Store
from lab.summary.contrasts import failing, paired
from lab.summary.costs import held, spent
from lab.summary.pieces import Piece

SIZES = {"pss": 1, "bpf": 4}  # where they stand in `lab.summary.costs.held`


@dataclass(frozen=True)
class Sample:
    """One metric under one load. `new` has one value a deployment; `old` those of a baseline run, else it is None.

    `outcome` says how often the candidate was overloaded where the other was not, with the p of as many by chance, and
    the least p that it could have had; `trouble` why nothing can be said.
    """

    load: str
    metric: str
    new: tuple[float, ...] = ()
    old: tuple[float, ...] | None = None
    equal: tuple[float, ...] = ()  # the same of two equal arms
    equal_old: tuple[float, ...] | None = None
    differences_s: tuple[float, ...] = ()
    planned: int = 0
    planned_old: int = 0
    gates: tuple[str, ...] = ()  # that left deployments out
    outcome: str = ""
    outcome_p: float = 1.0
    outcome_least_p: float = 1.0
    kept_per_s: tuple[float, float] | None = None  # of the ladder: candidate's, against's
    trouble: str = ""


def samples(runs: Sequence[Store], sides: Sides, baseline: Store | None = None) -> tuple[Sample, ...]:
    """Every sample that the runs hold: latency under every load, then costs and sizes where they were measured.

    `Mistake` where a run has no such scenario, load or arm.
    """
    news = [Seen.of(store, sides.scenario) for store in runs]
    old = Seen.of(baseline, sides.scenario) if baseline else None
    for seen, arm in [*((n, sides.candidate) for n in news), (old or news[0], sides.against)]:
        _there(seen, arm)
    loads = _shared(news, old, BlockKind.SLICES, sides.rate_per_s)
    if not loads:
        asked = "" if sides.rate_per_s is None else f" at {sides.rate_per_s:g}/s"
        raise Mistake(f"{sides.scenario} was not measured in slices{asked} in all of these runs; give another --rate")
    costs = _shared(news, old, BlockKind.COST, sides.rate_per_s)
    return (
        *(_latency(news, old, sides, load, rate, metric) for load, rate in loads.items() for metric in LATENCY),
        *(_processor(news, old, sides, load) for load in costs),
        *(_size(news, old, sides, load, metric) for load in costs for metric in SIZES),
        *_kept(news, old, sides),
    )


def _there(seen: Seen, arm: str) -> None:
    arms = list(dict.fromkeys(p.run.arm for p in seen.found))
    if arm not in arms:
        known = f"it has {', '.join(arms)}" if arms else f"it holds nothing of scenario {seen.scenario}"
        raise Mistake(f"{seen.store.folder} has no arm {arm!r}; {known}")


def _shared(news: Sequence[Seen], old: Seen | None, kind: BlockKind, rate: float | None) -> dict[str, float]:
    """Loads that every run has."""
    every = [seen.loads(kind, rate) for seen in (*news, *([old] if old else []))]
    return {load: at for load, at in every[0].items() if all(load in other for other in every)}


def _latency(news: Sequence[Seen], old: Seen | None, sides: Sides, load: str, rate: float, metric: str) -> Sample:
    """`none` is the other side where there are two runs; then it shows noise as well."""
    base = BASE if old else sides.against
    outcome, outcome_p, outcome_least_p = swamped(news, old, sides, load, rate)
    new = [_ratios(seen, load, sides.candidate, base, metric) for seen in news]
    equal = [_ratios(seen, load, AGAIN, BASE, metric) for seen in news]
    whole = Sample(
        load,
        metric,
        planned=sum(seen.planned(load) for seen in news),
        trouble=barred(news, old, sides, rate),
        outcome=outcome,
        outcome_p=outcome_p,
        outcome_least_p=outcome_least_p,
        new=tuple(x for logs, _ in new for x in logs),
        equal=tuple(x for logs, _ in equal for x in logs),
        differences_s=() if old else tuple(x for _, differences in new for x in differences),
        gates=_gates(news, load, (sides.candidate, base), metric),
    )
    if old is None:
        return whole
    return replace(
        whole,
        old=_ratios(old, load, sides.against, BASE, metric)[0],
        equal_old=_ratios(old, load, AGAIN, BASE, metric)[0],
        planned_old=old.planned(load),
        gates=tuple(sorted({*whole.gates, *_gates([old], load, (sides.against, BASE), metric)})),
    )


def _ratios(seen: Seen, load: str, arm: str, base: str, metric: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """One log-ratio and one difference in seconds for each deployment in which both arms are valid."""
    pair = paired(seen.of_arm(load, arm), seen.of_arm(load, base), metric)
    if not pair.arm:
        return (), ()
    both = list(zip(pair.arm, pair.base, strict=True))
    logs, differences = (_each(both, what) for what in (lambda a, b: np.log(a / b), lambda a, b: a - b))
    return logs, differences


def _each(both: Sequence[tuple[Floats, Floats]], what: Callable[[Floats, Floats], Floats]) -> tuple[float, ...]:
    return tuple(middles([np.asarray(what(a, b)) for a, b in both]).tolist())


def _gates(seen: Sequence[Seen], load: str, arms: Sequence[str], metric: str) -> tuple[str, ...]:
    void = [p for one in seen for arm in arms for p in one.of_arm(load, arm) if metric not in p.fit]
    return tuple(failing(void, metric))


def _processor(news: Sequence[Seen], old: Seen | None, sides: Sides, load: str) -> Sample:
    """Processor seconds per request, all parts together; of `none` too where there are two runs."""

    def value(p: Piece) -> float | None:
        there = not p.overloaded and p.answered and p.values("cpu", "cpu_s")
        return spent(p)["total"] if there else None

    return _whole(news, old, sides, load, "cpu", value, BASE if old else sides.against)


def _size(news: Sequence[Seen], old: Seen | None, sides: Sides, load: str, metric: str) -> Sample:
    """Bytes of the datapath's processes (PSS), or of its BPF maps and programs."""

    def value(p: Piece) -> float | None:
        there = p.values("memory", "pss_bytes", part="datapath")
        return held(p, "datapath")[SIZES[metric]] if there else None

    return _whole(news, old, sides, load, metric, value, None if old else sides.against)


Value = Callable[[Piece], float | None]


def _whole(
    news: Sequence[Seen], old: Seen | None, sides: Sides, load: str, metric: str, value: Value, base: str | None
) -> Sample:
    """A metric of whole windows: one value a deployment of each arm, held against `base` where there is one."""
    new = tuple(x for seen in news for x in _logs(seen, load, sides.candidate, base, value))
    before = _logs(old, load, sides.against, base, value) if old else None
    found = Sample(load, metric, new, before, planned=sum(seen.planned(load) for seen in news))
    found = replace(found, planned_old=old.planned(load) if old else 0)
    if not new or before == ():
        return replace(found, trouble="one side has none of it, so there is no ratio; leave its option out")
    return found


def _logs(seen: Seen, load: str, arm: str, base: str | None, value: Value) -> tuple[float, ...]:
    """log(arm / base), or log(arm) where there is no base, for each deployment in which all of it is above zero."""
    own, other = ({p.run.trial: value(p) for p in seen.of_arm(load, name)} for name in (arm, base or arm))
    both = [(x, other.get(trial)) for trial, x in own.items()]
    return tuple(math.log(x / (y if base else 1.0)) for x, y in both if x and y)


def _kept(news: Sequence[Seen], old: Seen | None, sides: Sides) -> Iterator[Sample]:
    """The highest rate kept on the ladder: an outcome without an interval, since steps are steps."""
    ladders = _shared(news, old, BlockKind.LADDER, None)
    if not ladders:
        return
    new = [seen.kept(sides.candidate) for seen in news]
    before = _least([seen.kept(sides.against) for seen in ([old] if old else news)])
    found = Sample("ladder", "kept")
    if before is None:
        yield replace(found, trouble=f"{sides.against} kept no step of the ladder; offer lower rates")
    elif old and old.kept(BASE) != _least([seen.kept(BASE) for seen in news]):
        yield replace(found, trouble=f"{BASE} kept another rate than in the baseline: the machine is not as it was")
    else:
        yield replace(found, kept_per_s=(_least(new) or 0.0, before))


def _least(rates: Sequence[float | None]) -> float | None:
    """The least of rates that were all kept."""
    there = [rate for rate in rates if rate is not None]
    return min(there) if len(there) == len(rates) else None
