"""The request-level engine: nothing is lost, the same seed gives the same bytes, members find their stations."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import numpy as np
import pytest

from lab.record import Arrivals, Mistake
from lab.sim.histogram import EDGES, Histogram
from lab.sim.kernel import BUCKETS, bucket_of
from lab.sim.network import Down, Fork, Maybe, Network, Outage, Path, Pause, Pick, Requests, Stations, Step, Visit
from lab.sim.requests import Outcome, simulate
from lab.sim.times import Exponential, Fixed, Gamma, Quantiles

HALF = Quantiles(np.array([0.0, 0.5, 1.0]))


def several_kinds() -> Network:
    """Everything that draws random numbers, and stations of every treatment."""
    branch: Path = (Pick("b", 0, 30), Visit("node", "b", Gamma(0.5, 1e-3)), Pause(Exponential(1e-3)))
    path: Path = (
        Pick("a", 0, 30),
        Visit("pod", "a", HALF.scaled(2e-3)),
        Fork((branch, branch)),
        Maybe(0.3, branch),
        Visit("app", "a", Exponential(2e-3)),
    )
    stations = (
        Stations("pod", 30),
        Stations("node", 3, places=np.arange(30, dtype=np.int32) // 10),
        Stations("app", 30, 4),
    )
    return Network(
        stations, (Requests("r", 500.0, path), Requests("s", 50.0, path, Arrivals.UNIFORM)), (Down("pod", 0, 3, 1, 2),)
    )


def bytes_of(outcome: Outcome) -> bytes:
    classes = (c.sums.tobytes() + c.histogram.counts.tobytes() + c.line.tobytes() for c in outcome.classes)
    uses = (u.visits.tobytes() + u.utilisation.tobytes() + u.waited_s.tobytes() for u in outcome.stations)
    return b"".join((*classes, *uses))


def test_the_same_seed_gives_the_same_bytes_on_any_number_of_cores() -> None:
    runs = [simulate(several_kinds(), 5, 3, replications=3, cores=cores, bins=7) for cores in (1, 2, 3)]
    assert len({bytes_of(run) for run in runs}) == 1
    assert bytes_of(simulate(several_kinds(), 5, 4, replications=3, bins=7)) != bytes_of(runs[0])
    assert len({bytes_of(each) for each in runs[0].each}) == 3


def test_every_request_comes_back_even_when_the_clock_has_run_out() -> None:
    path: Path = (Pick("a", 0, 1), Visit("q", "a", Fixed(5.0)), Pick("b", 1, 1), Visit("q", "b", Fixed(0.0)))
    network = Network((Stations("q", 2),), (Requests("r", 10.0, path, Arrivals.UNIFORM),))
    seen = simulate(network, 10, 1, overload=True).of("r")
    assert seen.count == 100
    assert seen.longest == pytest.approx(100 * 5 - 9.9, abs=0.1)


def test_requests_of_the_warm_up_are_not_counted() -> None:
    network = Network((), (Requests("r", 10.0, (Pause(Fixed(3.0)),), Arrivals.UNIFORM),))
    assert simulate(network, 10, 1, warmup_s=5).of("r").count == 100


def test_more_in_flight_than_there_were_frames_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = bytes_of(simulate(several_kinds(), 5, 3))
    monkeypatch.setattr("lab.sim.requests.FRAMES", 16)
    assert bytes_of(simulate(several_kinds(), 5, 3)) == before


def test_a_ring_too_short_for_most_events_changes_nothing_but_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    before = simulate(several_kinds(), 5, 3)
    monkeypatch.setattr("lab.sim.requests.RING", 8)
    assert bytes_of(simulate(several_kinds(), 5, 3)) == bytes_of(before)


def test_members_go_to_their_own_stations_and_nowhere_else() -> None:
    path: Path = (Pick("a", 10, 10), Visit("node", "a", Fixed(1e-3)), Visit("pod", "a", Fixed(1e-3)))
    stations = (Stations("pod", 30), Stations("node", 3, places=np.arange(30, dtype=np.int32) // 10))
    seen = simulate(Network(stations, (Requests("r", 100.0, path),)), 50, 1)
    assert seen.at("node").visits[[0, 2]].tolist() == [0, 0]
    assert seen.at("node").visits[1] == seen.of("r").count == seen.at("pod").visits[10:20].sum()
    assert seen.at("pod").visits[10:20].min() > 0


def test_what_is_served_when_a_station_goes_down_stops_or_is_finished_or_fails() -> None:
    seen = {}
    for kind in Outage:  # it arrives in the first second and is served when the station goes down
        down = Down("q", 0, 1, 1.5, 2.5, kind)
        path: Path = (Pick("a", 0, 1), Visit("q", "a", Fixed(3.0)))
        network = Network((Stations("q", 1),), (Requests("r", 1.0, path, Arrivals.UNIFORM),), (down,))
        seen[kind] = simulate(network, 1, 1, overload=True).of("r")
    assert seen[Outage.WAIT].mean == pytest.approx(4.0)
    assert seen[Outage.DRAIN].mean == seen[Outage.SLOW].mean == pytest.approx(3.0)
    assert (seen[Outage.FAIL].count, seen[Outage.FAIL].failed) == (0, 1)


def outage(kind: Outage, factor: float = 1.0, servers: int = 1) -> Outcome:
    """One request every second (at the same phase in all runs), 0.4 s of service, down from 10.2 s to 13.2 s."""
    path: Path = (Pick("a", 0, 1), Visit("q", "a", Fixed(0.4)))
    down = Down("q", 0, 1, 10.2, 13.2, kind, factor)
    requests = (Requests("r", 1.0, path, Arrivals.UNIFORM),)
    return simulate(Network((Stations("q", 1, servers),), requests, (down,)), 30, 11, bins=30)


@pytest.mark.parametrize("servers", [1, 2])
def test_outages_delay_fail_or_slow_what_they_meet(servers: int) -> None:
    waits, drains, fails = (outage(kind, 1, servers).of("r") for kind in (Outage.WAIT, Outage.DRAIN, Outage.FAIL))
    slow = outage(Outage.SLOW, 2.0, servers).of("r")
    assert waits.count == drains.count == slow.count == 30
    assert fails.count + fails.failed == 30
    assert 3 <= fails.failed <= 4
    assert waits.longest >= drains.longest > 2
    assert slow.longest == pytest.approx(0.8)


def test_a_branch_that_fails_fails_its_request_and_no_other() -> None:
    branch: Path = (Pick("b", 0, 2), Visit("q", "b", Fixed(0.001)))
    path: Path = (Fork((branch, (Pause(Fixed(0.2)),))), Pause(Fixed(1.0)))
    requests = (Requests("r", 10.0, path, Arrivals.UNIFORM), Requests("s", 10.0, (Pause(Fixed(1.0)),)))
    seen = simulate(Network((Stations("q", 2),), requests, (Down("q", 0, 1, 0, 1e6, Outage.FAIL),)), 100, 1)
    assert seen.of("r").count + seen.of("r").failed == 1000
    assert 400 < seen.of("r").failed < 600
    assert seen.of("r").mean == pytest.approx(1.2)
    assert seen.of("s").failed == 0


def test_quantiles_of_the_histogram_are_within_one_percent() -> None:
    times = np.random.default_rng(1).lognormal(np.log(1e-3), 1.5, 50_000)
    counts = np.bincount([bucket_of(t) for t in times], minlength=BUCKETS)
    for share in (0.01, 0.5, 0.9, 0.99, 0.999):
        assert Histogram(counts).quantile(share) == pytest.approx(np.quantile(times, share), rel=0.01)
    assert all(EDGES[bucket_of(t)] <= t < EDGES[bucket_of(t) + 1] for t in times[:1000])


def test_counts_by_time_of_arrival_add_up() -> None:
    seen = simulate(several_kinds(), 5, 3, bins=10).of("r")
    assert seen.line[:, 0].sum() == seen.count == seen.histogram.total


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ((Visit("q", "a", HALF),), "no step before has picked"),
        ((Pick("a", 0, 3), Visit("q", "a", HALF)), "may be member 2"),
        ((Pick("a", 0, 1), Visit("p", "a", HALF)), "there are q"),
        ((Maybe(1.5, ()),), "chance of 1.5"),
        ((Fork(()),), "without branches"),
    ],
)
def test_what_makes_no_network_is_a_mistake(steps: tuple[Step, ...], words: str) -> None:
    with pytest.raises(Mistake, match=words):
        Network((Stations("q", 2),), (Requests("r", 1.0, steps),))
