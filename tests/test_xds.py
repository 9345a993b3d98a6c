"""The control plane: what it sends is what Envoy takes; and proxies accept tables of any size."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import subject
from lab.cluster import Layout, PodSpec
from lab.cluster.local import LocalCluster
from lab.meter.memory import resident
from lab.question import Case, Repeat
from lab.record import CannotRun, Mistake
from lab.study import measure
from lab.subject import Table

try:
    from datapaths.proxy.tables.envoy import resources
    from datapaths.proxy.xds import resources as xds
    from datapaths.proxy.xds.stream import Stream

    subject.find("envoy").version()
except CannotRun as missing:
    pytest.skip(str(missing), allow_module_level=True)

SMALL = Table(clusters=3, endpoints=7, routes=4, listeners=2, delivery="dynamic")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    try:
        opened = LocalCluster("xds", state=tmp_path_factory.mktemp("state")).__enter__()
    except CannotRun as missing:
        pytest.skip(str(missing))
    yield opened
    opened.__exit__()


def stream(table: Table = SMALL) -> tuple[Stream, list[dict[str, Any]]]:
    told: list[dict[str, Any]] = []
    known = {kind: xds.encoded(kind, found) for kind, found in resources(table).items()}
    return Stream(known, lambda answer: told.append(dict(answer))), told


def asked(kind: str, *names: str, nonce: str = "") -> bytes:
    request = xds._discovery.DiscoveryRequest(
        type_url=xds.KINDS[kind][0], resource_names=list(names), response_nonce=nonce
    )
    return bytes(request)


def sent(one: Stream, *requests: bytes) -> list[Any]:
    one.hear(iter(requests))
    return [xds._discovery.DiscoveryResponse.parse(raw) for raw in one.answers(iter(()))]


def test_all_clusters_are_sent_to_who_asks_for_any() -> None:
    (answer,) = sent(stream()[0], asked("clusters"))
    assert len(answer.resources) == SMALL.clusters
    assert answer.type_url.endswith("cluster.v3.Cluster")


def test_only_the_endpoints_that_are_asked_for_are_sent() -> None:
    (answer,) = sent(stream()[0], asked("endpoints", "c1"))
    assert len(answer.resources) == 1


def test_an_acknowledgement_is_told_and_not_answered() -> None:
    one, told = stream()
    answers = sent(one, asked("clusters"), asked("clusters", nonce="clusters-1"))
    assert len(answers) == 1
    assert [(t["kind"], t["resources"], t["refused"]) for t in told] == [("clusters", SMALL.clusters, "")]


def test_what_was_frozen_thaws_unchanged() -> None:
    told = resources(SMALL)
    thawed = xds.thawed(xds.frozen(told))
    assert {kind: {n: one.value for n, one in found.items()} for kind, found in thawed.items()} == {
        kind: {n: one.value for n, one in xds.encoded(kind, found).items()} for kind, found in told.items()
    }


def test_an_unknown_kind_names_those_there_are() -> None:
    with pytest.raises(Mistake, match="allowed are clusters, endpoints, routes, listeners"):
        xds.encoded("secrets", [])


def test_envoy_holds_the_same_table_from_a_file_and_from_a_control_plane(cluster: LocalCluster) -> None:
    proxy = subject.find("envoy")
    for delivery in ("static", "dynamic"):
        table = Table(clusters=20, endpoints=100, routes=10, listeners=3, tls=2, delivery=delivery)
        cluster.deploy(Layout((PodSpec("proxy", 0, "a", "server"),), ()))
        process = [cluster.run("proxy", "a", spec) for spec in proxy.processes(table)][-1]
        assert proxy.holds(cluster, "proxy") == {"clusters": 20, "endpoints": 100, "listeners": 3}
        assert proxy.allocated(cluster, "proxy")["allocated_bytes"] < resident(process).rss_bytes
        cluster.undeploy()


def test_every_kind_of_resource_can_be_pushed_and_is_accepted(cluster: LocalCluster) -> None:
    cluster.deploy(Layout((PodSpec("proxy", 0, "a", "server"),), ()))
    control, _ = (cluster.run("proxy", "a", spec) for spec in subject.find("envoy").processes(SMALL))
    before = len(control.read("stdout").splitlines())
    for kind in xds.KINDS:
        control.tell(f"push {kind} 1")
    deadline = time.monotonic() + 10
    while len(lines := control.read("stdout").splitlines()[before:]) < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    answers = [json.loads(line) for line in lines]
    cluster.undeploy()
    assert {a["kind"] for a in answers} == set(xds.KINDS)
    assert not any(a["refused"] for a in answers)


@pytest.mark.parametrize("name", subject.names())
def test_every_proxy_starts_with_a_table_and_weighs_more_for_it(name: str, cluster: LocalCluster) -> None:
    try:
        subject.find(name).version()
    except CannotRun as missing:
        pytest.skip(str(missing))
    sizes = {"small": 1, "large": 300}
    cases = tuple(Case(k, "table", name, {"clusters": n, "endpoints": n, "routes": n}) for k, n in sizes.items())
    seen = measure(Repeat("r", "s", 1, 1, cases), cluster, lambda _: None)
    rss = {o.case: o.value for o in seen.observations if o.metric == "rss_bytes"}
    assert rss["large"] > rss["small"] > 0
    assert name in seen.facts


@pytest.mark.parametrize(("how", "ends"), [("idle", 1), ("used", 2), ("active", 2), ("used+tls", 2)])
def test_connections_are_held_as_the_case_says(how: str, ends: int, cluster: LocalCluster) -> None:
    secure = int(how.endswith("tls"))
    case = Case("c", "held", "envoy", {"connections": 20, "how": how, "ends": ends, "secure": secure})
    seen = measure(Repeat("r", "s", 1, 1, (case,)), cluster, lambda _: None)
    assert {o.metric: o.value for o in seen.observations}["established_sockets"] >= 20 * ends


def test_connections_through_a_service_are_tracked_on_both_nodes(cluster: LocalCluster) -> None:
    case = Case("c", "sockets", "kernel", {"connections": 50, "how": "idle", "tracked": 1})
    seen = measure(Repeat("r", "s", 1, 1, (case,)), cluster, lambda _: None)
    assert {o.metric: o.value for o in seen.observations}["tracked_entries"] == 100


def test_many_proxies_are_weighed_together(cluster: LocalCluster) -> None:
    cases = tuple(Case(f"c{n}", "crowd", "envoy", {"proxies": n}) for n in (1, 3))
    seen = measure(Repeat("r", "s", 1, 1, cases), cluster, lambda _: None)
    found = {(o.case, o.metric): o.value for o in seen.observations}
    assert found["c3", "dirty_bytes"] == pytest.approx(3 * found["c1", "dirty_bytes"], rel=0.1)
    assert found["c3", "pss_bytes"] < found["c3", "rss_bytes"]


@pytest.mark.parametrize("table", [Table(), Table(clusters=5, endpoints=9, routes=3, listeners=2, tls=5, workers=2)])
def test_envoy_accepts_every_bootstrap(table: Table, tmp_path: Path) -> None:
    (spec,) = subject.find("envoy").processes(table)
    file = tmp_path / "envoy.json"
    file.write_text(spec.files["envoy.json"])
    words = [spec.argv[0], "--mode", "validate", "-c", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr
