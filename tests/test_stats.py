"""The statistics of paired rounds: what an interval holds, and which word is said."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lab import stats
from lab.stats import Floats, Interval, Words
from lab.summary import slices

TRUTH = 1.0


def rounds(
    seed: int, deployments: int, count: int, *, between: float, within: float, ratio: float = 1.0
) -> list[Floats]:
    """Log-normal noise nested as the lab's: deployments differ, and so do rounds."""
    rng = np.random.default_rng(seed)
    return [np.exp(np.log(ratio) + rng.normal(0, between) + rng.normal(0, within, count)) for _ in range(deployments)]


def ones(like: list[Floats]) -> list[Floats]:
    return [np.ones(len(x)) for x in like]


def compared(data: list[Floats]) -> stats.Comparison:
    return stats.compare(data, ones(data))


def said(ratio: Interval, *, deployments: int = 5, rounds: int = 100, holm_p: float = 0.001, floor: float = 0.0) -> str:
    return stats.verdict(ratio, deployments=deployments, rounds=rounds, holm_p=holm_p, floor=floor)[0]


@pytest.mark.parametrize("between", [0.0, 0.02, 0.1])
@pytest.mark.parametrize("deployments", [3, 5])
def test_the_interval_holds_the_truth_in_95_of_100_cases_whatever_deployments_differ(
    deployments: int, between: float
) -> None:
    cases = 400  # the standard error of the share is 1.1 %; three of them are allowed below
    hits = 0
    for seed in range(cases):
        ratio = compared(rounds(seed, deployments, 15, between=between, within=0.1)).ratio
        hits += ratio.low <= TRUTH <= ratio.high
    assert 0.917 <= hits / cases <= 0.985


def test_within_one_deployment_the_interval_covers_rounds() -> None:
    cases = 60
    found = [compared(rounds(s, 1, 30, between=0.0, within=0.1)).ratio for s in range(cases)]
    assert sum(r.low <= TRUTH <= r.high for r in found) >= 51  # 95 % less three standard errors


def test_a_known_ratio_is_found_by_both_roads() -> None:
    found = compared(rounds(1, 6, 40, between=0.01, within=0.1, ratio=1.5))
    assert found.ratio.low <= 1.5 <= found.ratio.high
    assert found.geometric_ratio.low <= 1.5 <= found.geometric_ratio.high
    assert found.ratio.value == pytest.approx(found.geometric_ratio.value, rel=0.02)


def test_the_difference_is_in_the_unit_of_the_data() -> None:
    base = rounds(3, 4, 20, between=0.05, within=0.05, ratio=0.002)
    arm = [b + 0.001 for b in base]
    difference = stats.compare(arm, base).difference
    assert difference.value == pytest.approx(0.001)
    assert difference.low <= difference.value <= difference.high


def test_one_stalled_round_does_not_move_the_estimate() -> None:
    data = rounds(2, 4, 30, between=0.01, within=0.05)
    calm = compared(data).ratio.value
    data[0][7] *= 1000
    assert compared(data).ratio.value == pytest.approx(calm, rel=0.01)


def test_what_deployments_differ_by_widens_the_interval() -> None:
    narrow = compared(rounds(5, 5, 40, between=0.0, within=0.05)).ratio
    wide = compared(rounds(5, 5, 40, between=0.1, within=0.05)).ratio
    assert wide.high / wide.low > 2 * narrow.high / narrow.low - 1


def test_the_same_data_give_the_same_numbers() -> None:
    for deployments in (1, 2, 4):
        data = rounds(9, deployments, 12, between=0.02, within=0.1)
        assert compared(data) == compared(data)


def test_identical_arms_differ_by_nothing() -> None:
    found = compared([np.ones(10)])
    assert found.ratio == (1.0, 1.0, 1.0)
    assert found.wilcoxon_p == 1.0


def test_arms_with_other_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="round by round"):
        stats.compare([np.ones(3)], [np.ones(4)])
    with pytest.raises(ValueError, match="round by round"):
        stats.compare([], [])


def test_hodges_lehmann_is_the_median_of_pairwise_means() -> None:
    assert stats.hodges_lehmann(np.array([1.0, 2.0, 10.0])) == pytest.approx(3.75)  # of 1, 1.5, 2, 5.5, 6, 10


def test_many_rounds_are_joined_before_all_pairs_are_made() -> None:
    found = compared([np.exp(np.random.default_rng(1).normal(0, 0.1, 5000))])
    assert found.ratio.low <= 1 <= found.ratio.high
    assert len(found.rounds) == 5000


def test_holm_corrects_by_rank_and_never_falls() -> None:
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
    assert stats.holm([0.9, 0.8]) == (1.0, 1.0)
    assert stats.holm([]) == ()


def test_the_detectable_effect_shrinks_with_deployments() -> None:
    assert stats.detectable(0.02, 3, 90) > stats.detectable(0.02, 10, 300) > 0
    # (t(0.975, 4) + t(0.8, 4)) * 0.01, by a table of t: 2.776 + 0.941
    assert stats.detectable(0.01, 5, 100) == pytest.approx(math.expm1(0.03717), rel=1e-3)


@pytest.mark.parametrize(
    ("interval", "word"),
    [
        (Interval(1.0, 0.995, 1.005), "equivalent within ±1%"),
        (Interval(1.0, 0.985, 1.005), "equivalent within ±2%"),
        (Interval(1.03, 1.02, 1.04), "equivalent within ±5%"),
        (Interval(1.0, 0.93, 1.07), "equivalent within ±10%"),
        (Interval(1.07, 1.06, 1.08), Words.SLOWER),
        (Interval(0.8, 0.7, 0.9), Words.FASTER),
        (Interval(1.2, 0.9, 1.5), Words.UNDECIDED),
    ],
)
def test_the_words_are_fixed(interval: Interval, word: str) -> None:
    assert said(interval) == word


def test_a_sure_but_small_difference_is_equivalent_and_says_its_direction() -> None:
    word, because = stats.verdict(Interval(1.03, 1.02, 1.04), deployments=5, rounds=99, holm_p=0.0, floor=0.0)
    assert word == "equivalent within ±5%"
    assert "slower by 3.0%" in because


def test_an_effect_within_the_noise_floor_is_not_believed() -> None:
    assert said(Interval(1.2, 1.1, 1.3), floor=0.25) == Words.UNDECIDED
    assert said(Interval(1.2, 1.1, 1.3), floor=0.05) == Words.SLOWER
    assert said(Interval(1.2, 1.1, 1.3), floor=float("nan")) == Words.SLOWER  # no A/A was measured


def test_wilcoxon_has_to_agree() -> None:
    assert said(Interval(1.2, 1.1, 1.3), holm_p=0.2) == Words.UNDECIDED


def test_too_few_rounds_decide_nothing() -> None:
    assert said(Interval(2.0, 1.9, 2.1), deployments=1, rounds=5) == Words.UNDECIDED


def test_a_single_deployment_says_that_it_is_one() -> None:
    _, because = stats.verdict(Interval(2.0, 1.9, 2.1), deployments=1, rounds=50, holm_p=0.0, floor=0.0)
    assert "within one deployment only" in because


def test_the_noise_floor_is_how_far_the_interval_reaches() -> None:
    assert stats.reach(Interval(1.0, 0.8, 1.1)) == pytest.approx(0.25)


def test_a_slice_has_the_quantiles_that_numpy_says() -> None:
    rng = np.random.default_rng(4)
    values, groups = rng.lognormal(size=500), rng.integers(0, 7, 500)
    for metric, q in slices.QUANTILES.items():
        found = slices.statistic(values, groups, 8, metric)
        expected = [np.quantile(values[groups == g], q) for g in range(7)]
        np.testing.assert_allclose(found[:7], expected)
        assert np.isnan(found[7])
    np.testing.assert_allclose(slices.statistic(values, groups, 7, "mean")[2], values[groups == 2].mean())


def test_rounds_are_joined_until_a_p99_can_be_told() -> None:
    assert slices.rounds_to_join(400, 10, 500) == 13
    assert slices.rounds_to_join(10_000, 10, 500) == 1
    assert slices.rounds_to_join(0, 4, 500) == 4


def test_a_change_of_level_is_found_where_it_is() -> None:
    rng = np.random.default_rng(7)
    series = np.r_[rng.normal(0, 0.05, 40), rng.normal(0.5, 0.05, 40)]
    assert slices.changes(series) == (40,)
    assert slices.changes(rng.normal(0, 0.05, 80)) == ()
    assert slices.changes(np.zeros(80)) == ()
    assert slices.changes(series[:10]) == ()


def test_carry_over_is_seen_and_not_imagined() -> None:
    rng = np.random.default_rng(8)
    before = ["quiet", "loud"] * 50
    clean = rng.normal(0, 0.1, 100)
    assert slices.carry_over(clean, before) > 0.01
    assert slices.carry_over(clean + np.array([0.0, 0.2] * 50), before) < 0.001
    assert slices.carry_over(clean[:2], before[:2]) == 1.0
