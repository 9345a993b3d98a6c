"""From samples to words. Each metric is held against its threshold twice, by one Student interval over deployments.

- *Passed*: its upper end is below 1 + threshold. That is a test of non-inferiority at a one-sided level of 2.5 %
  (ICH E9, 1998, section 3.3.2). The whole passes only where every metric does (intersection-union; Berger 1982), so
  no correction is needed: to pass by mistake, the slow metric itself would have to.
- *Slower*: its lower end is above 1 + threshold and above the noise floor, and the one-sided p of that metric is at
  most 2.5 % after Holm (1979) over all judged metrics: here one of them is enough, and each is a chance to err.

Looks at growing data that were declared beforehand share the error equally (Bonferroni): 95 % becomes 1 - 0.05 / looks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from lab import stats
from lab.regression import advice, proofs
from lab.regression.drawn import Level, draw, speaks, spread_of, too_few, too_void
from lab.regression.evidence import Sample, samples
from lab.regression.ruling import FAILED, LATENCY, WHOLE, Judgement, Limits, Ruling, Sides, Word
from lab.store import Store

LISTED = 3
NO_THRESHOLD = "no threshold was given for it"


def judge(
    runs: Sequence[Store],
    sides: Sides,
    limits: Limits,
    *,
    baseline: Store | None = None,
    looks: int = 1,
    unlike: Sequence[str] = (),
) -> Ruling:
    """What these runs (one for each look so far) say. `unlike` are known differences, to be shown with the ruling.

    More runs than declared looks count as looks. `Mistake` where a run has no such scenario, arm or load.
    """
    looks = max(looks, len(runs))
    found = judgements(samples(runs, sides, baseline), limits, looks)
    broken = proofs.failed(runs, sides, baseline)
    word, because, what_to_do = _whole(found, broken)
    return Ruling(
        candidate=sides.candidate,
        against=sides.against,
        scenario=sides.scenario,
        runs=tuple(str(store.folder) for store in runs),
        baseline=str(baseline.folder) if baseline else None,
        looks=looks,
        confidence=Level.of(looks).confidence,
        judgements=tuple(_broken(j) for j in found) if broken else found,
        unlike=tuple(unlike),
        word=word,
        because=because,
        advice=what_to_do,
    )


def judgements(found: Sequence[Sample], limits: Limits, looks: int = 1) -> tuple[Judgement, ...]:
    """One judgement a sample, in order; and a refusal for each metric that has a threshold and no sample."""
    lacking = [m for m in WHOLE if limits.of(m) is not None and m not in {s.metric for s in found}]
    judged = [s for s in found if limits.of(s.metric) is not None]
    level = Level.of(looks, len(judged) + len(lacking))
    slow, swamped = _sure(judged, limits, level)
    anew = "it was not measured in all of these runs; measure anew"
    return (
        *(
            replace(draw(s, limits.of(s.metric), level), word=Word.SLOWER, because=s.outcome)
            if s.load in swamped and s in judged
            else _judgement(s, limits.of(s.metric), level, surely_slow=(s.load, s.metric) in slow)
            for s in found
        ),
        *(replace(draw(Sample("", m), limits.of(m), level), word=Word.REFUSED, because=anew) for m in lacking),
    )


def _sure(judged: Sequence[Sample], limits: Limits, level: Level) -> tuple[set[tuple[str, str]], set[str]]:
    """(metrics, loads) that are surely slower, and surely not kept: one family for Holm's correction.

    Overload is counted, so it can be too rare to be sure whatever its counts; then it takes no part (Tarone 1990).
    """
    tested = [s for s in judged if speaks(s)]
    loads = {s.load: s for s in judged if s.outcome_least_p <= level.tail}
    ps = [spread_of(s).p_above(math.log1p(limits.of(s.metric) or 0.0)) for s in tested]
    sure = [p <= level.tail for p in stats.holm([*ps, *(s.outcome_p for s in loads.values())])]
    slow = {(s.load, s.metric) for s, there in zip(tested, sure[: len(tested)], strict=True) if there}
    return slow, {load for load, there in zip(loads, sure[len(tested) :], strict=True) if there}


def _judgement(s: Sample, threshold: float | None, level: Level, *, surely_slow: bool) -> Judgement:
    drawn = draw(s, threshold, level)
    if s.kept_per_s:
        return _kept(drawn, *s.kept_per_s, threshold)
    if threshold is None:
        because = s.trouble or ("" if drawn.ratio else too_few(s))
        return replace(drawn, because=because or NO_THRESHOLD)
    if s.trouble:
        return replace(drawn, word=Word.REFUSED, because=s.trouble)
    if not speaks(s):
        return advice.unknown(s, replace(drawn, word=Word.REFUSED, because=too_few(s)))
    if void := too_void(s):
        return replace(drawn, word=Word.REFUSED, because=void)
    return _worded(s, drawn, threshold, level, surely_slow=surely_slow)


def _worded(s: Sample, drawn: Judgement, threshold: float, level: Level, *, surely_slow: bool) -> Judgement:
    """The rules, in their order. `drawn` has everything but its word; slices have a noise floor, whole windows none."""
    ratio, floor, limit = drawn.ratio, drawn.floor, 1 + threshold
    if ratio is None:
        raise ValueError(f"{s.load} {s.metric} has no ratio to judge")
    latency = s.metric in LATENCY
    if latency and floor is None:
        because = "two equal arms were not both valid in enough deployments: the noise is not known"
        return replace(drawn, word=Word.REFUSED, because=because)
    if ratio.low > limit and surely_slow and ratio.low > 1 + (floor or 0.0):
        because = f"the whole interval lies above {limit:.4g}"
        return replace(drawn, word=Word.SLOWER if latency else Word.WORSE, because=because)
    if floor is not None and floor > threshold:
        because = f"the noise floor of {floor:.1%} is above the threshold of {threshold * 100:.4g}%"
        return advice.advised(s, replace(drawn, word=Word.REFUSED, because=because), threshold, level)
    if ratio.high < limit:
        return replace(drawn, word=Word.PASSED, because=f"the whole interval lies below {limit:.4g}")
    because = f"the interval holds {limit:.4g}"
    if ratio.low > limit:
        because = "the interval lies above the threshold, but beside the other metrics that may be chance"
    return advice.advised(s, replace(drawn, word=Word.UNDECIDED, because=because), threshold, level)


def _kept(drawn: Judgement, new: float, old: float, threshold: float | None) -> Judgement:
    """An outcome, like every saturation: each step was tried twice, and there is no interval."""
    word = Word.SHOWN if threshold is None else Word.PASSED if new >= old * (1 - threshold) else Word.WORSE
    return replace(drawn, word=word, because=f"it kept {new:g}/s of the ladder, the other {old:g}/s")


def _broken(j: Judgement) -> Judgement:
    because = f"a proof failed; without it: {j.word}, {j.because}"
    return replace(j, word=Word.REFUSED, because=because, wanted=None) if j.word is not Word.SHOWN else j


def _whole(found: Sequence[Judgement], broken: Sequence[str]) -> tuple[Word, str, str]:
    """The word of the whole, why, and what to do."""
    if broken:
        more = f" (and {len(broken) - LISTED} more)" if len(broken) > LISTED else ""
        return Word.REFUSED, "; ".join(broken[:LISTED]) + more, "mend the datapath or its count first"
    judged = [j for j in found if j.word is not Word.SHOWN]
    slow = [j for j in judged if j.word in FAILED]
    if slow:
        return slow[0].word, _named(slow), ""
    left = [j for j in judged if j.word is not Word.PASSED]
    if not left:
        return Word.PASSED, f"every one of {len(judged)} metrics is surely within its threshold", ""
    word = Word.REFUSED if any(j.word is Word.REFUSED for j in left) else Word.UNDECIDED
    return word, _named(left), advice.of_all(left)


def _named(found: Sequence[Judgement]) -> str:
    return "; ".join(f"{' '.join(filter(None, (j.load, j.metric)))}: {j.because}" for j in found)
