"""A plan is a fixed order of work: everything once, nothing at the same time, the same for the same seed."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from lab import codec
from lab.behaviour import Journey
from lab.plan import AGAIN, BLOCK_S, DEPLOYMENT_S, Plan, find_question, find_scenario, plan, scenario_names
from lab.question import Study
from lab.record import Arrivals, Block, BlockKind, Load, Mistake, Placement, Profile, Scenario, Trial

WHEN = "2026-01-02T03:04:05+00:00"
PAIR = ("none", "sidecar")
SCENARIO = Scenario(
    name="made_up",
    question="Does the planner plan?",
    datapaths=PAIR,
    claims=(),
    profiles={
        "all": Profile(
            deployments=3,
            rounds=7,
            slice_s=0.2,
            ladder=(2000, 500, 1000),
            compare=(Load(500, 32), Load(200, 32, service_time_s=0.002)),
            cost=(Load(500, 32),),
            hold=(Load(100, 1), Load(100, 100)),
            referee=(Load(500, 32),),
            window_s=1.5,
        ),
        "hold": Profile(1, 1, 0.1, ladder=(), compare=(), hold=(Load(100, 1),)),
    },
)


def made(profile: str = "all", seed: int = 1, **options: Any) -> Plan:
    return plan([SCENARIO], profile, seed=seed, created=WHEN, **options)


def blocks(asked: Plan, kind: BlockKind) -> list[Block]:
    return [block for trial in asked.trials for block in trial.blocks if block.kind is kind]


def first(asked: Plan) -> Trial:
    return asked.trials[0]


def test_the_same_seed_gives_the_same_plan_and_another_another() -> None:
    assert made() == made()
    assert made(seed=2).trials != made().trials


def test_a_plan_survives_json() -> None:
    asked = made(rate=750, connections=5, placement=Placement.SAME_NODE)
    assert codec.load(Plan, codec.parse(codec.text(codec.dump(asked)))) == asked
    assert codec.text(codec.dump(asked)) == codec.text(codec.dump(codec.load(Plan, codec.dump(asked))))


def test_blocks_come_in_the_order_in_which_they_are_needed() -> None:
    names = [block.name for block in first(made()).blocks]
    assert names == [
        "ladder-500",
        "ladder-1000",
        "ladder-2000",
        "referee-500",
        "slices-500",
        "slices-200-sleep2ms",
        "cost-500",
    ]


def test_blocks_that_count_sockets_get_deployments_of_their_own() -> None:
    names = [trial.name for trial in made().trials if trial.deployment == 1]
    assert names == ["made_up-d1", "made_up-d1-hold-c1", "made_up-d1-hold-c100"]


def test_no_two_windows_overlap_and_each_is_followed_by_its_guard() -> None:
    for trial in made().trials:
        for block in trial.blocks:
            assert [w.index for w in block.windows] == list(range(len(block.windows)))
            for before, after in pairwise(block.windows):
                gap_s = after.start_s - before.start_s - before.duration_s
                assert gap_s == pytest.approx(block.guard_s, abs=1e-8)


def test_every_round_holds_every_arm_once_and_none_twice() -> None:
    datapaths = {arm.name: arm.datapath for arm in first(made()).arms}
    assert datapaths == {"none": "none", "sidecar": "sidecar", "none_again": "none"}
    for block in blocks(made(), BlockKind.SLICES):
        assert {w.round for w in block.windows} == set(range(7))
        for number in range(7):
            assert Counter(w.arm for w in block.windows if w.round == number) == Counter(list(datapaths))


def test_rounds_are_in_orders_of_their_own() -> None:
    block = blocks(made(), BlockKind.SLICES)[0]
    orders = {tuple(w.arm for w in block.windows if w.round == number) for number in range(7)}
    assert len(orders) > 1


def test_whole_windows_hold_every_arm_once() -> None:
    for kind in (BlockKind.LADDER, BlockKind.COST, BlockKind.HOLD, BlockKind.REFEREE):
        for block in blocks(made(), kind):
            assert Counter(w.arm for w in block.windows) == Counter(
                a.name for a in first(made()).arms if a.name != AGAIN
            )
            assert {w.duration_s for w in block.windows} == {1.5}


def test_a_scenario_without_comparison_has_no_second_none() -> None:
    assert [arm.name for arm in first(made("hold")).arms] == ["none", "sidecar"]


def test_every_arm_sits_on_every_pod_pair_before_any_sits_twice() -> None:
    rows = [trial.pairs for trial in made().trials if trial.name == f"made_up-d{trial.deployment}"]
    assert len(rows) == 3
    for slot in range(3):
        assert sorted(row[slot] for row in rows) == [0, 1, 2]
    assert all(sorted(row) == [0, 1, 2] for row in rows)


def test_trials_have_names_and_seeds_of_their_own() -> None:
    asked = made()
    assert len({trial.name for trial in asked.trials}) == len({trial.seed for trial in asked.trials}) == 9
    assert asked.trial("made_up-d2").deployment == 2
    with pytest.raises(Mistake, match=r"no trial 'made_up-d9' in run .* there are made_up-d1"):
        asked.trial("made_up-d9")


def test_an_asked_rate_replaces_every_rate_and_is_held_for_twenty_seconds() -> None:
    asked = made(rate=10_000)
    kinds = (BlockKind.LADDER, BlockKind.REFEREE, BlockKind.SLICES, BlockKind.COST)
    assert {b.load.rate_per_s for kind in kinds for b in blocks(asked, kind)} == {10_000}
    (cost,) = [b for b in first(asked).blocks if b.kind is BlockKind.COST]
    assert {w.duration_s for w in cost.windows} == {20.0}
    sliced_s = sum(w.duration_s for b in blocks(asked, BlockKind.SLICES) for w in b.only("none"))
    assert sliced_s == pytest.approx(20, abs=0.6)


def test_an_asked_rate_that_the_scenario_compares_at_keeps_its_loads() -> None:
    assert [b.name for b in first(made(rate=200)).blocks if b.kind is BlockKind.SLICES] == ["slices-200-sleep2ms"]


def test_an_asked_duration_is_what_each_arm_carries_each_load() -> None:
    asked = made(duration_s=6.0)
    for name in ("slices-500", "slices-200-sleep2ms"):
        mine = [b for b in blocks(asked, BlockKind.SLICES) if b.name == name]
        assert sum(w.duration_s for b in mine for w in b.only("sidecar")) == pytest.approx(6.0)
    assert {w.duration_s for b in blocks(asked, BlockKind.COST) for w in b.windows} == {6.0}
    assert {w.duration_s for b in blocks(asked, BlockKind.HOLD) for w in b.windows} == {6.0}
    assert {w.duration_s for b in blocks(asked, BlockKind.LADDER) for w in b.windows} == {1.5}


def test_asked_connections_and_placement_hold_everywhere() -> None:
    asked = made(connections=7, placement=Placement.SAME_NODE)
    assert {b.load.connections for t in asked.trials for b in t.blocks} == {7}
    assert {t.placement for t in asked.trials} == {Placement.SAME_NODE}
    assert len([b for b in blocks(asked, BlockKind.HOLD) if b.name == "hold-c7"]) == 3  # two loads became one


def test_loads_that_differ_have_names_that_differ() -> None:
    loads = (Load(5, 1), Load(5, 2), Load(5, 1, response_bytes=9), Load(5, 1, Arrivals.UNIFORM))
    scenario = Scenario("s", "?", ("none",), (), {"p": Profile(1, 1, 0.1, ladder=(), compare=loads)})
    names = [b.name for b in first(plan([scenario], "p", seed=1)).blocks]
    assert names == ["slices-5-c1", "slices-5-c2", "slices-5-9bytes", "slices-5-uniform"]


def test_seconds_are_those_of_the_blocks_and_of_what_is_around_them() -> None:
    asked = made()
    inside = [b.duration_s for t in asked.trials for b in t.blocks]
    assert asked.seconds == pytest.approx(sum(inside) + BLOCK_S * len(inside) + DEPLOYMENT_S * len(asked.trials))


def test_a_run_is_named_by_its_time_and_profile() -> None:
    assert made().run == "20260102030405-all"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rate": 0}, "rate=0; it must be a finite number above 0"),
        ({"rate": float("inf")}, "rate=inf; it must be"),
        ({"duration_s": -1}, "duration_s=-1; it must be"),
        ({"deployments": 0}, "deployments=0; it must be"),
        ({"connections": 0}, "connections=0; a client has ports for 1 to"),
        ({"connections": 60_000}, "connections=60000; a client has ports for 1 to"),
        ({"datapaths": ["none", "sidecra"]}, "no datapath 'sidecra'; there are .*none, .*sidecar"),
        ({"datapaths": ["sidecar"]}, "datapaths=sidecar; scenario made_up compares with none: add it"),
        ({"datapaths": ["none", "none"]}, "datapaths=none,none; name at least one, and each once"),
        ({"datapaths": []}, "name at least one"),
    ],
)
def test_what_cannot_be_planned_is_said_in_one_line(options: dict[str, Any], says: str) -> None:
    with pytest.raises(Mistake, match=says):
        made(**options)


def test_an_unknown_profile_or_scenario_lists_those_there_are() -> None:
    with pytest.raises(Mistake, match="no profile 'quik' in scenario made_up; there are all, hold"):
        made("quik")
    with pytest.raises(Mistake, match=r"no scenario 'http'; there are .*connections, .*http_visibility"):
        find_scenario("http")


@pytest.mark.parametrize("name", scenario_names())
def test_every_scenario_of_the_lab_can_be_planned_in_every_profile(name: str) -> None:
    scenario = find_question(name)
    if isinstance(scenario, Study | Journey):
        pytest.skip("it has cases or turns, not trials: see test_study_laws.py and test_journeys_plan.py")
    for profile in scenario.profiles:
        asked = plan([scenario], profile, seed=3, datapaths=PAIR)
        assert len({trial.name for trial in asked.trials}) == len(asked.trials) > 0
        for trial in asked.trials:
            assert len({block.name for block in trial.blocks}) == len(trial.blocks) > 0


def test_smoke_takes_ninety_seconds_at_most_for_each_scenario() -> None:
    for name in scenario_names():
        question = find_question(name)
        pair = None if isinstance(question, Study) else PAIR
        assert plan([question], "smoke", seed=1, datapaths=pair).seconds <= 90
