"""Service graphs, and what proxies know of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lab.record import Mistake
from lab.sim.fleet import Fleet, Visibility
from lab.sim.graph import Call, Graph, Service, read
from lab.sim.shape import generate

SHOP = Graph(
    (Service("web", 2), Service("cart", 3), Service("db", 1)),
    (Call("web", "cart", 2.0), Call("cart", "db", 0.5), Call("web", "db")),
)

TOML = """
services = [{name = "web", replicas = 2}, {name = "db", replicas = 1, work_s = 0.002}]
calls = [{caller = "web", callee = "db", times = 3}]
"""
YAML = """
services: [{name: web, replicas: 2}, {name: db, replicas: 1, work_s: 0.002}]
calls: [{caller: web, callee: db, times: 3}]
"""


def test_visits_follow_the_calls() -> None:
    assert SHOP.visits() == {"web": 1.0, "cart": 2.0, "db": 2.0}
    assert SHOP.calls_per_request() == 4.0
    assert SHOP.entries == ("web",)


@pytest.mark.parametrize(("name", "text"), [("a.toml", TOML), ("a.yaml", YAML)])
def test_a_graph_is_read_from_either_kind_of_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    expected = Graph((Service("web", 2), Service("db", 1, 0.002)), (Call("web", "db", 3.0),))
    assert read(tmp_path / name) == expected


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("services: [{name: a, replicas: 0}]", "replicas"),
        ("services: [{name: a, replicas: 1}]\ncalls: [{caller: a, callee: b}]", "no service b"),
        ("services: [{name: a, replicas: 1}, {name: a, replicas: 1}]", "twice"),
        (
            "services: [{name: a, replicas: 1}, {name: b, replicas: 1}, {name: c, replicas: 1}]\n"
            "calls: [{caller: a, callee: b}, {caller: b, callee: c}, {caller: c, callee: b}]",
            "cycle",
        ),
        ("services: [{name: a, replicas: 1}]\ncalls: [{caller: a, callee: a}]", "a → a"),
        ("services: [{name: a, replicas: 1, colour: red}]", "may have"),
        ("services: [{name: a, replicas: many}]", "many"),
        ("services: []", "0 services"),
        ("[1, 2]", "services"),
        ("services: {", "cannot be read"),
        ("services: [{name: a, replicas: 1}]\ncalls: [{caller: a, callee: a, times: 0}]", "times"),
    ],
)
def test_a_bad_graph_is_refused_in_one_line(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "graph.yaml").write_text(text)
    with pytest.raises(Mistake, match=word) as raised:
        read(tmp_path / "graph.yaml")
    assert "\n" not in str(raised.value)


def test_a_graph_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="cannot be read"):
        read(tmp_path / "no.toml")


@pytest.mark.parametrize(("services", "pods"), [(1, 1), (2, 2), (30, 100), (1000, 15_000)])
def test_a_generated_graph_has_the_services_pods_and_calls_asked_for(services: int, pods: int) -> None:
    graph = generate(services, pods, seed=3)
    assert (len(graph.services), graph.pods, len(graph.entries)) == (services, pods, 1)
    assert graph.calls_per_request() == pytest.approx(0.0 if services == 1 else 5.0, rel=1e-6)
    assert generate(services, pods, seed=3) == graph


def test_a_generated_graph_is_heavy_tailed_and_nearly_a_tree() -> None:
    graph = generate(1000, 15_000, seed=1)
    replicas = np.sort([s.replicas for s in graph.services])[::-1]
    assert replicas[:100].sum() > 0.5 * graph.pods
    called = np.unique([c.callee for c in graph.calls], return_counts=True)[1]
    assert np.median(called) == 1
    assert called.max() > 20


def test_pods_are_spread_evenly() -> None:
    fleet = Fleet(500, generate(1000, 15_000, seed=1))
    assert set(np.bincount(fleet.node_of, minlength=500)) == {30}


def test_tables_hold_all_or_what_is_called() -> None:
    fleet = Fleet(2, SHOP)
    full, scoped = (fleet.sidecar_tables(v) for v in (Visibility.FULL, Visibility.SCOPED))
    assert set(full.endpoints) == {6}
    assert set(full.services) == {3}
    assert scoped.services.tolist() == [2, 2, 1, 1, 1, 0]
    assert scoped.endpoints.tolist() == [4, 4, 1, 1, 1, 0]


def test_a_node_s_table_is_the_union_of_its_pods_tables() -> None:
    fleet = Fleet(7, generate(40, 100, seed=5), seed=2)
    union = fleet.node_tables(Visibility.SCOPED)
    for node in range(7):
        here = fleet.service_of[fleet.node_of == node]
        called = fleet.calls.toarray()[here].any(axis=0)
        assert union.services[node] == called.sum()
        assert union.endpoints[node] == fleet.replicas[called].sum()
    assert set(fleet.node_tables(Visibility.FULL).endpoints) == {100}


def test_a_cluster_larger_than_kubernetes_supports_is_refused() -> None:
    with pytest.raises(Mistake, match="nodes=5001"):
        Fleet(5001, SHOP)
    with pytest.raises(Mistake, match="150001 pods"):
        Fleet(10, Graph((Service("a", 150_001),), ()))
