"""From stored runs to a ruling: made-up runs with known truth, and a published one held against itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import synthetic
from synthetic import Truth

from lab.cli import looks
from lab.plan import Plan, plan
from lab.record import Feature, Load, Mistake, Scenario
from lab.regression import Judgement, Limits, Ruling, Sides, Word, alike, anew, judge
from lab.regression.anew import Amount
from lab.regression.evidence import samples
from lab.store import Store

PUBLISHED = Path(__file__).resolve().parent.parent / "results" / "20261123-ebpf-5000"
SCENARIO = "http_visibility"
LIMITS = Limits(0.3, cpu=0.3, pss=0.3, bpf=0.3, loss=0.0)
QUIET = Truth(ratio={"ebpf": 1.1, "pernode": 2.0, "sidecar": 3.0}, arm_noise=0.005)


def question(deployments: int = 4) -> Scenario:
    load = Load(rate_per_s=500, connections=32)
    return synthetic.small(deployments=deployments, rounds=5, ladder=(500.0, 1000.0), compare=(load,), cost=(load,))


def stored(folder: Path, truth: Truth = QUIET, seed: int = 1, deployments: int = 4, **options: Any) -> Store:
    return synthetic.store(folder, synthetic.small_plan(question(deployments), seed=seed, **options), truth)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return stored(tmp_path_factory.mktemp("regression") / "run")


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The same on a machine that is a quarter slower, with a sidecar that became half as slow again."""
    truth = replace(QUIET, base_s=0.00025, ratio={**QUIET.ratio, "sidecar": 4.5})
    return stored(tmp_path_factory.mktemp("regression") / "later", truth, seed=2)


def by_metric(ruling: Ruling) -> Mapping[str, Judgement]:
    return {j.metric: j for j in ruling.judgements}


def test_two_arms_of_one_run_are_held_against_each_other(run: Store) -> None:
    ruling = judge([run], Sides(SCENARIO, "sidecar", "pernode"), LIMITS)
    found = by_metric(ruling)
    assert ruling.word is Word.SLOWER
    assert ruling.exit == 1
    ratio = found["p50"].ratio
    assert ratio is not None
    assert 1.3 < ratio.low <= ratio.value <= ratio.high < 1.6  # 3 of 2, with the engine's own lateness in both
    assert found["p50"].difference_s is not None
    assert found["p50"].difference_s.value == pytest.approx(QUIET.base_s, rel=0.1)  # 3 - 2 times the base
    assert found["cpu"].word is Word.WORSE
    assert found["p99"].word is Word.SHOWN
    assert (found["p50"].deployments, found["p50"].void) == (4, 0)


def test_the_other_way_round_it_passes(run: Store) -> None:
    ruling = judge([run], Sides(SCENARIO, "pernode", "sidecar"), replace(LIMITS, bpf=None))
    assert {j.metric: j.word for j in ruling.judgements if j.word is not Word.SHOWN} == {
        "p50": Word.PASSED,
        "mean": Word.PASSED,
        "cpu": Word.PASSED,
        "pss": Word.PASSED,
        "kept": Word.PASSED,
    }
    assert (ruling.word, ruling.exit) == (Word.PASSED, 0)


def test_sizes_are_compared_as_they_are(run: Store) -> None:
    pss = next(s for s in samples([run], Sides(SCENARIO, "sidecar", "pernode")) if s.metric == "pss")
    assert [math.exp(x) for x in pss.new] == pytest.approx([81 / 42] * 4)


def test_a_side_without_any_has_no_ratio(run: Store) -> None:
    ruling = judge([run], Sides(SCENARIO, "sidecar", "ebpf"), LIMITS)
    assert by_metric(ruling)["bpf"].word is Word.REFUSED
    assert "leave its option out" in by_metric(ruling)["bpf"].because


def test_two_runs_are_compared_by_way_of_none(run: Store, later: Store) -> None:
    """The machine became slower; by the clock everything did, by `none` only the sidecar."""
    limits = Limits(0.3, loss=0.0)
    ebpf = judge([later], Sides(SCENARIO, "ebpf", "ebpf"), limits, baseline=run)
    sidecar = judge([later], Sides(SCENARIO, "sidecar", "sidecar"), limits, baseline=run)
    assert ebpf.word is Word.PASSED
    assert sidecar.word is Word.SLOWER
    one = by_metric(ebpf)["p50"].ratio
    assert one is not None
    assert one.low <= 1 <= one.high
    assert by_metric(ebpf)["p50"].difference_s is None, "of two runs, times themselves are not compared"


def test_a_second_look_is_pooled_and_shares_the_error(run: Store, later: Store) -> None:
    ruling = judge([run, later], Sides(SCENARIO, "ebpf", "none"), Limits(0.3))
    assert by_metric(ruling)["p50"].deployments == 8
    assert ruling.looks == 2
    assert ruling.confidence == pytest.approx(0.975)


def test_a_failed_accounting_proof_is_refused_whatever_the_times(tmp_path: Path) -> None:
    broken = stored(tmp_path / "run", replace(QUIET, miscounted={"ebpf": 3}), deployments=3)
    ruling = judge([broken], Sides(SCENARIO, "ebpf", "none"), Limits(0.5))
    assert (ruling.word, ruling.exit) == (Word.REFUSED, 2)
    assert "ebpf, http_visibility-d1" in ruling.because
    assert "accounting: agent saw" in ruling.because
    assert {j.word for j in ruling.judgements if j.threshold} == {Word.REFUSED}
    assert judge([broken], Sides(SCENARIO, "pernode", "none"), Limits(2.0)).word is not Word.REFUSED


def test_an_arm_that_fell_off_the_ladder_is_no_measure_and_no_measured(tmp_path: Path) -> None:
    truth = replace(QUIET, capacity={"sidecar": 400.0, "pernode": 800.0})
    run = stored(tmp_path / "run", truth, deployments=3)
    for sides in (Sides(SCENARIO, "sidecar", "pernode"), Sides(SCENARIO, "pernode", "sidecar")):
        ruling = judge([run], sides, Limits(0.3))
        assert ruling.word is Word.REFUSED
        assert "sidecar failed 500/s on the ladder" in ruling.because
    kept = judge([run], Sides(SCENARIO, "pernode", "ebpf"), Limits(5.0, loss=0.1))
    assert by_metric(kept)["kept"].word is Word.WORSE


def test_a_candidate_that_is_swamped_in_slices_is_slower(tmp_path: Path) -> None:
    """No ladder keeps it from the rate; its answers come later and later in every window."""
    load = Load(rate_per_s=500, connections=32)
    asked = synthetic.small(deployments=8, rounds=4, ladder=(), compare=(load,), cost=(), referee=())
    truth = replace(QUIET, capacity={"sidecar": 200.0})
    run = synthetic.store(tmp_path / "run", synthetic.small_plan(asked), truth)
    (sample, *_) = samples([run], Sides(SCENARIO, "sidecar", "pernode"))
    assert (sample.outcome_p, sample.outcome_least_p) == pytest.approx((0.5**8, 0.5**8))
    ruling = judge([run], Sides(SCENARIO, "sidecar", "pernode"), Limits(0.3))
    assert ruling.word is Word.SLOWER
    assert "sidecar could not keep 500/s in 8 deployments" in ruling.because
    assert judge([run], Sides(SCENARIO, "pernode", "sidecar"), Limits(0.3)).word is Word.REFUSED
    quick = stored(tmp_path / "quick", deployments=8, seed=2)
    assert judge([run], Sides(SCENARIO, "sidecar", "sidecar"), Limits(0.3), baseline=quick).word is Word.SLOWER


def test_a_published_run_against_itself_is_no_slower() -> None:
    store = Store.open(PUBLISHED)
    ruling = judge([store], Sides(SCENARIO, "ebpf", "ebpf"), Limits(0.1), baseline=store)
    assert by_metric(ruling)["p50"].word is Word.PASSED
    assert ruling.word is not Word.SLOWER
    ratio = by_metric(ruling)["p50"].ratio
    assert ratio is not None
    assert ratio.value == pytest.approx(1)


def test_an_arm_or_load_that_is_not_there_is_named(run: Store) -> None:
    with pytest.raises(Mistake, match=r"has no arm 'mesh'; it has none, ebpf, pernode, sidecar"):
        judge([run], Sides(SCENARIO, "mesh", "ebpf"), LIMITS)
    with pytest.raises(Mistake, match=r"at 700/s in all of these runs; give another --rate"):
        judge([run], Sides(SCENARIO, "ebpf", "none", 700.0), LIMITS)


SYSTEM = {
    "architecture": "x86_64",
    "processor": "A",
    "virtual": True,
    "cores": 2,
    "kernel": "6.1",
    "versions": {"e": "1"},
}


@pytest.mark.parametrize(
    ("changes", "system", "says"),
    [
        ({}, {"processor": "B"}, "machine x86_64 virtual A against x86_64 virtual B"),
        ({}, {"cores": 4}, "2 cores against 4"),
        ({"cluster": "kind:one"}, {}, "cluster local against kind"),
        ({"cpus": "shared"}, {}, "cpus per_node against shared"),
        ({"awake": False}, {}, "awake True against False"),
        ({"overlay": True}, {}, "overlay False against True"),
        ({"connections": 8}, {}, "connections of slices-500 32 against 8"),
        ({"datapaths": ("none", "ebpf")}, {}, "5 arms side by side against 3"),
        ({"rate": 700.0}, {}, "loads slices-500 against slices-700"),
    ],
)
def test_different_experiments_are_told_apart_before_they_are_measured(
    changes: Mapping[str, Any], system: Mapping[str, object], says: str
) -> None:
    one, other = synthetic.small_plan(question()), other_plan(**changes)
    assert says in alike.unlike((one, SYSTEM), (other, {**SYSTEM, **system}), Sides(SCENARIO, "ebpf", "ebpf"))


def other_plan(**changes: Any) -> Plan:
    return plan([question()], "tiny", seed=1, run="other", created="2026-01-02T03:04:05+00:00", **changes)


def test_equal_experiments_are_alike_and_versions_are_noted() -> None:
    one = synthetic.small_plan(question())
    assert alike.unlike((one, SYSTEM), (synthetic.small_plan(question(7), seed=9), SYSTEM), sides()) == ()
    assert alike.notes(SYSTEM, {**SYSTEM, "kernel": "6.2", "versions": {"e": "2"}}) == (
        "kernel 6.1 against 6.2",
        "e 1 against 2",
    )


def sides() -> Sides:
    return Sides(SCENARIO, "ebpf", "ebpf")


def test_other_features_are_another_experiment(run: Store) -> None:
    (said,) = alike.features(run, "ebpf", run, "none")
    assert said == "features of ebpf and none differ in http_metrics, http_parse, latency_histogram"
    assert alike.features(run, "ebpf", run, "sidecar") == ()


def test_an_unfinished_or_changed_baseline_is_refused(tmp_path: Path) -> None:
    half = Store.create(tmp_path / "half", synthetic.small_plan(question()), {"cores": 2})
    with pytest.raises(Mistake, match="is not finished"):
        alike.whole(half)
    full = stored(tmp_path / "full", deployments=3)
    assert alike.whole(full) is full
    raw = next((full.folder / "trials").glob("*/ebpf.parquet"))
    raw.write_bytes(raw.read_bytes() + b"x")
    with pytest.raises(Mistake, match="is not what was written; see: mesh-lab check"):
        alike.whole(Store.open(full.folder))


def test_a_difference_is_refused_and_force_shows_it_instead(run: Store, later: Store, tmp_path: Path) -> None:
    other = stored(tmp_path / "other", seed=3, cpus="shared")
    refused = looks.stored(looks.Asked(Limits(0.3), Amount()), run.folder, None, None, None, "ebpf")
    with pytest.raises(Mistake, match="different experiments: cpus shared against per_node; add --force"):
        looks.judged(refused, [other.folder])
    forced = looks.stored(looks.Asked(Limits(0.3), Amount(), force=True), run.folder, None, None, None, "ebpf")
    assert looks.judged(forced, [other.folder]).unlike == ("cpus shared against per_node",)


def test_both_versions_are_planned_into_every_round_at_one_rate() -> None:
    made = anew.side_by_side(SCENARIO, "ebpf", "ebpf", Limits(0.03, cpu=0.1), Amount(rate=700.0, rounds=3), seed=1)
    assert len(made.trials) == anew.DEPLOYMENTS
    for trial in made.trials:
        assert [arm.name for arm in trial.arms] == ["none", "ebpf", "none_again", "ebpf_again"]
        assert [b.name for b in trial.blocks] == ["slices-700", "cost-700"]
        (block,) = (b for b in trial.blocks if b.name == "slices-700")
        assert all(
            sorted(w.arm for w in block.windows if w.round == number) == sorted(a.name for a in trial.arms)
            for number in range(3)
        )


def test_parity_is_asked_of_what_the_old_version_does() -> None:
    made = anew.side_by_side(SCENARIO, "ebpf", "ebpf", Limits(0.03), Amount(), seed=1)
    assert Feature.HTTP_METRICS in made.scenarios[0].parity
    plain = anew.side_by_side(SCENARIO, "none", "none", Limits(0.03), Amount(), seed=1)
    assert plain.scenarios[0].parity == frozenset()


def test_a_stored_run_is_planned_once_more_as_it_was() -> None:
    base = Store.open(PUBLISHED).plan
    scenario = anew.scenario_of(base, None)
    made = anew.once_more(base, scenario, "ebpf", "ebpf", Limits(0.05), Amount(deployments=12), seed=5)
    system = Store.open(PUBLISHED).system
    assert alike.unlike((base, system), (made, system), sides()) == ()
    assert len(made.trials) == 12
    before, after = (next(b for b in p.trials[0].blocks if b.name == "slices-5000") for p in (base, made))
    assert (len(before.windows), before.load) == (len(after.windows), after.load)
    assert [b.name for b in made.trials[11].blocks] == ["slices-5000"], "costs are not judged here"
    weighed = anew.once_more(base, scenario, "ebpf", "ebpf", Limits(0.05, cpu=0.1), Amount(), seed=5)
    assert all("cost-5000" in [b.name for b in trial.blocks] for trial in weighed.trials)


def test_a_gate_of_one_version_against_itself_is_a_baseline() -> None:
    base = anew.side_by_side(SCENARIO, "ebpf", "ebpf", Limits(0.05), Amount(deployments=4, rounds=6), seed=1)
    made = anew.once_more(base, anew.scenario_of(base, None), "ebpf", "ebpf", Limits(0.05), Amount(), seed=2)
    assert alike.unlike((base, SYSTEM), (made, SYSTEM), sides()) == ()
    assert made.trials[0].arms == base.trials[0].arms
    assert len(made.trials) == 4


def test_another_datapath_takes_the_place_of_the_stored_one() -> None:
    base = Store.open(PUBLISHED).plan
    made = anew.once_more(base, anew.scenario_of(base, None), "ebpf_policy", "ebpf", Limits(0.05), Amount(), seed=5)
    assert [arm.name for arm in made.trials[0].arms] == ["none", "ebpf_policy", "none_again"]


def test_a_run_of_several_scenarios_asks_which() -> None:
    base = Store.open(PUBLISHED).plan
    with pytest.raises(Mistake, match="name one with --scenario"):
        anew.scenario_of(base, "connections")
