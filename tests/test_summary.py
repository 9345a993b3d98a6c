"""The summary of made-up runs with a known truth: it finds what was put in, and says what limits it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import synthetic
from synthetic import Truth

from lab import codec
from lab.record import Feature, Load, Profile, Run
from lab.store import Store
from lab.summary import Contrast, Summary, summarise
from lab.summary.contrasts import paired
from lab.summary.pieces import pieces

LOW, HIGH = Load(500, connections=32), Load(5000, connections=32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four deployments of two loads and a ladder; sidecars saturate at 3,000/s."""
    made = tmp_path_factory.mktemp("summary") / "run"
    visible = synthetic.small(
        deployments=4, rounds=10, ladder=(500, 3000), compare=(LOW, HIGH), cost=(LOW,), referee=()
    )
    held = synthetic.small("connections", deployments=3)
    synthetic.store(made, synthetic.small_plan(visible, held))
    return made


@pytest.fixture(scope="module")
def summary(folder: Path) -> Summary:
    return summarise(Store.open(folder))


def contrast(summary: Summary, arm: str, metric: str = "p50", rate: float = 500) -> Contrast:
    (found,) = [c for c in summary.contrasts if (c.arm, c.metric, c.rate_per_s) == (arm, metric, rate)]
    return found


def changed(made: Path, arm: str, **changes: object) -> Summary:
    """The summary of the same run with every Run of an arm changed."""

    class Changed(Store):
        def runs(self) -> tuple[Run, ...]:
            return tuple(replace(r, **changes) if r.arm == arm else r for r in super().runs())  # type: ignore[arg-type]

    return summarise(Changed(made))


def test_the_truth_lies_in_the_intervals(summary: Summary) -> None:
    # service time is what the truth scales: some 32 µs of lag are added to both arms
    for arm, low, high in (("pernode", 1.7, 2.1), ("sidecar", 2.4, 3.1)):
        assert low < contrast(summary, arm).ratio.value < high
        assert contrast(summary, arm).verdict == "slower"
        assert contrast(summary, arm).difference_s.low > 0
    again = contrast(summary, "none_again")
    assert 0.95 < again.ratio.value < 1.05


def test_every_round_is_kept_for_pictures(summary: Summary) -> None:
    rounds = contrast(summary, "ebpf").rounds_ratio
    assert len(rounds) == contrast(summary, "ebpf").rounds == 4 * 10
    assert {d for d, _, _ in rounds} == {1, 2, 3, 4}
    assert sorted(r for d, r, _ in rounds if d == 1) == list(range(10))


def test_a_saturated_arm_gets_its_knee_and_never_a_ratio(summary: Summary) -> None:
    for metric in ("p50", "mean", "p99"):
        at_5000 = contrast(summary, "sidecar", metric, 5000)
        assert at_5000.verdict == "saturated"
        assert "3000/s" in at_5000.because
        assert np.isnan(at_5000.ratio.value)
        assert at_5000.rounds == 0
    (knee,) = [c for c in summary.capacities if c.arm == "sidecar"]
    assert (knee.kept_per_s, knee.saturated_per_s) == (500, 3000)
    assert [kept for *_, kept in knee.steps] == [True, False]
    assert any("sidecar" in w and "saturates" in w for w in summary.warnings)


def test_the_noise_floor_is_the_reach_of_the_equal_arms(summary: Summary) -> None:
    again = contrast(summary, "none_again")
    reach = max(again.ratio.high, 1 / again.ratio.low) - 1
    assert contrast(summary, "ebpf").noise_floor == pytest.approx(reach)


def test_a_p99_joins_rounds_until_it_has_enough_requests(summary: Summary) -> None:
    assert contrast(summary, "ebpf", "p99", 5000).rounds == 4 * 5  # 400 judged requests a slice: two rounds together
    assert not [c for c in summary.contrasts if c.metric == "p99" and c.rate_per_s == 500]  # some 400 in a deployment
    assert any("p99 needs" in w and "slices-500" in w for w in summary.warnings)


def test_latency_pools_valid_windows(summary: Summary) -> None:
    (found,) = [x for x in summary.latencies if (x.arm, x.rate_per_s) == ("none", 5000)]
    assert (found.deployments, found.windows, found.windows_void) == (4, 40, 0)
    assert found.response_p50_s < found.response_p90_s < found.response_p99_s
    assert found.response_p999_s is None
    assert found.outcomes["ok"] == found.requests
    assert found.service_p50_s < found.response_p50_s


def test_the_cost_of_a_request_is_what_was_put_in(summary: Summary) -> None:
    (none,) = [c for c in summary.costs if c.arm == "none"]
    assert none.per_request_s["app.user"].value == pytest.approx(4e-6)
    assert none.per_request_s["total"].value == pytest.approx(26e-6)


def test_memory_is_summed_over_processes_and_knows_its_places(summary: Summary) -> None:
    (proxies,) = [
        m for m in summary.memories if (m.scenario, m.arm, m.part) == ("http_visibility", "sidecar", "datapath")
    ]
    assert (proxies.processes, proxies.places) == (2, 2)
    assert proxies.pss_bytes == pytest.approx(81e6)
    (agent,) = [m for m in summary.memories if (m.scenario, m.arm, m.part) == ("http_visibility", "ebpf", "datapath")]
    assert agent.bpf_bytes == pytest.approx(3.028e6)


def test_sockets_are_counted_against_the_formula(summary: Summary) -> None:
    for found in summary.sockets:
        assert found.observed_per_connection == found.expected_per_connection == synthetic.CONNECTIONS[found.datapath]
    assert {s.connections for s in summary.sockets} == {1, 20}


def test_accounting_adds_up_all_blocks(summary: Summary) -> None:
    assert all(a.seen == a.sent > 0 for a in summary.accounting)
    assert {a.observer for a in summary.accounting if a.arm == "sidecar"} == {"client", "server"}


def test_a_summary_survives_the_disk_and_is_the_same_each_time(folder: Path, summary: Summary) -> None:
    data = codec.dump(summary)
    assert codec.text(codec.dump(codec.load(Summary, data))) == codec.text(data)
    assert codec.text(codec.dump(summarise(Store.open(folder)))) == codec.text(data)


def test_an_arm_without_parity_is_not_compared(folder: Path) -> None:
    runs = Store.open(folder).runs()
    lacking = next(r for r in runs if r.arm == "ebpf")
    unequal = tuple(
        replace(f, passed=False, detail="ebpf lacks http_parse") if f.gate == "parity" else f for f in lacking.findings
    )
    found = changed(folder, "ebpf", findings=unequal, features=(Feature.HTTP_METRICS,))
    assert contrast(found, "ebpf").verdict == "not comparable"
    assert "http_parse" in contrast(found, "ebpf").because
    assert np.isnan(contrast(found, "ebpf").ratio.value)


def test_a_miscounting_arm_is_left_out_and_named(tmp_path: Path) -> None:
    plan = synthetic.small_plan(synthetic.small(rounds=6))
    store = synthetic.store(tmp_path / "run", plan, Truth(miscounted={"ebpf": 3}))
    found = summarise(store)
    assert contrast(found, "ebpf").verdict == "undecided"
    assert "accounting" in contrast(found, "ebpf").because
    assert any("ebpf" in w and "saw" in w for w in found.warnings)
    assert found.gates["accounting"]["failed"] > 0


def test_a_clean_analysis_leaves_out_rounds_of_disturbed_windows(folder: Path) -> None:
    found = [p for p in pieces(Store.open(folder)) if p.block.name == "slices-500" and p.run.deployment == 1]
    own, base = (next(p for p in found if p.run.arm == arm) for arm in ("ebpf", "none"))
    disturbed = replace(own, stolen=frozenset(w.index for w in own.block.only("ebpf")[:5]))
    assert len(paired([own], [base], "p50").places) == 10
    assert len(paired([disturbed], [base], "p50", clean=True).places) == 5
    assert len(paired([disturbed], [base], "p50").places) == 10


def test_one_deployment_says_how_far_it_reaches(tmp_path: Path) -> None:
    plan = synthetic.small_plan(synthetic.small(deployments=1, rounds=8))
    found = summarise(synthetic.store(tmp_path / "run", plan))
    assert "within one deployment only" in contrast(found, "sidecar").because
    assert any("1 deployment " in w and "--deployments" in w for w in found.warnings)


def test_a_run_without_trials_has_an_empty_summary(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "run", synthetic.small_plan(), {})
    found = summarise(store)
    assert found.contrasts == ()
    assert found.origin == "nothing measured"


def test_a_scenario_without_comparison_has_no_contrast(summary: Summary) -> None:
    assert not [c for c in summary.contrasts if c.scenario == "connections"]
    assert isinstance(synthetic.small("connections").profiles["tiny"], Profile)
