"""The rule for C6: a proxy per node is worse than eBPF and better than sidecars."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lab import stats
from lab.claims import cases, words
from lab.claims.cases import RUN, SCENARIO
from lab.record import Verdict, Word
from lab.stats import Comparison
from lab.summary import Contrast, Estimate, Summary

ORDER = ("ebpf", "pernode", "sidecar")  # as the post orders them, the best first
STEADY = ("p50", "mean")  # told by every slice
ALPHA = 0.05


@dataclass(frozen=True)
class Step:
    """An arm against the one before it in the order, under one load. `sure`: Wilcoxon (after Holm) agrees."""

    worse: Contrast
    better: Contrast
    ratio: Estimate
    sure: bool

    @property
    def under(self) -> str:
        """The metric and the load."""
        return f"{self.worse.metric}, {words.load(self.worse.rate_per_s, self.worse.service_time_s)}"

    @property
    def place(self) -> str:
        """Which arms, and where."""
        return f"{self.worse.arm}/{self.better.arm}, {self.under}"

    @property
    def right(self) -> bool:
        """Surely as the post says."""
        return self.sure and self.ratio.low > 1

    @property
    def wrong(self) -> bool:
        """Surely the other way round."""
        return self.sure and self.ratio.high < 1


def order_of_arms(summary: Summary) -> Verdict:
    """C6. At each load that eBPF, node proxy and sidecar keep, each is surely slower than the one before (p50, mean).

    Compared round by round; Wilcoxon's test after Holm must agree with the interval.
    """
    steps = _steps(summary)
    evidence = (*(f"{s.place}: ratio {words.interval(s.ratio)}" for s in steps), *_knees(summary))
    if not steps:
        because = f"no load was compared for all of {', '.join(ORDER)}; {RUN}"
        return Verdict("C6", Word.UNDECIDED, because, evidence, measured=False)
    right, wrong = [s for s in steps if s.right], [s for s in steps if s.wrong]
    conditions = (
        *(f"the other way round: {s.place}" for s in wrong),
        *(f"open: {s.place}" for s in steps if not s.right and not s.wrong),
        *cases.scope(c for s in steps for c in (s.worse, s.better)),
    )
    if len(right) == len(steps):
        because = f"{' < '.join(ORDER)} in every comparison at the same rate"
        return Verdict("C6", Word.HOLDS, because, evidence, conditions)
    count = f"of {len(steps)} comparisons {len(right)} confirm the order and {len(wrong)} contradict it"
    whole = any(all(s.right for s in steps if s.under == under) for under in {s.under for s in steps})
    if whole or (right and wrong):
        return Verdict("C6", Word.HOLDS_IF, count, evidence, conditions)
    if wrong:
        return Verdict("C6", Word.DOES_NOT_HOLD, count, evidence, conditions)
    return Verdict("C6", Word.UNDECIDED, f"{count}; measure more deployments", evidence, conditions)


def _steps(summary: Summary) -> list[Step]:
    """Every comparison of neighbours in the order, all of one load and metric after each other."""
    told = {(c.load, c.metric, c.arm): c for c in cases.of(summary, *ORDER) if cases.told(c) and c.metric in STEADY}
    loads = dict.fromkeys((load, metric) for load, metric, _ in told)
    whole = [[told[x, m, arm] for arm in ORDER] for x, m in loads if all((x, m, arm) in told for arm in ORDER)]
    pairs = [(worse, better, direct(worse, better)) for arms in whole for better, worse in pairwise(arms)]
    found = [(worse, better, c) for worse, better, c in pairs if c is not None]
    corrected = stats.holm([c.wilcoxon_p for _, _, c in found])
    return [_step(*pair, p) for pair, p in zip(found, corrected, strict=True)]


def _step(worse: Contrast, better: Contrast, compared: Comparison, p: float) -> Step:
    return Step(worse, better, Estimate(*compared.ratio), p < ALPHA)


def direct(one: Contrast, other: Contrast) -> Comparison | None:
    """One arm against another by the rounds that both have, the baseline cancelling; None where there are none."""
    ratios = {(d, r): v for d, r, v in other.rounds_ratio}
    shared = [(d, v, ratios[d, r]) for d, r, v in one.rounds_ratio if (d, r) in ratios]
    numbers = sorted({d for d, _, _ in shared})
    if not numbers:
        return None
    columns = [np.array([(v, w) for d, v, w in shared if d == number]).T for number in numbers]
    return stats.compare([c[0] for c in columns], [c[1] for c in columns])


def _knees(summary: Summary) -> tuple[str, ...]:
    return tuple(
        f"{c.arm} keeps {c.kept_per_s or 0:,.0f}/s"
        + (f" and saturates at {c.saturated_per_s:,.0f}/s" if c.saturated_per_s is not None else " and more")
        for c in summary.capacities
        if c.scenario == SCENARIO and c.arm in ORDER
    )
