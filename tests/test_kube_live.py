"""A smoke scenario on a real cluster: everything that the other tests of Kubernetes stand in for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from lab.cluster.kubernetes.remains import held
from lab.record import Arm, Block, BlockKind, Load, Placement, Trial, Window
from lab.trial import measure

Make = Callable[..., AbstractContextManager[Any]]


def trial(name: str) -> Trial:
    load = Load(rate_per_s=200, connections=4)
    blocks = tuple(
        Block(str(kind), kind, load, (Window(0, 0, name, 0.0, 1.0),), guard_s=0.5)
        for kind in (BlockKind.HOLD, BlockKind.COST)
    )
    return Trial(f"live-{name}", "live", 1, 1, (Arm(name, name),), (0,), Placement.TWO_NODES, blocks)


@pytest.mark.parametrize("arm", ["none", "sidecar", "pernode", "ebpf"])
def test_an_arm_is_measured_counted_and_gone(kube_cluster: Make, arm: str) -> None:
    with kube_cluster(f"live-{arm}") as cluster:
        measured = measure(trial(arm), cluster, lambda _: None)
        client = cluster.client
        spaces = [name for name, _ in held(client, f"live-{arm}")]
        assert len(spaces) == 2
        assert not [p for space in spaces for p in client.every("Pod", space)]
    (run,) = measured.runs
    wrong = [f for f in run.findings if f.gate in {"errors", "accounting", "sockets"} and not f.passed]
    assert not wrong
    assert run.facts["kubernetes"].startswith("v1.")
    assert run.facts["node0"] != run.facts["node1"]


def test_nothing_of_the_lab_is_left_on_the_cluster(kube_cluster: Make) -> None:
    with kube_cluster("live-last") as cluster:
        assert held(cluster.client) == ()
