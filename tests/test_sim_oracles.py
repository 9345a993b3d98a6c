"""Both engines against what is known exactly. Scores are means over replications in standard errors.

P(|t| > 6.5) = 1.2e-6 with 23 degrees of freedom; over thirty comparisons, a right engine with a new seed fails in fewer
than one of 10,000 cases.
Seeds are fixed, so that a failure here is a change and not luck.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from lab.record import Arrivals
from lab.sim.closed import erlang_c, mean_wait, sojourns
from lab.sim.network import Again, Down, Fork, Network, Outage, Path, Pause, Pick, Quota, Requests, Stations, Visit
from lab.sim.requests import Outcome, simulate
from lab.sim.times import Exponential, Fixed, Gamma, Quantiles, Times

REPLICATIONS, LIMIT = 24, 6.5
ONE = Pick("a", 0, 1)


def queue(rate: float, time: Times, servers: int = 1) -> Network:
    return Network((Stations("q", 1, servers),), (Requests("r", rate, (ONE, Visit("q", "a", time))),))


def score(network: Network, value: Callable[[Outcome], float], exact: float, seconds: float = 15_000) -> float:
    outcome = simulate(network, seconds, seed=7, warmup_s=seconds / 10, replications=REPLICATIONS, watch=True)
    seen = np.array([value(each) for each in outcome.each])
    return float((seen.mean() - exact) / (seen.std(ddof=1) / np.sqrt(len(seen))))


@pytest.mark.parametrize("rho", [0.3, 0.8])
@pytest.mark.parametrize(
    "time",
    [Exponential(1.0), Fixed(1.0), Gamma(4.0, 1.0), Gamma(0.25, 1.0), Quantiles(np.array([0.2, 0.5, 0.9, 1.0, 4.0]))],
    ids=["M/M/1", "M/D/1", "M/G/1 even", "M/G/1 uneven", "M/G/1 from a table"],
)
def test_one_worker_waits_as_pollaczek_and_khinchine_say(rho: float, time: Times) -> None:
    rate = rho / time.mean
    exact = rate * time.second / (2 * (1 - rho))
    assert mean_wait(rate, time) == pytest.approx(exact, rel=1e-9)
    assert abs(score(queue(rate, time), lambda o: o.at("q").mean_wait, exact)) < LIMIT
    assert sojourns(queue(rate, time))["r"].mean == pytest.approx(exact + time.mean, rel=2e-3)


@pytest.mark.parametrize("servers", [2, 8])
def test_several_workers_wait_as_erlang_says(servers: int) -> None:
    load = 0.8
    exact = erlang_c(servers, load) / (servers * (1 - load))
    network = queue(load * servers, Exponential(1.0), servers)
    assert abs(score(network, lambda o: o.at("q").mean_wait, exact)) < LIMIT
    assert sojourns(network)["r"].mean == pytest.approx(exact + 1, rel=2e-3)


def test_a_tandem_of_three_has_an_erlang_sojourn() -> None:
    steps: Path = (Pick("a", 0, 1), Pick("b", 1, 1), Pick("c", 2, 1), *(Visit("q", w, Exponential(1.0)) for w in "abc"))
    network = Network((Stations("q", 3),), (Requests("r", 0.5, steps),))
    assert abs(score(network, lambda o: o.of("r").mean, 6.0)) < LIMIT
    assert abs(score(network, lambda o: o.of("r").variance, 12.0)) < LIMIT
    assert sojourns(network)["r"].quantile(0.99) == pytest.approx(float(stats.gamma.ppf(0.99, 3, scale=2)), rel=5e-3)


def test_jackson_network_with_random_routing_and_feedback() -> None:
    # each request visits one of four stations by chance, again with probability 0.5: 2 visits, rate 2λ/4 at each
    network = Network(
        (Stations("q", 4),), (Requests("r", 1.2, (Again(0.5, (Pick("a", 0, 4), Visit("q", "a", Exponential(1.0)))),)),)
    )
    assert abs(score(network, lambda o: o.of("r").mean, 2 / (1 - 0.6))) < LIMIT
    assert abs(score(network, lambda o: float(o.at("q").utilisation.mean()), 0.6)) < LIMIT
    assert sojourns(network)["r"].mean == pytest.approx(5.0, rel=5e-3)


def test_little_s_law() -> None:
    assert abs(score(queue(0.7, Exponential(1.0)), lambda o: o.in_flight, 0.7 / 0.3)) < LIMIT


def test_a_fork_ends_with_its_last_branch() -> None:
    branches = tuple((Pause(Exponential(1.0)),) for _ in range(3))
    network = Network((), (Requests("r", 1.0, (Fork(branches),)),))
    assert abs(score(network, lambda o: o.of("r").mean, 1 + 1 / 2 + 1 / 3)) < LIMIT
    assert sojourns(network)["r"].mean == pytest.approx(11 / 6, rel=5e-3)


def test_an_outage_fails_what_passes_there_and_nothing_else() -> None:
    down = Down("q", 0, 1, 400.0, 500.0, Outage.FAIL)
    path: Path = (Pick("a", 0, 10), Visit("q", "a", Exponential(0.01)))
    network = Network((Stations("q", 10),), (Requests("r", 20.0, path),), (down,))
    # arrivals at one of ten stations in 100 s, and what it held when it went down (ρ = 0.02)
    assert abs(score(network, lambda o: o.of("r").failed, 20.0 * 10 + 0.02 / 0.98, seconds=900)) < LIMIT


def test_a_pause_of_all_service_makes_those_inside_wait_for_its_end() -> None:
    down = Down("q", 0, 1, 40.0, 60.0, Outage.WAIT)
    network = Network(
        (Stations("q", 1),), (Requests("r", 1.0, (ONE, Visit("q", "a", Fixed(0.001))), Arrivals.UNIFORM),), (down,)
    )
    seen = simulate(network, 100, seed=3)
    assert seen.of("r").count == 100
    assert seen.of("r").failed == 0
    late = seen.of("r").histogram.counts[seen.of("r").histogram.counts > 0].sum() - 80
    assert late == 20
    assert 19 < seen.of("r").longest < 20.1


def test_a_quota_gives_each_period_its_budget_and_no_more() -> None:
    requests = (Requests("r", 100.0, (ONE, Visit("q", "a", Fixed(0.01))), Arrivals.UNIFORM),)
    network = Network((Stations("q", 1, quota=Quota(0.02)),), requests)
    seen = simulate(network, 2.0, seed=1, overload=True).of("r")
    # 2 s of work at 0.2 CPU takes 10 s: the last, from 1.99 s or later, is done in the hundredth period
    assert seen.count == 200
    assert seen.longest == pytest.approx(9.9 - 1.99, abs=0.03)
