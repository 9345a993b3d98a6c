"""From a journey to turns: what is found, in which order arms walk, what Locust is started with."""

from __future__ import annotations

from typing import Any

import pytest

from lab.behaviour import Crowd, Journey, Turn
from lab.journey import crowd
from lab.plan import AGAIN, Plan, plan
from lab.record import Mistake
from lab.scenario import find_journey, find_question, find_scenario, journey_names, scenario_names

EVERY = tuple(find_journey(name) for name in journey_names())


def made(profile: str = "quick", **options: Any) -> Plan:
    return plan([find_journey("journeys_browse")], profile, seed=3, datapaths=("none", "ebpf"), **options)


def test_journeys_are_found_beside_the_other_questions() -> None:
    assert {"journeys_browse", "journeys_churn", "journeys_failures", "journeys_ramp", "journeys_spike"} <= {
        *journey_names()
    }
    assert set(journey_names()) < set(scenario_names())
    assert isinstance(find_question("journeys_spike"), Journey)
    with pytest.raises(Mistake, match="is a journey"):
        find_scenario("journeys_spike")
    with pytest.raises(Mistake, match="no journey 'journeys_bruse'; there are journeys_browse"):
        find_journey("journeys_bruse")


@pytest.mark.parametrize("journey", EVERY, ids=lambda j: j.name)
def test_every_journey_can_be_planned_in_every_profile(journey: Journey) -> None:
    assert "import" in crowd.locustfile(journey)
    for profile, amount in journey.profiles.items():
        asked = plan([journey], profile, seed=3, datapaths=("none", "ebpf"))
        assert len({turn.name for turn in asked.turns}) == len(asked.turns) >= 2 * amount.repeats
        assert all(turn.seconds == amount.seconds for turn in asked.turns)
        assert asked.seconds > sum(turn.seconds for turn in asked.turns)


def test_every_repeat_walks_every_arm_and_none_twice_in_an_order_of_its_own() -> None:
    turns = made("full").turns
    orders = [tuple(t.arm.name for t in turns if t.repeat == n) for n in range(1, 13)]
    assert {frozenset(order) for order in orders} == {frozenset({"none", AGAIN, "ebpf"})}
    assert len(set(orders)) > 2
    assert made("full") == made("full", created=made("full").created) or made("full").turns == turns


def test_one_repeat_needs_no_second_none() -> None:
    assert {turn.arm.name for turn in made("smoke").turns} == {"none", "ebpf"}


def test_options_change_what_they_name() -> None:
    turns = made(users=7, workers=2, duration_s=5.0, deployments=2).turns
    assert {(t.users, t.workers, t.seconds, t.recorders) for t in turns} == {(7, 2, 5.0, 2)}
    assert len(turns) == 2 * 3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rate": 100.0}, "journey journeys_browse was given rate; its users decide"),
        ({"processes": 2, "workers": 2}, "give processes that Locust forks, or workers"),
        ({"users": 0}, "users=0; it must be a finite number above 0"),
    ],
)
def test_what_cannot_be_walked_is_said_in_one_line(options: dict[str, Any], says: str) -> None:
    with pytest.raises(Mistake, match=says):
        made(**options)


def test_a_scenario_has_no_users() -> None:
    with pytest.raises(Mistake, match="was given users, which are options of journeys"):
        plan([find_question("http_visibility")], "smoke", seed=1, users=5)


def test_a_crowd_must_stay_longer_than_it_settles() -> None:
    with pytest.raises(Mistake, match="users must stay longer than they settle"):
        Crowd(repeats=1, users=1, seconds=1.0, settle_s=1.0)


def _argv(**options: Any) -> list[tuple[str, ...]]:
    turn: Turn = made("smoke", **options).turns[0]
    return [spec.argv for spec in crowd.processes(turn, EVERY[0], "http://10.0.0.1:8080", web_ui="web_ui" in options)]


def test_locust_runs_alone_or_forks_or_is_a_master_with_workers() -> None:
    (alone,) = _argv()
    assert "--headless" in alone
    assert "--processes" not in alone
    (forking,) = _argv(processes=3)
    assert forking[forking.index("--processes") + 1] == "3"
    master, one, other = _argv(workers=2)
    assert master[master.index("--expect-workers") + 1] == "2"
    assert "--worker" in one
    assert one == other


def test_nothing_of_locust_listens_beyond_the_pods_loopback() -> None:
    for argv in (*_argv(processes=2), *_argv(workers=2, web_ui=8089)):
        hosts = [argv[i + 1] for i, word in enumerate(argv) if word.endswith("-host") and word != "--host"]
        assert set(hosts) <= {"127.0.0.1"}
        assert "--worker" in argv or "--master-bind-host" in argv


def test_a_journey_says_whether_it_has_a_shape() -> None:
    for journey in EVERY:
        assert journey.shaped == ("LoadTestShape" in crowd.locustfile(journey)), journey.name


@pytest.mark.parametrize(("name", "more"), [("journeys_ramp", {}), ("journeys_browse", {"web_ui": 8089})])
def test_what_locust_forks_and_then_loses_is_refused(name: str, more: dict[str, int]) -> None:
    with pytest.raises(Mistake, match="give --workers instead"):
        plan([find_journey(name)], "smoke", seed=3, processes=2, **more)  # type: ignore[arg-type]


def test_locust_counts_in_whole_seconds() -> None:
    with pytest.raises(Mistake, match="Locust runs for whole seconds"):
        _argv(duration_s=1.5)


def test_the_lab_itself_never_imports_locust() -> None:
    import subprocess  # noqa: PLC0415
    import sys  # noqa: PLC0415

    words = "import sys, lab.session, lab.journey.measure, lab.cli; sys.exit('locust' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", words], check=False).returncode == 0
