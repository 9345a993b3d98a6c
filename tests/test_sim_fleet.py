"""Forecasts: from one calibration to every number of a fleet, kept so that it can be checked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sim_material import calibration, quantity

from lab import forecast
from lab.record import Mistake
from lab.scenario import find_forecast, find_question
from lab.sim import coefficients, crossover, failures, latency, push, uncertainty
from lab.sim.calibration import Calibration, Table
from lab.sim.demand import Overload
from lab.sim.fleet import Fleet
from lab.sim.memory import Habits
from lab.sim.priors import PRIORS
from lab.sim.shape import generate

TERMS = {"update_bytes": 440.0, "update_cpu_s": 1e-4, "applied_s": 1e-4}
FLEET = Fleet(20, generate(20, 200, seed=1))
ASKED = replace(find_forecast("fleet_15k"), nodes=10, pods_per_node=10, services=10, rate_per_s=2000.0)


def known() -> Calibration:
    """The material's, with one pair carried by each arm, and laws of updates."""
    made = calibration()
    tables = {f"{arm}@250": Table((tuple(i * 1e-5 for i in range(20, 71)),), "run-a") for arm in latency.PROXIES}
    cost = {"none": 0.0, "ebpf": 0.0, "pernode": 2e-4, "sidecar": 4e-4}
    mean = {"none": 4e-4, "ebpf": 4.1e-4, "pernode": 1e-3, "sidecar": 2e-3}
    found = {**made.quantities}
    for arm in latency.PROXIES:
        values = {"response_mean_s": mean[arm], "cpu_app_s": 1e-4, "cpu_datapath_s": cost[arm]}
        values["bpf_run_s"] = 5e-6 if arm == "ebpf" else 0.0
        found |= {f"{arm}@250.{name}": quantity(value) for name, value in values.items()}
    for update in ("endpoints", "clusters"):
        for metric, value in TERMS.items():
            found |= {f"push_{update}_{metric}.{term}": quantity(value) for term in ("fixed", "resource")}
    return replace(made, quantities=found, tables={**made.tables, **tables})


def test_quantities_are_sums_of_measured_coefficients() -> None:
    raw = {
        "ebpf_bpf_map.base": quantity(10.0),
        "ebpf_bpf_program.base": quantity(5.0),
        "crowd_pss.proxy": quantity(3.0),
    }
    adopted = coefficients.adopt(replace(calibration(), quantities=raw))
    assert adopted.quantity("bpf.base").value == 15.0
    assert adopted.quantity("proxy.private").draws == raw["crowd_pss.proxy"].draws
    with pytest.raises(Mistake, match=r"socket\.idle"):
        adopted.quantity("socket.idle")


def test_what_a_calibration_names_itself_is_kept() -> None:
    both = {"proxy.private": quantity(1.0), "crowd_pss.proxy": quantity(3.0)}
    assert coefficients.adopt(replace(calibration(), quantities=both)).quantity("proxy.private").value == 1.0


@pytest.mark.parametrize("arm", ["pernode", "sidecar"])
def test_passes_add_up_to_what_was_measured(arm: str) -> None:
    one, passes = latency.costs(arm, known()), 2 * latency.PROXIES[arm]
    added = known().quantity(f"{arm}@250.response_mean_s").value - known().quantity("none@250.response_mean_s").value
    assert passes * (one.visit.mean + one.pause.mean) == pytest.approx(added)
    assert passes * one.visit.mean == pytest.approx(known().quantity(f"{arm}@250.cpu_datapath_s").value)


def test_a_pause_is_never_below_nothing() -> None:
    fast = replace(known(), quantities={**known().quantities, "sidecar@250.response_mean_s": quantity(1e-4)})
    assert latency.costs("sidecar", fast).pause.mean == 0.0


@pytest.mark.parametrize("arm", sorted(latency.PROXIES))
def test_both_engines_say_the_same_of_a_fleet(arm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "SIMULATED", 60_000)
    closed = latency.closed(arm, FLEET, known(), Habits(), 2000.0)
    drawn = latency.simulated(arm, FLEET, known(), Habits(), 2000.0, seed=3)
    assert closed.mean_s == pytest.approx(drawn.mean_s, rel=0.02)
    assert closed.p99_s == pytest.approx(drawn.p99_s, rel=0.05)


def test_an_overloaded_station_is_named_and_gets_no_number() -> None:
    with pytest.raises(Overload, match=r"is offered .* times what it can do"):
        latency.closed("sidecar", FLEET, known(), Habits(), 1e7)


def test_scoped_tables_are_told_less_and_a_restart_tells_all() -> None:
    found = {(p.arm, p.visibility, p.event): p for p in push.pushes(FLEET, known())}
    for arm in push.RECEIVERS:
        assert found[arm, "scoped", "endpoint"].receivers < found[arm, "full", "endpoint"].receivers
        assert found[arm, "scoped", "restart"].sent_bytes < found[arm, "full", "restart"].sent_bytes
    assert found["sidecar", "full", "endpoint"].receivers == FLEET.pods
    assert found["pernode", "full", "restart"].receivers == FLEET.nodes
    assert found["ebpf", "full", "restart"].cpu_s is None


def test_a_node_proxy_takes_more_requests_with_it_than_a_sidecar() -> None:
    found = {(t.arm, t.name): t for t in failures.failures(known(), seed=1)}
    name = "one proxy down, requests fail"
    assert found["pernode", name].failed == pytest.approx(1 / failures.NODES, rel=0.2)
    assert 0 < found["sidecar", name].failed < found["pernode", name].failed / 3
    assert all(t.failed == 0 for (_, what), t in found.items() if what != name)


def test_a_noisy_neighbour_is_felt_only_where_the_worker_is_shared() -> None:
    found = {t.name: t for t in failures.neighbours(known(), seed=1)}
    assert found["noisy, shared worker"].p99_s > 100 * found["quiet, shared worker"].p99_s
    assert found["noisy, a worker each"].p99_s < found["quiet, shared worker"].p99_s


def test_the_widest_swing_comes_first_and_indices_are_shares() -> None:
    swings = uncertainty.tornado("sidecar", FLEET, known(), Habits())
    widths = [abs(s.high - s.low) for s in swings]
    assert widths == sorted(widths, reverse=True)
    indices = uncertainty.sobol("sidecar", FLEET, known(), Habits(), seed=1)
    assert all(-0.2 < i.total < 1.3 for i in indices)
    assert indices == uncertainty.sobol("sidecar", FLEET, known(), Habits(), seed=1)


def test_sidecars_and_node_proxies_trade_places_where_the_words_say() -> None:
    lines = list(crossover.words(10, 30, 10, known(), Habits()))
    assert all("sidecars need" in line or "do sidecars need" in line for line in lines)
    assert all(len(row) == len(m.xs) for m in crossover.maps(known(), Habits()) for row in m.ratio)


def test_every_prior_has_a_source_and_a_date() -> None:
    assert all(p.source.startswith("https://") and p.date for p in PRIORS)
    assert next(p for p in PRIORS if p.name == "Istio sidecar").memory(FLEET) == 200 * 60_000_000


def test_a_forecast_is_kept_and_follows_from_what_is_kept(tmp_path: Path) -> None:
    known().save(tmp_path / "calibration.json")
    sweep = forecast.sweep_of("nodes=5,10")
    found = forecast.run(ASKED, tmp_path / "a", calibration=tmp_path / "calibration.json", sweep=sweep)
    assert found.origin == "simulated"
    assert found.pods == 100
    page = (tmp_path / "a" / "report" / "index.html").read_text()
    assert all(word in page for word in ("simulated", "published by others", "1.05 TB", "Istio sidecar"))
    assert forecast.check(tmp_path / "a", strict=True) == ()
    (tmp_path / "a" / "answer.json").write_text("{}")
    assert [p.file for p in forecast.check(tmp_path / "a")] == ["answer.json"]


@pytest.mark.parametrize("text", ["nodes", "nodes=", "nodes=a", "colour=1"])
def test_a_sweep_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Mistake, match="--sweep"):
        forecast.sweep_of(text)


def test_a_forecast_cannot_be_measured() -> None:
    with pytest.raises(Mistake, match="mesh-lab simulate fleet_15k"):
        find_question("fleet_15k")
