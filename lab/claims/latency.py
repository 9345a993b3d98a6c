"""The rules for claims of latency: C1 (sidecars cost 3-4 times) and C2 (eBPF costs nothing)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lab import stats
from lab.claims import cases, words
from lab.claims.cases import RUN, SCENARIO
from lab.gates import BASELINE
from lab.record import Verdict, Word
from lab.stats import Words
from lab.summary import Contrast, Summary

MULTIPLE = 3.0  # the lower end of the post's "3-4x"
MOST = 4.0
POST_RATE = 10_000.0
STRICT = 0.02


def sidecars_multiply(summary: Summary) -> Verdict:
    """C1. At every load and metric that can be compared, the 95 % interval of sidecar/none lies at or above 3.

    Surely at least 3 times, surely less, or open: where cases differ, the verdict names them.
    """
    offered = cases.of(summary, "sidecar")
    compared = [c for c in offered if cases.told(c)]
    if not compared:
        because = f"no latency of sidecars could be compared; {RUN}"
        return Verdict("C1", Word.UNDECIDED, because, _sentences(offered), measured=bool(offered))
    reached = [c for c in compared if c.ratio.low >= MULTIPLE and c.verdict == Words.SLOWER]
    below = [c for c in compared if c.ratio.high < MULTIPLE]
    conditions = (
        *_where("at least three times", reached),
        *_where("less than three times", below),
        *_saturation(offered),
        *cases.scope(compared),
    )
    evidence = _sentences(offered)
    span = (
        f"the ratio runs from {min(c.ratio.value for c in compared):.2f} to {max(c.ratio.value for c in compared):.2f}"
    )
    if reached and len(reached) == len(compared):
        more = " and more than the post says" if all(c.ratio.low > MOST for c in compared) else ""
        return Verdict("C1", Word.HOLDS, f"{span}: three times or more{more} in every case", evidence, conditions)
    if reached:
        return Verdict("C1", Word.HOLDS_IF, f"{span}: it depends on load, metric and server", evidence, conditions)
    if len(below) == len(compared):
        return Verdict("C1", Word.DOES_NOT_HOLD, f"{span}: below three times in every case", evidence, conditions)
    because = (
        f"{span}; {len(below)} of {len(compared)} cases are surely below three times, the others open: measure longer"
    )
    return Verdict("C1", Word.UNDECIDED, because, evidence, conditions)


def ebpf_costs_nothing(summary: Summary) -> Verdict:
    """C2. At 10,000/s eBPF's mean is equivalent to no mesh's within ±5 %, or lower, and it saw every request sent.

    ±2 % is tried too. It does not hold where the mean is surely more than 5 % higher, or the rate is not kept.
    """
    found = [c for c in cases.of(summary, "ebpf") if c.rate_per_s == POST_RATE and not c.service_time_s]
    mean = next((c for c in found if c.metric == "mean"), None)
    evidence = (*_sentences(found), *_proof(summary, "ebpf"), *_processor(summary, "ebpf", POST_RATE))
    if mean is None:
        run = f"{RUN} --datapaths none,ebpf --rate {POST_RATE:.0f}"
        because = f"no mean latency of eBPF at {POST_RATE:,.0f}/s was measured; {run}"
        return Verdict("C2", Word.UNDECIDED, because, evidence, measured=False)
    word, because = _costs(mean)
    if word is Word.HOLDS and not _proven(summary, "ebpf"):
        because = "the mean is equivalent, but it is not proven that eBPF saw every request: see the accounting"
        return Verdict("C2", Word.UNDECIDED, because, evidence)
    return Verdict("C2", word, because, evidence, cases.scope([mean]))


def _costs(mean: Contrast) -> tuple[Word, str]:
    if mean.verdict == Words.SATURATED:
        return Word.DOES_NOT_HOLD, f"eBPF cannot keep {POST_RATE:,.0f}/s on this machine: {mean.because}"
    if not cases.told(mean):
        return Word.UNDECIDED, f"{mean.verdict}: {mean.because}"
    ratio = f"the mean is {words.interval(mean.ratio)} of no mesh's"
    if mean.verdict == Words.FASTER:
        return Word.HOLDS, f"{ratio}: eBPF is not slower"
    if mean.verdict in [stats.equivalent(m) for m in stats.MARGINS if m <= stats.SMALL]:
        strict = (
            "and" if mean.verdict in [stats.equivalent(m) for m in stats.MARGINS if m <= STRICT] else "but not shown"
        )
        return Word.HOLDS, f"{ratio}: equivalent within ±5 %, {strict} within ±2 %"
    if mean.verdict == Words.SLOWER and mean.ratio.low > 1 + stats.SMALL:
        return Word.DOES_NOT_HOLD, f"{ratio}: surely more than 5 %"
    return Word.UNDECIDED, f"{ratio}, not inside ±5 % and not surely outside; measure longer ({mean.because})"


def _sentences(found: Iterable[Contrast]) -> tuple[str, ...]:
    return tuple(words.contrast(c) for c in found)


def _where(what: str, found: Sequence[Contrast]) -> tuple[str, ...]:
    """One condition a load, with the ratio of every metric."""
    ratios: dict[str, list[str]] = {}
    for c in found:
        ratios.setdefault(words.load(c.rate_per_s, c.service_time_s), []).append(f"{c.metric} {c.ratio.value:.2f}")
    return tuple(f"{what} {load}: {', '.join(metrics)}" for load, metrics in ratios.items())


def _saturation(found: Iterable[Contrast]) -> tuple[str, ...]:
    rates = sorted({c.rate_per_s for c in found if c.verdict == Words.SATURATED})
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
