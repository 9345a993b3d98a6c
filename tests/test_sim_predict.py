"""Predictions of the bench from a calibration: memory by laws, times by how busy the cores are."""

from __future__ import annotations

import pytest

from lab.question import Case, Prediction
from lab.record import Mistake
from lab.sim.calibrate import label, machine_class
from lab.sim.calibration import Calibration, Quantity, Table
from lab.sim.predict import predictions
from scenarios import holdout, hop_costs

RATES = (250, 1000, 4000)
COST = {"none": 200e-6, "sidecar": 400e-6}


def times(base: float) -> Table:
    row = tuple(base * (1 + i / 50) for i in range(51))
    return Table((row, row, tuple(1.1 * t for t in row)), "run")


def carried(arm: str, rate: int, hops: int = 1) -> tuple[dict[str, Quantity], dict[str, Table]]:
    name, cpu = label(arm, {"rate": rate, "hops": hops}), COST[arm] * hops
    values = {"cpu_total_s": cpu, "cpu_load_s": 40e-6, "response_p99_s": 1e-3, "pss_bytes": 65e6 * (arm == "sidecar")}
    quantities = {f"{name}.{m}": Quantity(v, "s", (v, v * 1.1), "run") for m, v in values.items()}
    return quantities, {name: times(cpu * hops * (1 + rate / 1000))}


def calibration() -> Calibration:
    quantities = {
        "crowd_pss.shared": Quantity(45e6, "bytes", (), "run"),
        "crowd_pss.proxy": Quantity(10e6, "bytes", (9e6, 10e6, 11e6), "run"),
        "crowd_dirty.proxy": Quantity(10e6, "bytes", (), "run"),
        "envoy_static_dirty.base": Quantity(10e6, "bytes", (), "run"),
        "envoy_static_dirty.worker_cluster": Quantity(2e3, "bytes", (1e3, 3e3), "run"),
        "envoy_static_pss.base": Quantity(50e6, "bytes", (), "run"),
    }
    tables: dict[str, Table] = {}
    for arm, rate, hops in [*((a, r, 1) for a in COST for r in RATES), ("none", 250, 2)]:
        more, table = carried(arm, rate, hops)
        quantities |= more
        tables |= table
    laws = {
        "crowd_pss": {"shared": "1", "proxy": "proxies"},
        "crowd_dirty": {"proxy": "proxies"},
        "envoy_static_dirty": {"base": "1", "worker_cluster": "workers*clusters"},
        "envoy_static_pss": {"base": "1"},
    }
    return Calibration({"class": "test"}, ("run",), quantities, tables, laws)


def said(kind: str, subject: str, **parameters: int | str) -> dict[str, Prediction]:
    return {p.metric: p for p in predictions([Case("x", kind, subject, parameters)], calibration())}


def test_memory_is_the_law_s_coefficients_times_the_case() -> None:
    found = said("table", "envoy", delivery="static", clusters=100, workers=3)["dirty_bytes"]
    assert found.value == pytest.approx(10e6 + 2e3 * 300)
    assert found.low == pytest.approx(10e6 + 1e3 * 300, rel=1e-2)
    assert found.high == pytest.approx(10e6 + 3e3 * 300, rel=1e-2)


def test_a_crowd_shares_its_text_once() -> None:
    assert said("crowd", "envoy", proxies=60)["pss_bytes"].value == pytest.approx(45e6 + 60 * 10e6)


def test_a_measured_rate_is_predicted_as_it_was_measured() -> None:
    found = said("carried", "none", rate=1000)
    assert found["cpu_total_s"].value == pytest.approx(200e-6)
    assert found["response_q50_s"].value == pytest.approx(200e-6 * 2 * 1.5, rel=1e-2)


def test_a_rate_between_two_lies_between_them() -> None:
    low, middle, high = (said("carried", "none", rate=r)["response_q50_s"].value for r in (1000, 2000, 4000))
    assert low < middle < high


def test_many_pairs_on_one_core_are_as_slow_as_one_pair_that_keeps_two_as_busy() -> None:
    crowd = said("carried", "none", rate=50, pairs=10, place="same_node")["response_q50_s"].value
    alone = said("carried", "none", rate=1000)["response_q50_s"].value
    assert crowd == pytest.approx(alone, rel=0.02)


def test_sidecars_of_many_pairs_share_their_text_once() -> None:
    found = said("carried", "sidecar", rate=250, pairs=15, place="same_node")["pss_bytes"].value
    assert found == pytest.approx(45e6 + 30 * 10e6)


def test_a_chain_takes_longer_with_every_service() -> None:
    one, two, three = (said("carried", "sidecar", rate=250, hops=h)["response_q50_s"].value for h in (1, 2, 3))
    assert one < two < three
    assert three - two == pytest.approx(two - one, rel=0.25)


def test_the_generator_s_work_is_in_a_chain_once() -> None:
    two = said("carried", "none", rate=250, hops=2)["cpu_total_s"].value
    assert two == pytest.approx(2 * 200e-6)


def test_an_interval_holds_its_value() -> None:
    for found in (said("carried", "sidecar", rate=700), said("crowd", "envoy", proxies=9)):
        assert all(p.low <= p.value <= p.high for p in found.values())


def test_repeats_that_differ_make_the_interval_wide() -> None:
    found = said("carried", "none", rate=1000)["cpu_total_s"]
    assert found.low < 200e-6 < 220e-6 < found.high


@pytest.mark.parametrize(
    ("kind", "subject", "word"),
    [("carried", "ebpf", "carried nothing by 'ebpf'"), ("push", "envoy", "kind 'push'"), ("table", "nginx", "no law")],
)
def test_what_the_calibration_does_not_know_is_said_in_one_line(kind: str, subject: str, word: str) -> None:
    with pytest.raises(Mistake, match=word) as raised:
        said(kind, subject, rate=250, delivery="static")
    assert "\n" not in str(raised.value)


def test_no_case_of_the_holdout_was_calibrated_with() -> None:
    known = {(c.subject, label(c.subject, c.parameters)) for c in hop_costs.STUDY.profiles["full"].cases}
    for case in holdout.STUDY.profiles["full"].cases:
        if case.kind == "carried":
            assert "pairs" in case.parameters or (case.subject, label(case.subject, case.parameters)) not in known


def test_machine_classes_tell_processors_and_hypervisors_apart() -> None:
    here = {"architecture": "x86_64", "processor": "A", "virtual": True}
    assert (
        len({machine_class(here), machine_class({**here, "processor": "B"}), machine_class({**here, "virtual": False})})
        == 3
    )
