"""Studies as data and what is made of their observations; nothing here needs a machine of any kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lab import codec
from lab.check import check
from lab.plan import Plan, find_question, plan, scenario_names
from lab.question import Amount, Case, Law, Observation, Repeat, Study
from lab.record import Mistake
from lab.store import STUDIES, Store
from lab.study.measure import find, kinds
from lab.subject import Table
from lab.summary import Summary, summarise
from lab.summary.laws import coefficient, product

BASE, CLUSTER, ENDPOINT = 14e6, 48_000.0, 1_500.0
LAW = Law(
    "made", "table", "made", "dirty_bytes", "bytes", {"base": "1", "cluster": "clusters", "endpoint": "endpoints"}, {}
)
SIZES = ((0, 0), (10, 10), (100, 100), (10, 1500), (1000, 15_000))
CASES = tuple(Case(f"c{c}-e{e}", "table", "made", {"clusters": c, "endpoints": e}) for c, e in SIZES)
STUDY = Study("made_up", "Is it linear?", (), frozenset(), (LAW,), {"smoke": Amount(4, CASES)})


def planned(seed: int = 1) -> Plan:
    return plan([STUDY], "smoke", seed=seed, run="made", created="2026-11-23T00:00:00+00:00", awake=False)


def observed(repeat: Repeat, noise: float = 0.002) -> tuple[Observation, ...]:
    rng = np.random.default_rng(repeat.number)
    truth = [BASE + CLUSTER * c.number("clusters") + ENDPOINT * c.number("endpoints") for c in repeat.cases]
    values = np.array(truth) * (1 + noise * rng.standard_normal(len(truth)))
    return tuple(Observation(c.name, "dirty_bytes", float(v)) for c, v in zip(repeat.cases, values, strict=True))


def stored(folder: Path, noise: float = 0.002) -> Store:
    store = Store.create(folder / "made", planned(), {"kernel": "made"})
    for repeat in store.plan.repeats:
        store.add_repeat(repeat, observed(repeat, noise), {"kernel": "made"})
    store.seal(summarise(store))
    return store


@pytest.fixture
def summary(tmp_path: Path) -> Summary:
    return stored(tmp_path).summary()


def studies() -> list[Study]:
    return [q for q in map(find_question, scenario_names()) if isinstance(q, Study)]


def test_every_repeat_has_every_case_in_an_order_of_its_own() -> None:
    repeats = planned().repeats
    assert all(sorted(c.name for c in r.cases) == sorted(c.name for c in CASES) for r in repeats)
    assert len({tuple(c.name for c in r.cases) for r in repeats}) > 1
    assert planned() == planned()
    assert planned(2).repeats != planned().repeats


def test_a_plan_with_a_study_is_read_back_as_it_was_written() -> None:
    assert codec.load(Plan, codec.dump(planned())) == planned()


def test_a_study_takes_no_options_of_load() -> None:
    with pytest.raises(Mistake, match="study made_up was given rate; it can only be given deployments"):
        plan([STUDY], "smoke", seed=1, rate=100.0)
    assert len(plan([STUDY], "smoke", seed=1, deployments=7).repeats) == 7


def test_coefficients_are_found_again(summary: Summary) -> None:
    for term, truth in (("base", BASE), ("cluster", CLUSTER), ("endpoint", ENDPOINT)):
        found = coefficient(summary.coefficients, "made", term)
        assert found.value == pytest.approx(truth, rel=0.05)
        assert found.low <= found.value <= found.high
        assert found.n == len(CASES) * 4


def test_without_noise_the_interval_is_a_point(tmp_path: Path) -> None:
    found = coefficient(stored(tmp_path, 0.0).summary().coefficients, "made", "cluster")
    assert (found.low, found.high) == pytest.approx((CLUSTER, CLUSTER), rel=1e-6)


def test_every_case_stands_beside_what_the_law_says(summary: Summary) -> None:
    assert {s.case for s in summary.sizes} == {c.name for c in CASES}
    assert all(s.least <= s.value <= s.most for s in summary.sizes)
    assert all(s.fitted == pytest.approx(s.value, rel=0.02) for s in summary.sizes)


def test_an_unknown_coefficient_names_those_there_are(summary: Summary) -> None:
    with pytest.raises(Mistake, match=r"no coefficient made\.rout; there are made\.base, made\.cluster"):
        coefficient(summary.coefficients, "made", "rout")


def test_a_product_multiplies_parameters() -> None:
    case = Case("x", "table", "made", {"workers": 4, "clusters": 100})
    assert [product(case, words) for words in ("1", "workers", "workers*clusters")] == [1, 4, 400]


def test_a_stored_study_passes_its_check(tmp_path: Path) -> None:
    assert check(stored(tmp_path).folder, strict=True) == ()


def test_changed_observations_are_found(tmp_path: Path) -> None:
    store = stored(tmp_path)
    file = store.folder / STUDIES / "made_up-r1" / "observations.parquet"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert [p.file for p in check(store.folder)] == ["studies/made_up-r1/observations.parquet"]


def test_a_missing_repeat_is_found_and_can_be_added(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "made", planned(), {})
    first, *others = store.plan.repeats
    store.add_repeat(first, observed(first), {})
    assert [p.file for p in check(store.folder, strict=True) if p.what == "was planned and is missing"][:1] == [
        "studies/made_up-r2"
    ]
    assert Store.resume(store.folder).missing_repeats() == tuple(others)


def test_a_repeat_is_written_once_and_whole(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "made", planned(), {})
    first = store.plan.repeats[0]
    with pytest.raises(Mistake, match="measure each case once"):
        store.add_repeat(first, observed(first)[1:], {})
    store.add_repeat(first, observed(first), {})
    with pytest.raises(Mistake, match="written once"):
        store.add_repeat(first, observed(first), {})


@pytest.mark.parametrize("study", studies(), ids=lambda s: s.name)
def test_every_study_can_be_planned_and_measured_in_every_profile(study: Study) -> None:
    for profile, amount in study.profiles.items():
        assert len({c.name for c in amount.cases}) == len(amount.cases) > 0
        assert plan([study], profile, seed=1).repeats
        for case in amount.cases:
            assert find(case.kind)
            if case.kind in ("table", "crowd", "push", "held"):
                Table.of(case.parameters)


@pytest.mark.parametrize("study", studies(), ids=lambda s: s.name)
def test_every_law_has_cases_in_the_full_profile(study: Study) -> None:
    for law in study.laws:
        assert any(law.holds(case) for case in study.profiles["full"].cases), law.name


def test_an_unknown_kind_names_those_there_are() -> None:
    with pytest.raises(Mistake, match="no kind of case 'tabel'; there are agent, "):
        find("tabel")
    assert "table" in kinds()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"endpoints": 5}, "endpoints need clusters"),
        ({"clusters": 1, "tls": 2}, "only clusters can have a TLS context"),
        ({"workers": 0}, "allowed are 1 to 64"),
        ({"clusters": -1}, "allowed are 0 to"),
        ({"delivery": "pigeon"}, "allowed are static and dynamic"),
    ],
)
def test_a_table_that_cannot_be_is_refused(wrong: dict[str, int | str], says: str) -> None:
    with pytest.raises(Mistake, match=says):
        Table.of(wrong)


def test_endpoints_are_spread_evenly() -> None:
    assert Table(clusters=4, endpoints=10).sizes() == (3, 3, 2, 2)
