"""What the walks of journeys say: times of each step on each arm, and each arm against the baseline, repeat by repeat.

Journeys are closed loops: a slow arm is asked less often. So its times are records of their own, which no table,
figure or claim of open-loop times ever meets.

A repeat walks every arm once, in random order, and is what `lab.stats` calls a deployment. The time of a walk is cut
into equal parts; a part of an arm is paired with the same part of the baseline in the same repeat, when as many users
were there. A part gives one number per step and metric (p50, mean, p99, throughput): it is what a round is to a
scenario.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lab import stats
from lab.behaviour import LOOP, Tally, Turn, Walk
from lab.gates import walk as gates
from lab.plan import AGAIN, BASE
from lab.record import OUTCOMES
from lab.stats import Comparison, Interval
from lab.store import Store
from lab.summary import slices
from lab.summary.results import Estimate, Step, StepContrast, WalkCount

Floats = npt.NDArray[np.float64]
METRICS = ("p50", "mean", "p99", "throughput")
ALL = "all steps"
MOST_PARTS = 10  # of one walk
LEAST_PER_PART = {"p50": 5, "mean": 5, "p99": stats.LEAST_FOR_P99, "throughput": 5}  # answered requests


@dataclass(frozen=True)
class Stage:
    """One step on one arm in one repeat: its judged requests. The arrays are of the answered ones, in seconds."""

    turn: Turn
    walk: Walk
    step: str
    judged_s: float  # how long requests were judged
    since_s: Floats  # from the first judged moment to the request's start
    time_s: Floats
    requests: int
    failures: int
    outcomes: tuple[int, ...]  # in the order of OUTCOMES

    @property
    def valid(self) -> bool:
        """May it be compared?"""
        return gates.valid(self.walk)

    def parts(self, metric: str, count: int) -> Floats:
        """One number for each of `count` equal parts of the walk; nan where nothing was answered."""
        part = np.minimum((self.since_s / self.judged_s * count).astype(np.int64), count - 1)
        if metric == "throughput":
            return np.asarray(np.bincount(part, minlength=count) / (self.judged_s / count))
        return slices.statistic(self.time_s, part, count, metric)


def stages(store: Store) -> tuple[Stage, ...]:
    """Every step of every stored walk, and all steps of it together."""
    return tuple(stage for turn, walk in store.turns() for stage in _stages(turn, walk, store.events(turn.name)))


def _stages(turn: Turn, walk: Walk, rows: gates.Rows) -> Iterator[Stage]:
    judged_s = max(walk.lasted_s - turn.settle_s, 0.0)
    kept = rows[gates.judged(rows, turn.settle_s, walk.lasted_s)]
    together = {ALL: kept} if len(walk.steps) > 1 else {}
    parts = {**together, **{step: kept[kept["step"] == number] for number, step in enumerate(walk.steps)}}
    for step, own in parts.items():
        yield Stage(
            turn=turn,
            walk=walk,
            step=step,
            judged_s=judged_s,
            since_s=own["start_ns"][gates.answered(own)] / 1e9 - turn.settle_s,
            time_s=own["duration_ns"][gates.answered(own)] / 1e9,
            requests=len(own),
            failures=int(own["failed"].sum()),
            outcomes=tuple(np.bincount(own["outcome"], minlength=len(OUTCOMES)).tolist()),
        )


def steps(found: Sequence[Stage]) -> Iterator[Step]:
    """One entry for each step of each arm, all valid repeats pooled."""
    for (journey, arm, step), group in _grouped(found).items():
        good = [stage for stage in group if stage.valid]
        if good:
            yield _step(journey, arm, step, group, good)


def _step(journey: str, arm: str, step: str, group: Sequence[Stage], good: Sequence[Stage]) -> Step:
    times = np.concatenate([stage.time_s for stage in good])
    totals = np.sum([stage.outcomes for stage in good], axis=0).tolist()
    p50, p90, p99 = np.quantile(times, (0.5, 0.9, 0.99)).tolist() if len(times) else [float("nan")] * 3
    return Step(
        journey=journey,
        step=step,
        arm=arm,
        datapath=good[0].walk.datapath,
        loop=LOOP,
        users=good[0].turn.users,
        repeats=len(good),
        repeats_void=len(group) - len(good),
        requests=sum(stage.requests for stage in good),
        failures=sum(stage.failures for stage in good),
        outcomes={str(outcome): n for outcome, n in zip(OUTCOMES, totals, strict=True)},
        throughput_per_s=len(times) / sum(stage.judged_s for stage in good),
        time_p50_s=p50,
        time_mean_s=float(times.mean()) if len(times) else float("nan"),
        time_p90_s=p90,
        time_p99_s=p99,
    )


def contrasts(found: Sequence[Stage]) -> Iterator[StepContrast]:
    """Every step of every arm against the baseline. One family for Holm's correction is one step of one journey."""
    groups = _grouped(found)
    for journey, step in dict.fromkeys((stage.turn.journey, stage.step) for stage in found):
        base = groups.get((journey, BASE, step), [])
        arms = [own for (j, arm, s), own in groups.items() if (j, s) == (journey, step) and arm != BASE]
        drawn = (_contrast(step, own, base, metric) for own in arms for metric in METRICS)
        yield from map(_worded, _corrected([one for one in drawn if one is not None]))


def _grouped(found: Sequence[Stage]) -> dict[tuple[str, str, str], list[Stage]]:
    groups: dict[tuple[str, str, str], list[Stage]] = {}
    for stage in found:
        groups.setdefault((stage.turn.journey, stage.turn.arm.name, stage.step), []).append(stage)
    return groups


def _contrast(step: str, own: Sequence[Stage], base: Sequence[Stage], metric: str) -> StepContrast | None:
    """One contrast, its verdict still open; None where no repeat has enough of both."""
    others = {stage.turn.repeat: stage for stage in base if stage.valid}
    both = [(stage, others[stage.turn.repeat]) for stage in own if stage.valid and stage.turn.repeat in others]
    pairs = [(one.turn.repeat, *pair) for one, other in both if len((pair := _paired(one, other, metric))[0])]
    if not pairs:
        return None
    compared: Comparison = stats.compare([arm for _, arm, _ in pairs], [none for *_, none in pairs])
    return StepContrast(
        journey=own[0].turn.journey,
        step=step,
        arm=own[0].turn.arm.name,
        base=BASE,
        loop=LOOP,
        metric=metric,
        ratio=Estimate(*compared.ratio),
        difference=Estimate(*compared.difference),
        repeats=len(pairs),
        parts=len(compared.rounds),
        wilcoxon_p=compared.wilcoxon_p,
        holm_p=1.0,
        noise_floor=float("nan"),
        detectable=compared.detectable,
        verdict="",
        because="",
        parts_ratio=tuple((pairs[nth][0], part, ratio) for nth, part, ratio in compared.rounds),
    )


def _paired(one: Stage, other: Stage, metric: str) -> tuple[Floats, Floats]:
    """The same parts of two walks, as many as there are requests for, where both have answers."""
    count = min(MOST_PARTS, min(len(one.time_s), len(other.time_s)) // LEAST_PER_PART[metric])
    if count < 1:
        return np.empty(0), np.empty(0)
    first, second = one.parts(metric, count), other.parts(metric, count)
    there = np.isfinite(first) & np.isfinite(second) & (first > 0) & (second > 0)
    return first[there], second[there]


def _corrected(family: Sequence[StepContrast]) -> list[StepContrast]:
    """Holm's p over the arms and metrics of one step but A/A; noise floors from A/A, metric by metric."""
    tested = [c for c in family if c.arm != AGAIN]
    adjusted = dict(zip(((c.arm, c.metric) for c in tested), stats.holm([c.wilcoxon_p for c in tested]), strict=True))
    floors = {c.metric: stats.reach(_interval(c)) for c in family if c.arm == AGAIN}
    return [
        replace(c, holm_p=adjusted.get((c.arm, c.metric), c.wilcoxon_p), noise_floor=floors.get(c.metric, float("nan")))
        for c in family
    ]


def _worded(c: StepContrast) -> StepContrast:
    """The fixed words. Of throughput less is slower, so its ratio is judged upside down."""
    ratio = _interval(c)
    if c.metric == "throughput":
        ratio = Interval(1 / ratio.value, 1 / ratio.high, 1 / ratio.low)
    floor = float("-inf") if c.arm == AGAIN else c.noise_floor
    said, because = stats.verdict(ratio, deployments=c.repeats, rounds=c.parts, holm_p=c.holm_p, floor=floor)
    return replace(
        c, verdict=str(said), because=because.replace("deployments", "repeats").replace("deployment", "repeat")
    )


def _interval(c: StepContrast) -> Interval:
    return Interval(c.ratio.value, c.ratio.low, c.ratio.high)


def counts(store: Store) -> Iterator[WalkCount]:
    """For each arm of each journey: raw requests, Locust's own count, what went on the wire, what each observer saw."""
    groups: dict[tuple[str, str], list[tuple[Turn, Walk]]] = {}
    for turn, walk in store.turns():
        groups.setdefault((turn.journey, turn.arm.name), []).append((turn, walk))
    for (journey, arm), pairs in groups.items():
        rows = [store.events(turn.name) for turn, _ in pairs]
        walks = [walk for _, walk in pairs]
        sent = sum(int(r["sends"].sum()) for r in rows)
        for observer in dict.fromkeys(c.observer for w in walks for c in w.seen) or ("",):
            own = [c for w in walks for c in w.seen if c.observer == observer]
            yield WalkCount(
                journey=journey,
                arm=arm,
                walks=len(walks),
                walks_void=sum(not gates.valid(w) for w in walks),
                recorded=sum(map(len, rows)),
                counted=sum(_total(w.tallies) for w in walks),
                sent=sent,
                connections=sum(w.connections for w in walks),
                observer=observer,
                seen=sum(c.requests for c in own) if own else None,
            )


def _total(tallies: Sequence[Tally]) -> int:
    return sum(tally.requests for tally in tallies)
