"""A smoke scenario on a real cluster: everything that the other tests of Kubernetes stand in for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest

from lab.cluster.kubernetes.remains import held
from lab.journey.measure import measure as walk
from lab.load.schedule import offsets
from lab.plan import plan
from lab.record import Arm, Block, BlockKind, Load, Placement, Trial, Window
from lab.scenario import find_journey
from lab.trial import measure

Make = Callable[..., AbstractContextManager[Any]]


def trial(name: str, engines: int = 1) -> Trial:
    load = Load(rate_per_s=200, connections=4, engines=engines)
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


@pytest.mark.parametrize("arm", ["none", "ebpf"])
def test_two_engines_send_one_schedule_and_everybody_counts_the_same(kube_cluster: Make, arm: str) -> None:
    asked = trial(arm, engines=2)
    with kube_cluster(f"live-two-{arm}") as cluster:
        measured = measure(asked, cluster, lambda _: None)
    for block in asked.blocks:
        due, _ = offsets(block.only(arm), block.load.rate_per_s, block.load.arrivals, asked.seed)
        assert np.array_equal(measured.requests[arm][block.name]["scheduled_ns"], due)
    (run,) = measured.runs
    wrong = [f for f in run.findings if f.gate in {"errors", "accounting", "connections"} and not f.passed]
    assert not wrong


@pytest.mark.parametrize("arm", ["none", "sidecar"])
def test_locusts_workers_of_two_pods_lose_nothing(kube_cluster: Make, arm: str) -> None:
    journey = find_journey("journeys_churn")
    asked = plan([journey], "smoke", seed=5, datapaths=(arm,), duration_s=2.0, users=6, engines=2)
    with kube_cluster(f"live-walk-{arm}") as cluster:
        walked = walk(asked.turns[0], journey, cluster, lambda _: None)
    assert set(walked.rows["worker"].tolist()) == {0, 1}
    assert not [f for f in walked.walk.findings if f.gate in {"recorded", "accounting", "users"} and not f.passed]


def test_nothing_of_the_lab_is_left_on_the_cluster(kube_cluster: Make) -> None:
    with kube_cluster("live-last") as cluster:
        assert held(cluster.client) == ()
