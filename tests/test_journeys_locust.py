"""Real Locust on real arms: none of its requests is lost, and what it says is stored, checked and reported."""

from __future__ import annotations

import http.client
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lab import session, workload
from lab.behaviour import Turn
from lab.check import check
from lab.cluster import Layout, Line, Mesh, Part, ProcessSpec
from lab.cluster.local import LocalCluster
from lab.compile import ROOT
from lab.gates import walk as gates
from lab.journey import crowd
from lab.journey.doorway import Doorway
from lab.journey.measure import Measured, measure
from lab.plan import plan
from lab.record import OUTCOMES, CannotRun, Feature, Mistake, Outcome
from lab.scenario import find_journey
from lab.store import Store

PAIR = ("none", "ebpf")


@pytest.fixture(scope="module", autouse=True)
def _able() -> None:
    if os.geteuid():
        pytest.skip("the local cluster needs root")


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("walked") / "run"
    asked = plan([find_journey("journeys_failures")], "smoke", seed=1, datapaths=PAIR, duration_s=2.0, awake=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MESH_LAB_STATE", str(tmp_path_factory.mktemp("state")))
        try:
            session.start(asked, folder, lambda _: None)
        except CannotRun as lacks:
            pytest.skip(str(lacks))
        yield folder


def test_raw_events_are_as_many_as_locust_counts_and_as_the_datapath_sees(walked: Path) -> None:
    store = Store.open(walked)
    for turn, walk in store.turns():
        rows = store.events(turn.name)
        assert len(rows) == sum(tally.requests for tally in walk.tallies) > 0
        assert int(rows["failed"].sum()) == sum(tally.failures for tally in walk.tallies) > 0
        assert [count.requests for count in walk.seen] in ([], [int(rows["sends"].sum())])
        assert bool(walk.seen) == (Feature.HTTP_METRICS in walk.features)
        assert walk.lasted_s >= 0.95 * turn.seconds, "users stay as long as they are asked to"
        assert {f.gate for f in walk.findings if not f.passed} <= {"generator"}


def test_every_kind_of_failure_is_told_apart(walked: Path) -> None:
    store = Store.open(walked)
    met: dict[str, set[tuple[str, int]]] = {}
    for turn, walk in store.turns():
        for row in store.events(turn.name):
            met.setdefault(walk.steps[row["step"]], set()).add((OUTCOMES[row["outcome"]], int(row["status"])))
    assert met == {
        "GET fine": {(Outcome.OK, 200)},
        "GET not found": {(Outcome.OK, 404)},
        "GET slow": {(Outcome.OK, 200)},
        "GET too slow": {(Outcome.TIMEOUT, 0)},
        "POST cut off": {(Outcome.RESET, 0)},
    }


def test_times_are_not_rounded_as_locust_rounds_them(walked: Path) -> None:
    store = Store.open(walked)
    times_ns = np.concatenate([store.events(turn.name)["duration_ns"] for turn, _ in store.turns()])
    assert np.all(times_ns > 0)
    assert len(np.unique(times_ns % 1_000_000)) > len(times_ns) / 2


def test_the_run_stands_a_strict_check_and_its_page_marks_the_closed_loop(walked: Path) -> None:
    assert check(walked, strict=True) == ()
    page = (walked / "report" / "index.html").read_text()
    assert "closed loop" in page
    assert "POST cut off" in page
    summary = Store.open(walked).summary()
    assert {(s.arm, s.loop) for s in summary.steps} == {("none", "closed"), ("ebpf", "closed")}
    assert not summary.latencies
    assert {c.arm for c in summary.step_contrasts} == {"ebpf"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with LocalCluster("journeys", state=tmp_path_factory.mktemp("places")) as one:
        yield one


def _walk(cluster: LocalCluster, name: str, processes: int, workers: int) -> Measured:
    journey = find_journey(name)
    (turn,) = plan([journey], "smoke", seed=5, datapaths=("none",), duration_s=2.0, users=6).turns
    return measure(replace(turn, processes=processes, workers=workers), journey, cluster, lambda _: None)


@pytest.mark.parametrize(("processes", "workers"), [(1, 2), (2, 0)], ids=["started", "forked"])
def test_a_master_and_two_workers_lose_nothing(processes: int, workers: int, cluster: LocalCluster) -> None:
    measured = _walk(cluster, "journeys_churn", processes, workers)
    rows, walk = measured.rows, measured.walk
    assert set(rows["worker"].tolist()) == {0, 1}
    assert len(rows) == sum(tally.requests for tally in walk.tallies)
    assert gates.judge(walk, rows, frozenset())[0].passed
    connections = {(row["worker"], row["connection"]) for row in rows}
    assert len(connections) == walk.connections == np.sum(rows["step"] == walk.steps.index("GET first, connects"))


@pytest.fixture
def placed(cluster: LocalCluster) -> Iterator[Mesh]:
    pods = (workload.client_pod("none", 0), workload.server_pod("none", 1, ()))
    server = replace(pods[1], processes=workload.server(sizes=(128,)))
    yield cluster.deploy(Layout((pods[0], server), (workload.service("none"),)))
    cluster.undeploy()


def test_a_doorway_leads_from_loopback_into_a_pod_and_is_closed_behind(cluster: LocalCluster, placed: Mesh) -> None:
    where = workload.server_name("none")
    with Doorway(cluster, where, 0, workload.PORT) as door:
        assert _get(door.port) == (200, b"ok")
        assert _get(door.port) == (200, b"ok"), "more than once"
        with pytest.raises(Mistake, match=f"--web-ui {door.port}: .*; give another port"):
            Doorway(cluster, where, door.port, workload.PORT).__enter__()
    with pytest.raises(ConnectionRefusedError):
        _get(door.port)


def _get(port: int) -> tuple[int, bytes]:
    """Once the door's process listens; the socket is open before it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_the_steady_engine_as_a_locust_user_is_counted_whole(cluster: LocalCluster, placed: Mesh) -> None:
    report, engine = _steady(cluster, f"http://{placed.services[0].address}:{workload.PORT}")
    (tally,) = report.tallies
    assert (tally.step, tally.requests, tally.failures) == ("GET /bytes/128", len(report.rows), 0)
    assert engine["on_wire"] == len(report.rows) + engine["warmups"]
    assert abs(len(report.rows) - 1500) < 6 * 1500**0.5
    assert np.all(report.rows["outcome"] == OUTCOMES.index(Outcome.OK))
    assert set(report.rows["connection"].tolist()) == set(range(8))
    assert len(np.unique(report.rows["duration_ns"])) > 100, "the events carry nanoseconds"


def _steady(cluster: LocalCluster, host: str) -> tuple[crowd.Report, dict[str, float]]:
    asked = ("--rate", "1000", "--seconds", "1.5", "--connections", "8", "--json-file", "{dir}/locust")
    files = f"{crowd.JOURNAL},{ROOT / 'lab' / 'load' / 'locustfile.py'}"
    spec = ProcessSpec(
        name="locust",
        argv=(sys.executable, "-m", "locust", "-f", files, "--host", host, "--headless", "--only-summary", *asked),
        part=Part.LOAD,
        env={"PYTHONPATH": str(ROOT), "MESH_LAB_JOURNAL": "{dir}"},
        user=ROOT.stat().st_uid,
        ready=Line("["),
    )
    process = cluster.run(workload.client_name("none"), "none", spec)
    turn = _turn()
    report = crowd.collect([process], turn)
    said = next(line for line in process.read("stderr").decode().splitlines() if "steady engine: " in line)
    return report, json.loads(said.partition("steady engine: ")[2])


def _turn() -> Turn:
    return plan([find_journey("journeys_churn")], "smoke", seed=1, datapaths=("none",)).turns[0]
