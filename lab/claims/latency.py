"""The rules for claims of latency: C1 (sidecars cost 3-4 times), C2 (eBPF costs nothing), C6 (order of arms)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from lab import stats
from lab.claims import words
from lab.gates import BASELINE
from lab.record import Verdict, Word
from lab.stats import Words
from lab.summary import Contrast, Estimate, Summary

SCENARIO = "http_visibility"
RUN = "measure it with: mesh-lab run http_visibility"
MULTIPLE = 3.0  # the lower end of the post's "3-4x"
MOST = 4.0
POST_RATE = 10_000.0
MARGIN = 1.05  # a mean latency inside it costs nothing significant
ORDER = ("ebpf", "pernode", "sidecar")  # as the post orders them, the best first
STEADY = ("p50", "mean")  # told by every slice


def sidecars_multiply(summary: Summary) -> Verdict:
    """C1. Each load and metric is a case: surely at least 3 times, surely less, or open, by the 95 % interval."""
    all_cases = _of(summary, "sidecar")
    cases = [c for c in all_cases if _told(c)]
    if not cases:
        return Verdict("C1", Word.UNDECIDED, f"no latency of sidecars could be compared; {RUN}", _sentences(all_cases))
    reached = [c for c in cases if c.ratio.low >= MULTIPLE]
    below = [c for c in cases if c.ratio.high < MULTIPLE]
    conditions = (
        *_where("at least three times", reached),
        *_where("less than three times", below),
        *_saturation(all_cases),
        *_scope(cases),
    )
    evidence = _sentences(all_cases)
    span = f"the ratio runs from {min(c.ratio.value for c in cases):.2f} to {max(c.ratio.value for c in cases):.2f}"
    if reached and len(reached) == len(cases):
        more = " and more than the post says" if all(c.ratio.low > MOST for c in cases) else ""
        return Verdict("C1", Word.HOLDS, f"{span}: three times or more{more} in every case", evidence, conditions)
    if reached:
        return Verdict("C1", Word.HOLDS_IF, f"{span}: it depends on load, metric and server", evidence, conditions)
    if len(below) == len(cases):
        return Verdict("C1", Word.DOES_NOT_HOLD, f"{span}: below three times in every case", evidence, conditions)
    because = (
        f"{span}; {len(below)} of {len(cases)} cases are surely below three times, the others open: measure longer"
    )
    return Verdict("C1", Word.UNDECIDED, because, evidence, conditions)


def ebpf_costs_nothing(summary: Summary) -> Verdict:
    """C2. The mean at 10,000/s: equivalent within ±5 % (then ±2 %), and every request seen."""
    cases = [c for c in _of(summary, "ebpf") if c.rate_per_s == POST_RATE and not c.service_time_s]
    mean = next((c for c in cases if c.metric == "mean"), None)
    evidence = (*_sentences(cases), *_proof(summary, "ebpf"), *_processor(summary, "ebpf", POST_RATE))
    if mean is None:
        run = f"{RUN} --datapaths none,ebpf --rate {POST_RATE:.0f}"
        return Verdict(
            "C2", Word.UNDECIDED, f"no mean latency of eBPF at {POST_RATE:,.0f}/s was measured; {run}", evidence
        )
    word, because = _costs(mean)
    if word is Word.HOLDS and not _proven(summary, "ebpf"):
        because = "the mean is equivalent, but it is not proven that eBPF saw every request: see the accounting"
        return Verdict("C2", Word.UNDECIDED, because, evidence)
    return Verdict("C2", word, because, evidence, _scope([mean]))


def _costs(mean: Contrast) -> tuple[Word, str]:
    if mean.verdict == Words.SATURATED:
        return Word.DOES_NOT_HOLD, f"eBPF cannot keep {POST_RATE:,.0f}/s on this machine: {mean.because}"
    if not _told(mean):
        return Word.UNDECIDED, f"{mean.verdict}: {mean.because}"
    ratio = words.interval(mean.ratio)
    if mean.ratio.low > MARGIN:
        return Word.DOES_NOT_HOLD, f"the mean is {ratio} of no mesh's: surely more than 5 %"
    if mean.ratio.high < 1:
        return Word.HOLDS, f"the mean is {ratio} of no mesh's: eBPF is not slower"
    if mean.ratio.low >= 1 / MARGIN and mean.ratio.high <= MARGIN:
        margin = next(m for m in stats.MARGINS if 1 / (1 + m) <= mean.ratio.low and mean.ratio.high <= 1 + m)
        strict = "±2 % too" if margin <= 0.02 else "not shown within ±2 %"
        return Word.HOLDS, f"the mean is {ratio} of no mesh's: equivalent within ±5 %, {strict}"
    return Word.UNDECIDED, f"the mean is {ratio} of no mesh's: the interval crosses a margin of 5 %; measure longer"


def order_of_arms(summary: Summary) -> Verdict:
    """C6. At each load that all three arms keep, each against the next, round by round; p50 and mean."""
    steps = [s for c in _loads(summary) for s in _steps(summary, *c)]
    evidence = tuple(sentence for _, _, sentence in steps) + _knees(summary)
    if not steps:
        return Verdict("C6", Word.UNDECIDED, f"no load was compared for all of {', '.join(ORDER)}; {RUN}", evidence)
    right = [place for place, ratio, _ in steps if ratio.low > 1]
    wrong = [place for place, ratio, _ in steps if ratio.high < 1]
    unsure = [place for place, ratio, _ in steps if ratio.low <= 1 <= ratio.high]
    conditions = tuple(f"the other way round: {place}" for place in wrong) + tuple(f"open: {place}" for place in unsure)
    conditions += _scope(c for c in _of(summary, *ORDER) if _told(c))
    if len(right) == len(steps):
        because = f"{' < '.join(ORDER)} in every comparison at the same rate"
        return Verdict("C6", Word.HOLDS, because, evidence, conditions)
    count = f"of {len(steps)} comparisons {len(right)} confirm the order and {len(wrong)} contradict it"
    if right and (wrong or any(set(pair) <= set(right) for pair in _pairs(steps))):
        return Verdict("C6", Word.HOLDS_IF, count, evidence, conditions)
    if wrong:
        return Verdict("C6", Word.DOES_NOT_HOLD, count, evidence, conditions)
    return Verdict("C6", Word.UNDECIDED, f"{count}; measure more deployments", evidence, conditions)


def _pairs(steps: Sequence[tuple[str, Estimate, str]]) -> list[tuple[str, ...]]:
    """The places that make up the whole order at one load and metric."""
    size = len(ORDER) - 1
    return [tuple(place for place, _, _ in steps[i : i + size]) for i in range(0, len(steps), size)]


def _loads(summary: Summary) -> list[tuple[str, str]]:
    """(load, metric) that every arm of the order has a ratio for."""
    there = {(c.load, c.metric, c.arm) for c in _of(summary, *ORDER) if _told(c) and c.metric in STEADY}
    return sorted({(x, m) for x, m, _ in there if all((x, m, arm) in there for arm in ORDER)})


def _steps(summary: Summary, load: str, metric: str) -> list[tuple[str, Estimate, str]]:
    """Place, ratio and sentence of each arm against the one before it in the order."""
    of_arm = {c.arm: c for c in _of(summary, *ORDER) if (c.load, c.metric) == (load, metric)}
    steps = []
    for better, worse in pairwise(ORDER):
        ratio = direct(of_arm[worse], of_arm[better])
        place = f"{worse}/{better}, {metric}, {words.load(of_arm[worse].rate_per_s, of_arm[worse].service_time_s)}"
        if ratio is None:
            return []
        steps.append((place, ratio, f"{place}: ratio {words.interval(ratio)}"))
    return steps


def direct(one: Contrast, other: Contrast) -> Estimate | None:
    """One arm against another by the rounds that both have, the baseline cancelling; None where there are none."""
    ratios = {(d, r): v for d, r, v in other.rounds_ratio}
    shared = [(d, v, ratios[d, r]) for d, r, v in one.rounds_ratio if (d, r) in ratios]
    numbers = sorted({d for d, _, _ in shared})
    if not numbers:
        return None
    columns = [np.array([(v, w) for d, v, w in shared if d == number]).T for number in numbers]
    return Estimate(*stats.compare([c[0] for c in columns], [c[1] for c in columns]).ratio)


def _of(summary: Summary, *arms: str) -> list[Contrast]:
    return [c for c in summary.contrasts if c.scenario == SCENARIO and c.arm in arms and c.base == BASELINE]


def _told(c: Contrast) -> bool:
    """Has it a ratio that may be compared?"""
    return c.rounds > 0 and c.verdict not in (Words.SATURATED, Words.NOT_COMPARABLE)


def _sentences(cases: Iterable[Contrast]) -> tuple[str, ...]:
    return tuple(words.contrast(c) for c in cases)


def _where(what: str, cases: Sequence[Contrast]) -> tuple[str, ...]:
    return tuple(f"{what}: {c.metric} {words.load(c.rate_per_s, c.service_time_s)}, {c.ratio.value:.2f}" for c in cases)


def _scope(cases: Iterable[Contrast]) -> tuple[str, ...]:
    """A condition where intervals do not reach beyond the deployments that were measured."""
    fewest = min((c.deployments for c in cases), default=0)
    return (words.deployments(fewest),) if 0 < fewest < stats.FEW_DEPLOYMENTS else ()


def _saturation(cases: Iterable[Contrast]) -> tuple[str, ...]:
    rates = sorted({c.rate_per_s for c in cases if c.verdict == Words.SATURATED})
    return (f"nothing is said from {rates[0]:,.0f}/s on: the arm saturates",) if rates else ()


def _proven(summary: Summary, arm: str) -> bool:
    """Did every observer of the arm see exactly what was sent?"""
    proofs = [a for a in summary.accounting if (a.scenario, a.arm) == (SCENARIO, arm)]
    return bool(proofs) and all(a.seen == a.sent and not a.not_understood for a in proofs)


def _proof(summary: Summary, arm: str) -> tuple[str, ...]:
    proofs = [a for a in summary.accounting if (a.scenario, a.arm) == (SCENARIO, arm)]
    return tuple(
        f"{a.observer} saw {a.seen:,} of {a.sent:,} requests, {a.not_understood:,} not understood" for a in proofs
    )


def _processor(summary: Summary, arm: str, rate: float) -> tuple[str, ...]:
    totals = [
        f"{c.arm} {words.micros(c.per_request_s['total'])}"
        for c in summary.costs
        if c.scenario == SCENARIO and c.rate_per_s == rate and c.arm in (arm, BASELINE) and "total" in c.per_request_s
    ]
    return (f"processor time a request, all parts, at {rate:,.0f}/s: {', '.join(totals)}",) if totals else ()


def _knees(summary: Summary) -> tuple[str, ...]:
    return tuple(
        f"{c.arm} keeps {c.kept_per_s or 0:,.0f}/s"
        + (f" and saturates at {c.saturated_per_s:,.0f}/s" if c.saturated_per_s is not None else " and more")
        for c in summary.capacities
        if c.scenario == SCENARIO and c.arm in ORDER
    )
