import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.load.schedule import give_up, offsets
from lab.record import Arrivals, Mistake, Window


@st.composite
def plans(draw: st.DrawFn) -> list[Window]:
    """Windows that do not overlap, with gaps, on a grid of a millisecond."""
    start, windows = 0, []
    for index in range(draw(st.integers(0, 8))):
        start += draw(st.integers(0, 200))
        length = draw(st.integers(1, 300))
        windows.append(Window(index, 0, "a", start / 1000, length / 1000))
        start += length
    return windows


rates = st.floats(1, 20_000)
seeds = st.integers(0, 2**63)
kinds = st.sampled_from(list(Arrivals))


@settings(deadline=None)
@given(plans(), rates, kinds, seeds)
def test_times_rise_and_stay_inside_their_windows(
    windows: list[Window], rate: float, arrivals: Arrivals, seed: int
) -> None:
    times, owners = offsets(windows, rate, arrivals, seed)
    assert times.dtype == np.int64
    assert owners.dtype == np.int32
    assert np.all(np.diff(times) >= 0)
    for w in windows:
        mine = times[owners == w.index]
        assert np.all(mine >= round(w.start_s * 1e9))
        assert np.all(mine < round(w.start_s * 1e9) + round(w.duration_s * 1e9))


@settings(deadline=None)
@given(plans(), rates, kinds, seeds)
def test_the_same_seed_gives_the_same_times(windows: list[Window], rate: float, arrivals: Arrivals, seed: int) -> None:
    once, again = offsets(windows, rate, arrivals, seed), offsets(list(reversed(windows)), rate, arrivals, seed)
    assert np.array_equal(once[0], again[0])
    assert np.array_equal(once[1], again[1])


@settings(deadline=None)
@given(plans(), rates, kinds, seeds)
def test_a_window_does_not_depend_on_the_others(
    windows: list[Window], rate: float, arrivals: Arrivals, seed: int
) -> None:
    times, owners = offsets(windows, rate, arrivals, seed)
    for w in windows:
        assert np.array_equal(offsets([w], rate, arrivals, seed)[0], times[owners == w.index])


@settings(deadline=None)
@given(plans(), rates, seeds)
def test_uniform_arrivals_are_evenly_spaced_and_offer_the_rate(windows: list[Window], rate: float, seed: int) -> None:
    times, owners = offsets(windows, rate, Arrivals.UNIFORM, seed)
    for w in windows:
        mine = times[owners == w.index]
        assert abs(len(mine) - rate * w.duration_s) < 1 + 1e-6
        assert np.all(np.abs(np.diff(mine) - 1e9 / rate) <= 1)


@pytest.mark.parametrize("rate", [500.0, 5_000.0, 10_000.0, 20_000.0])
def test_a_whole_number_of_uniform_arrivals_is_met_exactly(rate: float) -> None:
    windows = [Window(i, 0, "a", i * 0.35, 0.3) for i in range(50)]
    assert len(offsets(windows, rate, Arrivals.UNIFORM, 7)[0]) == 50 * round(rate * 0.3)


def test_poisson_counts_and_gaps_are_those_of_a_poisson_process() -> None:
    windows = [Window(i, 0, "a", i * 0.1, 0.1) for i in range(2_000)]
    times, owners = offsets(windows, 1_000.0, Arrivals.POISSON, 3)
    counts = np.bincount(owners, minlength=2_000)
    assert abs(counts.mean() - 100) < 5 * (100 / 2_000) ** 0.5
    assert 0.85 < counts.var() / counts.mean() < 1.15
    gaps = np.diff(times) / 1e6  # ms; exponential with mean 1
    assert abs(np.mean(gaps > 1) - np.exp(-1)) < 0.01
    assert abs(gaps.std() / gaps.mean() - 1) < 0.02


def test_another_seed_gives_other_times() -> None:
    windows = [Window(0, 0, "a", 0.0, 0.5)]
    for arrivals in Arrivals:
        first, second = (offsets(windows, 1_000.0, arrivals, seed)[0] for seed in (1, 2))
        assert first[0] != second[0]


def test_no_windows_give_no_requests() -> None:
    times, owners = offsets([], 1_000.0, Arrivals.UNIFORM, 0)
    assert len(times) == len(owners) == 0
    assert len(give_up([], owners, 0.05)) == 0


def test_sending_is_given_up_half_a_guard_after_the_window() -> None:
    windows = [Window(4, 0, "a", 1.0, 0.2), Window(9, 0, "a", 2.0, 0.5)]
    owners = np.array([4, 9, 9], np.int32)
    assert give_up(windows, owners, 0.05).tolist() == [1_225_000_000, 2_525_000_000, 2_525_000_000]


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_a_rate_that_cannot_be_offered_is_refused(rate: float) -> None:
    with pytest.raises(Mistake, match="rate_per_s"):
        offsets([], rate, Arrivals.UNIFORM, 0)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(Mistake, match="seed=-1"):
        offsets([], 1.0, Arrivals.UNIFORM, -1)
