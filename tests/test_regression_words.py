"""How often the gate errs, in made-up data whose truth is known; and the rules that its words keep."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy import stats as scipy_stats

from lab import stats
from lab.regression import Judgement, Limits, Word, spread
from lab.regression.evidence import Sample
from lab.regression.judge import judgements
from lab.stats import Floats

ALLOWED = 0.05
EDGE = math.log1p(ALLOWED)
CASES = 500
TAIL = 0.025
MOST = TAIL + 3 * math.sqrt(TAIL * (1 - TAIL) / CASES)  # of CASES, by chance alone
DECIDED = {Word.SLOWER, Word.PASSED}


def logs(seed: int, truth: float, *shape: int, between: float = 0.02, within: float = 0.1) -> Floats:
    """Estimates of deployments (the last of `shape`), nested as the lab's data: deployments differ, rounds too."""
    rng = np.random.default_rng(seed)
    rounds = truth + rng.normal(0, between, (*shape, 1)) + rng.normal(0, within, (*shape, 12))
    return stats.hodges_lehmann(rounds)


def sample(new: Floats, metric: str = "p50", equal: Floats | None = None, old: Floats | None = None) -> Sample:
    quiet = tuple(np.linspace(-0.001, 0.001, len(new)))
    return Sample(
        "slices-1000",
        metric,
        new=tuple(new),
        old=None if old is None else tuple(old),
        equal=quiet if equal is None else tuple(equal),
        equal_old=None if old is None else tuple(np.linspace(-0.001, 0.001, len(old))),
        planned=len(new),
        planned_old=0 if old is None else len(old),
    )


def judged(*samples: Sample, slowdown: float = ALLOWED, looks: int = 1) -> tuple[Judgement, ...]:
    return judgements(samples, Limits(slowdown, tuple(s.metric for s in samples)), looks)


def words(*samples: Sample, looks: int = 1) -> list[Word]:
    return [j.word for j in judged(*samples, looks=looks)]


def share(said: list[bool]) -> float:
    assert len(said) == CASES
    return sum(said) / CASES


def test_just_as_slow_as_allowed_is_called_slower_and_passed_in_one_of_forty_cases_each() -> None:
    said = [words(sample(new))[0] for new in logs(1, EDGE, CASES, 8)]
    for word in DECIDED:
        assert TAIL / 3 < share([w is word for w in said]) <= MOST


def test_an_equal_candidate_is_not_called_slower_and_a_much_slower_one_never_passes() -> None:
    same = [words(sample(new))[0] for new in logs(2, 0.0, CASES, 8)]
    slow = [words(sample(new))[0] for new in logs(3, 3 * EDGE, CASES, 8)]
    assert share([w is Word.SLOWER for w in same]) <= 0.005
    assert share([w is Word.PASSED for w in slow]) <= 0.005
    assert share([w is Word.PASSED for w in same]) > 0.5
    assert share([w is Word.SLOWER for w in slow]) > 0.5


def test_three_metrics_err_no_oftener_than_one() -> None:
    """Independent ones, where nothing but the rules keeps the error down."""
    cases = logs(4, EDGE, CASES, 3, 8)
    said = [words(*(sample(new, m) for new, m in zip(case, ("p50", "mean", "p99"), strict=True))) for case in cases]
    assert share([Word.SLOWER in row for row in said]) <= MOST
    assert share([set(row) == {Word.PASSED} for row in said]) <= MOST


def test_one_slow_metric_among_quick_ones_does_not_pass() -> None:
    slow, quick = logs(5, EDGE, CASES, 8), logs(6, -0.1, CASES, 8)
    said = [words(sample(a), sample(b, "mean")) for a, b in zip(slow, quick, strict=True)]
    assert share([set(row) == {Word.PASSED} for row in said]) <= MOST


@pytest.mark.parametrize("word", sorted(DECIDED))
def test_three_declared_looks_err_no_oftener_than_one(word: Word) -> None:
    whole = logs(7, EDGE, CASES, 18)

    def ever(case: Floats) -> bool:
        for until in (6, 12, 18):
            said = words(sample(case[:until]), looks=3)[0]
            if said in DECIDED:
                return said is word
        return False

    assert share([ever(case) for case in whole]) <= MOST


def test_undeclared_looks_would_err_oftener() -> None:
    """What the correction is for: the same looks, each as if it were the only one."""
    whole = logs(8, EDGE, CASES, 30)
    found = [any(words(sample(case[:n]))[0] is Word.PASSED for n in range(3, 31, 3)) for case in whole]
    assert share(found) > MOST


def test_two_runs_of_unequal_size_and_noise_err_no_oftener_than_declared() -> None:
    news = logs(9, EDGE + 0.7, CASES, 6, between=0.04)
    olds = logs(10, 0.7, CASES, 14, between=0.01)
    said = [words(sample(new, old=old))[0] for new, old in zip(news, olds, strict=True)]
    for word in DECIDED:
        assert share([w is word for w in said]) <= MOST


@pytest.mark.parametrize("deviation", [0.01, 0.03, 0.08])
def test_the_advised_deployments_are_enough_in_four_of_five_cases_and_not_far_more(deviation: float) -> None:
    n = spread.wanted(EDGE, TAIL, deviation)
    assert n is not None
    assert power(n, deviation) > 0.78
    if n > 6:
        assert power(round(n * 0.7), deviation) < 0.76


def power(n: int, deviation: float) -> float:
    """That an equal candidate passes: exactly, by the non-central t."""
    limit = scipy_stats.t.ppf(1 - TAIL, n - 1)
    return float(scipy_stats.nct.sf(limit, n - 1, EDGE / deviation * math.sqrt(n)))


def test_advice_from_a_first_run_is_right_on_the_whole() -> None:
    """Runs that are left open by noise say what it takes; a second run of that size then mostly passes."""
    first = logs(11, 0.0, 250, 6, between=0.05, within=0.05)
    noise = logs(12, 0.0, 250, 6, between=0.01, within=0.05)
    left = [
        j
        for new, equal in zip(first, noise, strict=True)
        if (j := judged(sample(new, equal=equal))[0]).word is not Word.PASSED
    ]
    wanted = [j.wanted for j in left if j.wanted]
    assert len(left) > 60
    assert len(wanted) == len([j for j in left if j.word is not Word.SLOWER])
    passed = [
        words(sample(logs(1000 + k, 0.0, n, between=0.05, within=0.05)))[0] is Word.PASSED for k, n in enumerate(wanted)
    ]
    assert sum(passed) / len(passed) > 0.65  # less than 80 %: the spread of six deployments is known badly


def test_noise_above_the_threshold_is_refused_and_said_how_much_it_would_take() -> None:
    news, equals = logs(13, 0.0, 200, 6), logs(14, 0.0, 200, 6, between=0.2)
    for new, equal in zip(news, equals, strict=True):
        (j,) = judged(sample(new, equal=equal))
        assert j.floor is not None
        if j.floor > ALLOWED:
            assert j.word is Word.REFUSED
            assert j.wanted is None or j.wanted > 6
            assert "noise floor" in j.because


def test_a_slowdown_far_above_the_noise_is_told_even_where_the_noise_is_above_the_threshold() -> None:
    (j,) = judged(sample(logs(15, 1.0, 8), equal=logs(16, 0.0, 8, between=0.1)))
    assert j.floor is not None
    assert j.floor > ALLOWED
    assert j.word is Word.SLOWER


def test_without_two_equal_arms_nothing_passes() -> None:
    (j,) = judged(replace(sample(logs(17, -0.5, 8)), equal=()))
    assert j.word is Word.REFUSED


def test_two_deployments_are_refused() -> None:
    (j,) = judged(sample(logs(18, 0.0, 2)))
    assert j.word is Word.REFUSED
    assert j.ratio is None
    assert j.wanted == 10


def test_a_fifth_may_be_void_and_no_more() -> None:
    kept = sample(logs(19, -0.2, 8))
    assert judged(replace(kept, planned=10))[0].word is Word.PASSED
    (j,) = judged(replace(kept, planned=11, gates=("lag_p50",)))
    assert j.word is Word.REFUSED
    assert "3 of 11 deployments are void (lag_p50)" in j.because


def test_overload_is_slower_where_it_is_sure_and_refused_where_it_may_be_chance() -> None:
    lost = Sample("slices-1000", "p50", planned=8, outcome="it could not keep 1000/s", outcome_least_p=0.5**8)
    assert words(replace(lost, outcome_p=0.5**8)) == [Word.SLOWER]
    assert words(replace(lost, outcome_p=0.1)) == [Word.REFUSED]
    assert words(Sample("slices-1000", "p50", trouble="none failed 1000/s")) == [Word.REFUSED]


@pytest.mark.parametrize("chance", [0.05, 0.3, 0.5])
def test_stalls_that_hit_both_alike_are_seldom_called_overload(chance: float) -> None:
    rng = np.random.default_rng(21)
    hit = rng.random((CASES, 12, 2)) < chance
    one, other = ((hit[..., k] & ~hit[..., 1 - k]).sum(axis=1) for k in (0, 1))
    ps = scipy_stats.binom.sf(one - 1, one + other, 0.5)
    lost = [
        Sample("slices-1000", "p50", planned=12, outcome="lost", outcome_p=float(p), outcome_least_p=0.5 ** int(n))
        for p, n in zip(ps, one + other, strict=True)
    ]
    assert share([words(s)[0] is Word.SLOWER for s in lost]) <= MOST


def test_what_is_no_time_is_worse_and_has_no_floor() -> None:
    sizes = Sample("cost-1000", "pss", new=(0.5, 0.5, 0.5), planned=3)
    (j,) = judgements([sizes], Limits(ALLOWED, (), pss=0.1))
    assert j.word is Word.WORSE
    (j,) = judgements([replace(sizes, new=(0.0, 0.0, 0.0))], Limits(ALLOWED, (), pss=0.1))
    assert j.word is Word.PASSED


def test_a_threshold_for_what_was_not_measured_is_refused_and_never_passed_over() -> None:
    found = judgements([sample(logs(20, -0.5, 8))], Limits(ALLOWED, ("p50",), cpu=0.1))
    assert [(j.metric, j.word) for j in found] == [("p50", Word.PASSED), ("cpu", Word.REFUSED)]


def test_the_rate_kept_is_held_against_its_own_threshold() -> None:
    ladder = Sample("ladder", "kept", kept_per_s=(7500.0, 10_000.0))
    assert judgements([ladder], Limits(ALLOWED, (), loss=0.25))[0].word is Word.PASSED
    assert judgements([ladder], Limits(ALLOWED, (), loss=0.2))[0].word is Word.WORSE
    assert judgements([ladder], Limits(ALLOWED, ()))[0].word is Word.SHOWN


VALUES = some.floats(-1, 1, allow_nan=False).map(lambda x: round(x, 6))
DEPLOYMENTS = some.lists(VALUES, min_size=3, max_size=8)


@settings(deadline=None)
@given(DEPLOYMENTS, DEPLOYMENTS, some.floats(0.001, 2))
def test_passed_and_slower_mean_what_they_say(new: list[float], equal: list[float], slowdown: float) -> None:
    (j,) = judged(sample(np.array(new), equal=np.array(equal)), slowdown=slowdown)
    assert j.ratio is not None
    assert j.floor is not None
    if j.word is Word.PASSED:
        assert j.ratio.high < 1 + slowdown
        assert j.floor <= slowdown
    if j.word is Word.SLOWER:
        assert j.ratio.low > 1 + max(slowdown, j.floor)
    assert j.word in {Word.PASSED, Word.SLOWER, Word.UNDECIDED, Word.REFUSED}
    assert j.because


@settings(deadline=None)
@given(DEPLOYMENTS, some.floats(0.01, 1), some.floats(0, 1), some.floats(0, 1))
def test_a_faster_candidate_or_a_wider_threshold_never_loses_a_pass(
    new: list[float], slowdown: float, faster: float, wider: float
) -> None:
    def passes(shift: float, allowed: float) -> bool:
        return judged(sample(np.array(new) - shift), slowdown=allowed)[0].word is Word.PASSED

    if passes(0, slowdown):
        assert passes(faster, slowdown)
        assert passes(0, slowdown + wider)


@settings(deadline=None)
@given(DEPLOYMENTS, some.randoms(use_true_random=False))
def test_the_order_of_deployments_says_nothing(new: list[float], chance: object) -> None:
    mixed = sorted(new)
    one, other = (judged(sample(np.array(values)))[0] for values in (new, mixed))
    assert one.word is other.word


@settings(deadline=None)
@given(some.floats(0.001, 0.5), some.floats(0.001, 0.5), some.floats(1.01, 3))
def test_more_noise_or_a_narrower_threshold_never_wants_fewer(limit: float, deviation: float, factor: float) -> None:
    n = spread.wanted(limit, TAIL, deviation)
    noisier = spread.wanted(limit, TAIL, deviation * factor)
    wider = spread.wanted(limit * factor, TAIL, deviation)
    assert (n or math.inf) <= (noisier or math.inf)
    assert (wider or math.inf) <= (n or math.inf)


@settings(deadline=None)
@given(DEPLOYMENTS, DEPLOYMENTS)
def test_a_baseline_adds_noise_and_takes_none_away(new: list[float], old: list[float]) -> None:
    assert spread.of_two(new, old).error >= spread.of_one(new).error
    assert spread.of_two(new, old).freedom <= len(new) + len(old) - 2 + 1e-6
