"""Networks made from fleets: what a request passes in each architecture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from lab.record import Mistake
from lab.sim.fleet import Fleet
from lab.sim.graph import Call, Graph, Service
from lab.sim.memory import Habits
from lab.sim.network import Maybe, Path, Pause, Pick, Visit
from lab.sim.paths import WAYS, Costs, Model, fleet_network
from lab.sim.shape import generate
from lab.sim.times import Fixed

COSTS = Costs(wire=Fixed(1e-4), visit=Fixed(5e-5), pause=Fixed(2e-5))
CHAIN = Graph(
    (Service("a", 2), Service("b", 3), Service("c", 4)), (Call("a", "b"), Call("b", "c", 0.25), Call("a", "c", 2.0))
)


def model(arm: str, graph: Graph = CHAIN, nodes: int = 3) -> Model:
    return fleet_network(arm, Fleet(nodes, graph), COSTS, Habits(), 100.0)


def passed(path: Path, share: float = 1.0) -> Iterator[tuple[str, float]]:
    for step in path:
        if isinstance(step, Visit):
            yield f"{step.stations} of {step.who}", share
        elif isinstance(step, Maybe):
            yield from passed(step.path, share * step.chance)
        elif isinstance(step, Pause) and step.time is COSTS.wire:
            yield "wire", share


def counted(arm: str) -> Counter[str]:
    found: Counter[str] = Counter()
    (requests,) = model(arm).network.requests
    for name, share in passed(requests.path):
        found[name] += share  # type: ignore[assignment]  # shares are no whole numbers
    return found


@pytest.mark.parametrize(("arm", "proxies"), [("none", 0), ("ebpf", 0), ("pernode", 2), ("sidecar", 4)])
def test_a_call_and_its_answer_pass_none_two_or_four_proxies(arm: str, proxies: int) -> None:
    found = counted(arm)
    calls = 1 + 0.25 + 2
    assert found["wire"] == pytest.approx(2 * calls)
    assert sum(n for name, n in found.items() if name.startswith("proxy")) == pytest.approx(proxies * calls)
    assert sum(n for name, n in found.items() if name.startswith("app")) == pytest.approx(1 + calls)


def test_each_service_s_pods_are_picked_from_its_own() -> None:
    (requests,) = model("none").network.requests
    picks = [step for step in requests.path if isinstance(step, Pick)]
    assert [(p.first, p.count) for p in picks] == [(0, 2), (2, 3), (5, 4), (5, 4)]


def test_pods_of_a_node_share_its_proxy() -> None:
    fleet = Fleet(3, CHAIN)
    (proxies,) = (
        s for s in fleet_network("pernode", fleet, COSTS, Habits(), 1.0).network.stations if s.name == "proxy"
    )
    assert proxies.count == 3
    assert proxies.places is not None
    assert proxies.places.tolist() == fleet.node_of.tolist()


@pytest.mark.parametrize("arm", sorted(WAYS))
def test_a_large_graph_is_nearly_all_in_its_paths(arm: str) -> None:
    assert 0.9 < model(arm, generate(1000, 15_000, seed=1), 500).covered <= 1.0 + 1e-9


def test_an_unknown_architecture_is_a_mistake() -> None:
    with pytest.raises(Mistake, match="'istio'"):
        model("istio")
