"""The closed form: distributions against exact ones, both engines against each other, overload by name."""

from __future__ import annotations

import numpy as np
import pytest

from lab.record import Mistake
from lab.sim.closed import mean_wait, sojourns
from lab.sim.demand import Overload
from lab.sim.network import (
    Again,
    Fork,
    Maybe,
    Network,
    Path,
    Pause,
    Pick,
    Quota,
    Requests,
    Stations,
    Visit,
)
from lab.sim.requests import simulate
from lab.sim.times import Exponential, Fixed, Gamma, Quantiles, Times

PODS = 60
PROXY = Quantiles.of(np.random.default_rng(1).lognormal(np.log(60e-6), 0.5, 5000))
WIRE = Quantiles.of(np.random.default_rng(2).gamma(9.0, 3e-6, 5000))


def queue(rate: float, time_: Times, servers: int = 1) -> Network:
    path: Path = (Pick("a", 0, 1), Visit("q", "a", time_))
    return Network((Stations("q", 1, servers),), (Requests("r", rate, path),))


def call(caller: str, callee: str, first: int, inside: Path = ()) -> Path:
    """Through a sidecar at either end, there and back."""
    there = (Visit("sidecar", caller, PROXY), Pause(WIRE), Visit("sidecar", callee, PROXY))
    return (Pick(callee, first, 20), *there, Visit("app", callee, Gamma(2.0, 1e-3)), *inside, *reversed(there))


def chain(load: float, parallel: bool = False, per_node: bool = False) -> Network:
    """Three services of 20 pods; `load` is that of the busiest sidecar (the first service's or the second's)."""
    inner: Path = (
        (Fork((call("a", "b", 20), call("a", "c", 40))),)
        if parallel
        else call("a", "b", 20, (Maybe(0.2, call("b", "c", 40)),))
    )
    enter: Path = (Pick("a", 0, 20), Visit("app", "a", Gamma(2.0, 1e-3)), *inner)
    visits = 4 if parallel else 2.4  # of sidecars of the busiest service, by request
    places = np.arange(PODS, dtype=np.int32) % 20 if per_node else None  # a proxy for three pods, one of each service
    visits = visits if not per_node else 8 if parallel else 4.8
    rate = load * 20 / (visits * PROXY.mean)
    stations = (Stations("sidecar", 20 if per_node else PODS, places=places), Stations("app", PODS, 64))
    return Network(stations, (Requests("r", rate, enter),))


@pytest.mark.parametrize("load", [0.05, 0.25, 0.45])
@pytest.mark.parametrize("per_node", [False, True])
def test_both_engines_agree_within_two_percent_on_chains_of_calls(load: float, per_node: bool) -> None:
    network = chain(load, per_node=per_node)
    closed = sojourns(network)["r"]
    rate = network.requests[0].rate_per_s
    seen = simulate(network, 400_000 / rate, 5, warmup_s=10_000 / rate, replications=2).of("r")
    assert closed.mean == pytest.approx(seen.mean, rel=0.02)
    for share in (0.5, 0.99):
        assert closed.quantile(share) == pytest.approx(seen.quantile(share), rel=0.03)


@pytest.mark.parametrize("load", [0.05, 0.3])
def test_both_engines_agree_on_calls_made_at_the_same_time(load: float) -> None:
    network = chain(load, parallel=True)
    rate = network.requests[0].rate_per_s
    seen = simulate(network, 400_000 / rate, 5, warmup_s=10_000 / rate, replications=2).of("r")
    assert sojourns(network)["r"].mean == pytest.approx(seen.mean, rel=0.02)


def test_quantiles_of_a_memoryless_queue_are_those_of_its_exponential_sojourn() -> None:
    found = sojourns(queue(0.7, Exponential(1.0)))["r"]
    for share in (0.5, 0.99, 0.999):
        assert found.quantile(share) == pytest.approx(-np.log1p(-share) / 0.3, rel=5e-3)


def test_branches_that_begin_at_one_station_queue_behind_each_other() -> None:
    branch: Path = (Visit("q", "a", Fixed(1.0)),)
    network = Network((Stations("q", 1),), (Requests("r", 0.001, (Pick("a", 0, 1), Fork((branch, branch, branch)))),))
    assert sojourns(network)["r"].mean == pytest.approx(3.0, rel=0.005)
    assert simulate(network, 1e6, 1).of("r").mean == pytest.approx(3.0, rel=0.005)


def test_feedback_and_chance_have_their_means() -> None:
    path: Path = (Again(0.25, (Pause(Fixed(3.0)),)), Maybe(0.5, (Pause(Fixed(2.0)),)))
    assert sojourns(Network((), (Requests("r", 1.0, path),)))["r"].mean == pytest.approx(5.0, rel=1e-6)


@pytest.mark.parametrize(("time_", "servers"), [(Fixed(1.0), 2), (Fixed(1.0), 8), (Gamma(0.25, 1.0), 4)])
def test_waits_of_several_workers_are_within_15_percent_where_service_is_not_exponential(
    time_: Times, servers: int
) -> None:
    network = queue(0.7 * servers, time_, servers)
    seen = simulate(network, 100_000, 3, warmup_s=1000, replications=2).at("q").mean_wait
    assert mean_wait(0.7 * servers, time_, servers) == pytest.approx(seen, rel=0.15)


@pytest.mark.parametrize("load", [1.0, 1.25])
def test_overload_names_the_station_and_by_how_much(load: float) -> None:
    path: Path = (Pick("a", 3, 1), Visit("proxy", "a", Fixed(1.0)))
    network = Network((Stations("proxy", 5),), (Requests("r", load, path),))
    with pytest.raises(Overload, match=rf"proxy\[3\].*{load:.3g} times") as caught:
        sojourns(network)
    assert caught.value.load == pytest.approx(load)
    with pytest.raises(Overload, match=r"proxy\[3\]"):
        simulate(network, 1.0, 1)


def test_a_quota_lowers_what_a_station_can_do() -> None:
    stations = (Stations("q", 1, quota=Quota(0.02)),)
    network = Network(stations, (Requests("r", 0.5, (Pick("a", 0, 1), Visit("q", "a", Fixed(1.0)))),))
    with pytest.raises(Overload, match=r"2\.5 times"):
        simulate(network, 1.0, 1)
    with pytest.raises(Mistake, match="no closed form"):
        sojourns(network)


def test_tables_keep_the_mean_of_their_sample() -> None:
    sample = np.random.default_rng(4).lognormal(0, 1, 3000)
    assert Quantiles.of(sample).mean == pytest.approx(sample.mean(), rel=1e-12)
    assert Quantiles.of(sample).below(np.array([1e9]))[0] == pytest.approx(sample.mean(), rel=1e-12)
