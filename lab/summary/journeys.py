"""What the walks of journeys say: times of each step on each arm, and each arm against the baseline, repeat by repeat.

Journeys are closed loops: a slow arm is asked less often. So its times are records of their own, which no table,
figure or claim of open-loop times ever meets.

A repeat walks every arm once, in random order; its value for an arm is one number (p50, mean, p99 or throughput of a
step), and repeats are what `lab.stats` calls deployments.
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
from lab.summary.results import Estimate, Step, StepContrast, WalkCount

Floats = npt.NDArray[np.float64]
METRICS = ("p50", "mean", "p99", "throughput")
ALL = "all steps"
NOTHING = Interval(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class Stage:
    """One step on one arm in one repeat: its judged requests. `time_s` are the answered ones, in seconds."""

    turn: Turn
    walk: Walk
    step: str
    judged_s: float  # how long requests were judged
    time_s: Floats
    requests: int
    failures: int
    outcomes: tuple[int, ...]  # in the order of OUTCOMES

    @property
    def valid(self) -> bool:
        """May it be compared?"""
        return gates.valid(self.walk)

    def value(self, metric: str) -> float:
        """One number; nan where too few requests were answered to tell."""
        count = len(self.time_s)
        if metric == "throughput":
            return count / self.judged_s if count else float("nan")
        if count < (stats.LEAST_FOR_P99 if metric == "p99" else 1):
            return float("nan")
        return float(
            self.time_s.mean() if metric == "mean" else np.quantile(self.time_s, {"p50": 0.5, "p99": 0.99}[metric])
        )


def stages(store: Store) -> tuple[Stage, ...]:
    """Every step of every stored walk, and all steps of it together."""
    return tuple(stage for turn, walk in store.turns() for stage in _stages(turn, walk, store.events(turn.name)))


def _stages(turn: Turn, walk: Walk, rows: gates.Rows) -> Iterator[Stage]:
    judged_s = max(walk.lasted_s - turn.settle_s, 0.0)
    kept = rows[gates.judged(rows, turn.settle_s, walk.lasted_s)]
    parts = {ALL: kept, **{step: kept[kept["step"] == number] for number, step in enumerate(walk.steps)}}
    for step, own in parts.items():
        yield Stage(
            turn=turn,
            walk=walk,
            step=step,
            judged_s=judged_s,
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
    """Every step of every arm against the baseline. One family for Holm's correction is one journey."""
    for journey in dict.fromkeys(stage.turn.journey for stage in found):
        groups = {key: group for key, group in _grouped(found).items() if key[0] == journey}
        drawn = [
            one
            for (_, arm, step), own in groups.items()
            for metric in METRICS
            if arm != BASE and (one := _contrast(step, own, groups.get((journey, BASE, step), []), metric))
        ]
        yield from map(_worded, _corrected(drawn))


def _grouped(found: Sequence[Stage]) -> dict[tuple[str, str, str], list[Stage]]:
    groups: dict[tuple[str, str, str], list[Stage]] = {}
    for stage in found:
        groups.setdefault((stage.turn.journey, stage.turn.arm.name, stage.step), []).append(stage)
    return groups


def _contrast(step: str, own: Sequence[Stage], base: Sequence[Stage], metric: str) -> StepContrast | None:
    """One contrast, its verdict still open; None where no repeat has both."""
    others = {stage.turn.repeat: stage.value(metric) for stage in base if stage.valid}
    pairs = [
        (s.turn.repeat, s.value(metric), others[s.turn.repeat]) for s in own if s.valid and s.turn.repeat in others
    ]
    pairs = [pair for pair in pairs if np.isfinite(pair[1:]).all() and min(pair[1:]) > 0]
    if not pairs:
        return None
    compared: Comparison = stats.compare([np.array([p[1]]) for p in pairs], [np.array([p[2]]) for p in pairs])
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
        wilcoxon_p=compared.wilcoxon_p,
        holm_p=1.0,
        noise_floor=float("nan"),
        detectable=compared.detectable,
        verdict="",
        because="",
        repeats_ratio=tuple((repeat, arm / none) for repeat, arm, none in pairs),
    )


def _corrected(family: Sequence[StepContrast]) -> list[StepContrast]:
    """Holm's p over all contrasts of a journey but A/A; noise floors from A/A, step by step and metric by metric."""
    tested = [c for c in family if c.arm != AGAIN]
    adjusted = dict(zip(map(_key, tested), stats.holm([c.wilcoxon_p for c in tested]), strict=True))
    floors = {(c.step, c.metric): stats.reach(_interval(c)) for c in family if c.arm == AGAIN}
    return [
        replace(
            c,
            holm_p=adjusted.get(_key(c), c.wilcoxon_p),
            noise_floor=floors.get((c.step, c.metric), float("nan")),
        )
        for c in family
    ]


def _key(c: StepContrast) -> tuple[str, str, str]:
    return c.arm, c.step, c.metric


def _worded(c: StepContrast) -> StepContrast:
    """The fixed words. Of throughput less is slower, so its ratio is judged upside down."""
    ratio = _interval(c)
    if c.metric == "throughput":
        ratio = Interval(1 / ratio.value, 1 / ratio.high, 1 / ratio.low)
    floor = float("-inf") if c.arm == AGAIN else c.noise_floor
    said, because = stats.verdict(ratio, deployments=c.repeats, rounds=c.repeats, holm_p=c.holm_p, floor=floor)
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
                recorded=sum(map(len, rows)),
                counted=sum(_total(w.tallies) for w in walks),
                sent=sent,
                connections=sum(w.connections for w in walks),
                observer=observer,
                seen=sum(c.requests for c in own) if own else None,
            )


def _total(tallies: Sequence[Tally]) -> int:
    return sum(tally.requests for tally in tallies)
