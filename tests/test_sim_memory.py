"""Calibrations on disk, and memory predicted from them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from sim_material import BYTES, calibration, quantity

from lab.record import Mistake
from lab.sim import memory
from lab.sim.calibration import Calibration, load
from lab.sim.fleet import Fleet, Visibility
from lab.sim.graph import Call, Graph, Service
from lab.sim.memory import ARMS, Habits, parts, total
from lab.sim.shape import generate

PAIR = Fleet(2, Graph((Service("web", 3), Service("db", 1)), (Call("web", "db"),)))
HABITS = Habits(connections_per_callee=5, workers=1, node_workers=1, listeners=1)


def test_a_calibration_survives_its_file(tmp_path: Path) -> None:
    made = calibration()
    made.save(tmp_path / "a.json")
    assert load(tmp_path / "a.json") == made
    load(tmp_path / "a.json").save(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda told: told.update(schema=99), "schema 99"),
        (lambda told: told["quantities"]["socket.idle"].pop("value"), "damaged"),
        (lambda told: told.pop("schema"), "cannot be read"),
        (lambda told: told["tables"]["none"].update(quantiles=5), "damaged"),
    ],
)
def test_a_bad_calibration_is_refused_in_one_line(tmp_path: Path, change: object, word: str) -> None:
    calibration().save(tmp_path / "a.json")
    told = json.loads((tmp_path / "a.json").read_text())
    assert callable(change)
    change(told)
    (tmp_path / "a.json").write_text(json.dumps(told))
    with pytest.raises(Mistake, match=word) as raised:
        load(tmp_path / "a.json")
    assert "\n" not in str(raised.value)


def test_a_calibration_of_another_machine_class_is_refused_when_one_is_asked(tmp_path: Path) -> None:
    calibration().save(tmp_path / "a.json")
    assert load(tmp_path / "a.json", "x86_64 test").machine["cores"] == "2"
    with pytest.raises(Mistake, match="aarch64 other"):
        load(tmp_path / "a.json", "aarch64 other")


def test_an_unknown_quantity_names_those_there_are() -> None:
    with pytest.raises(Mistake, match=r"proxy\.private"):
        calibration().quantity("proxy.wings")


def test_a_table_s_mean_is_the_integral_of_its_quantiles() -> None:
    assert calibration().table("none").mean_s == pytest.approx(0.002)


def test_sidecars_are_billed_one_by_one() -> None:
    counts = memory.sidecar(PAIR, HABITS).counts
    assert counts["proxy.private"] == counts["proxy.listener"] == 4
    assert counts["proxy.shared"] == 2
    assert counts["proxy.cluster"] == 4 * 2
    assert counts["proxy.endpoint"] == 4 * 4
    assert counts["proxy.connection"] == 2 * 15
    assert counts["socket.idle"] == 2 * 3 * 15


def test_scoped_sidecars_hold_what_they_call() -> None:
    counts = memory.sidecar(PAIR, replace(HABITS, visibility=Visibility.SCOPED)).counts
    assert (counts["proxy.cluster"], counts["proxy.endpoint"]) == (3, 3)


def test_a_node_proxy_is_billed_once_a_node() -> None:
    counts = memory.pernode(PAIR, HABITS).counts
    assert counts["proxy.private"] == counts["agent.private"] == 2
    assert counts["socket.idle"] == 2 * 2 * 15


def test_the_ebpf_arm_is_not_free() -> None:
    counts = memory.ebpf(PAIR, HABITS).counts
    assert counts["agent.private"] == counts["bpf.base"] == 2
    assert counts["socket.idle"] == memory.none(PAIR, HABITS).counts["socket.idle"] == 30


def test_a_total_is_the_sum_of_its_parts_and_lies_in_its_interval() -> None:
    for bill in (arm(PAIR, HABITS) for arm in ARMS.values()):
        found = total(bill, calibration())
        assert found.value == pytest.approx(sum(parts(bill, calibration()).values()))
        assert found.low < found.value < found.high


def test_the_error_of_a_coefficient_does_not_shrink_with_the_number_of_proxies() -> None:
    few, many = (total(memory.sidecar(Fleet(n, generate(n, 30 * n, 1)), HABITS), calibration()) for n in (10, 100))
    assert (few.high - few.low) / few.value == pytest.approx((many.high - many.low) / many.value, rel=0.1)


def test_what_was_measured_once_does_not_vary() -> None:
    certain = calibration()
    fixed = {name: replace(quantity(value), draws=()) for name, value in BYTES.items()}
    bill = memory.sidecar(PAIR, HABITS)
    found = total(bill, Calibration(certain.machine, certain.runs, fixed, {}))
    assert found.low == pytest.approx(found.value) == pytest.approx(found.high)


@pytest.mark.parametrize("habit", ["workers", "connections_per_callee", "listeners"])
def test_a_habit_out_of_range_is_a_mistake(habit: str) -> None:
    with pytest.raises(Mistake, match=f"{habit}=0"):
        replace(Habits(), **{habit: 0})  # type: ignore[arg-type]  # a field by its name
