"""Locust's workers in several client pods: they meet their master past every datapath, and lose nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest

from datapaths.sidecar import REDIRECT, redirect
from lab import datapath, doctor
from lab.behaviour import Turn
from lab.cluster import PodSpec
from lab.cluster.local import LocalCluster
from lab.gates import walk as gates
from lab.journey import crowd
from lab.journey.measure import Measured, check, measure
from lab.plan import plan
from lab.record import CannotRun, Mistake
from lab.scenario import find_journey

JOURNEY = find_journey("journeys_churn")


def turn(arm: str = "none", engines: int = 2, workers: int | None = None) -> Turn:
    asked = plan(
        [JOURNEY], "smoke", seed=5, datapaths=(arm,), duration_s=2.0, users=6, engines=engines, workers=workers
    )
    return asked.turns[0]


def test_each_client_pod_has_a_worker_unless_more_are_asked() -> None:
    assert (turn().workers, turn().engines) == (2, 2)
    assert crowd.homes(turn()) == (0, 0, 1), "the master leads in the first pod"
    assert crowd.homes(turn(workers=5)) == (0, 0, 1, 0, 1, 0)
    assert (turn(engines=1).workers, turn(engines=1).engines) == (0, 1)
    with pytest.raises(Mistake, match=r"engines=3, workers=2; each client pod has at least one of Locust's workers"):
        turn(engines=3, workers=2)


def test_workers_of_one_pod_meet_on_its_loopback_and_those_of_several_at_the_first_ones_address() -> None:
    master, *workers = crowd.processes(turn(), JOURNEY, "http://h:1", meeting="10.0.0.7")
    assert master.argv[master.argv.index("--master-bind-host") + 1] == "10.0.0.7"
    assert {w.argv[w.argv.index("--master-host") + 1] for w in workers} == {"10.0.0.7"}
    alone = crowd.processes(turn(engines=1, workers=2), JOURNEY, "http://h:1")
    assert alone[0].argv[alone[0].argv.index("--master-bind-host") + 1] == crowd.LOOPBACK
    shown = crowd.processes(turn(), JOURNEY, "http://h:1", web_ui=True, meeting="10.0.0.7")[0].argv
    assert shown[shown.index("--web-host") + 1] == crowd.LOOPBACK, "pages stay on loopback"


def test_a_sidecar_leaves_the_pods_own_words_alone_and_is_else_as_ever() -> None:
    apart = redirect((5557,)).files["redirect.nft"]
    assert apart.count("tcp dport { 5557 } return") == 2
    assert redirect().files["redirect.nft"] == REDIRECT.replace("@apart@", "")
    shaped = datapath.find("sidecar").shape(PodSpec("p", 0, "a", "client", apart=(5557,)))
    assert shaped.init[-1].files["redirect.nft"] == apart


def test_an_arm_that_guards_every_byte_is_refused_before_anything_is_made() -> None:
    with pytest.raises(CannotRun, match=r"ebpf_policy lets nothing pass .*: leave --engines out, or this arm"):
        check(turn("ebpf_policy"))
    check(turn("ebpf_policy", engines=1))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    if os.geteuid():
        pytest.skip("the local cluster needs root")
    with LocalCluster(f"crowds-{os.getpid()}", nodes=3, state=tmp_path_factory.mktemp("places")) as one:
        yield one


@pytest.fixture(scope="module", params=["none", "sidecar", "pernode", "ebpf"])
def walked(request: pytest.FixtureRequest, cluster: LocalCluster) -> Measured:
    wanted = doctor.ALWAYS | datapath.find(request.param).needs
    lacking = [p for p in doctor.probe(wanted) if not p.there]
    if lacking:
        pytest.skip(f"{lacking[0].need}: {lacking[0].detail}")
    return measure(turn(request.param), JOURNEY, cluster, lambda _: None)


def test_nothing_is_lost_between_the_pods_and_the_datapath_counts_the_same(walked: Measured) -> None:
    rows, walk = walked.rows, walked.walk
    assert set(rows["worker"].tolist()) == {0, 1}
    assert len(rows) == sum(tally.requests for tally in walk.tallies) > 0
    findings = {f.gate: f for f in gates.judge(walk, rows, frozenset())}
    assert findings["recorded"].passed, findings["recorded"]
    assert "accounting" not in findings or findings["accounting"].passed, findings["accounting"]
    assert np.all(np.diff(rows["start_ns"]) >= 0), "by one clock, in order"
    logs = {name for name in walked.files if name.startswith("logs/") and "worker" in name}
    assert {name.split("/")[1] for name in logs} == {
        f"{walk.arm}-client.worker0",
        f"{walk.arm}-client-1.worker1",
    }
