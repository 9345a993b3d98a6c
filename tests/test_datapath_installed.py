"""Meshes that a cluster has already: found or refused, joined by labels of pods alone, counted by their own proxies."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import numpy as np
import pytest
from kube_api import Api, serving
from rich.console import Console
from typer.testing import CliRunner

from datapaths import cilium, istio_sidecar, linkerd
from datapaths.installed.exposition import total
from datapaths.installed.mesh import version
from lab import datapath, doctor, gates, trial
from lab.cli import app
from lab.cluster import Part, PodSpec
from lab.cluster.kube import KubeCluster
from lab.cluster.kubernetes import arrival, manifests, preview, remains
from lab.cluster.kubernetes.residents import ALL
from lab.cluster.kubernetes.rights import role
from lab.cluster.local import LocalCluster
from lab.load.report import REQUEST
from lab.meter.processes import on_path
from lab.meter.view import Seen
from lab.record import (
    Arm,
    Block,
    BlockKind,
    CannotRun,
    Failed,
    Finding,
    Load,
    Mistake,
    Need,
    Placement,
    Reading,
    Trial,
    Window,
)

RECORDED = Path(__file__).parent / "recorded_meshes"
INSTALLED = ("cilium", "istio_ambient", "istio_sidecar", "linkerd")
Json = dict[str, Any]


def layout(name: str, engines: int = 1) -> Any:
    load = Load(rate_per_s=100, connections=4, engines=engines)
    block = Block("cost", BlockKind.COST, load, (Window(0, 0, name, 0.0, 0.2),))
    asked = Trial("t", "s", 1, 1, (Arm("none", "none"), Arm(name, name)), (0, 1), Placement.TWO_NODES, (block,))
    return trial.layout(asked)


# ------------------------------------------------------------------- what is applied, without a cluster


@pytest.mark.parametrize("name", INSTALLED)
def test_only_the_arms_own_pods_are_told_to_join_and_the_namespace_is_not(name: str) -> None:
    made = manifests.everything("r", layout(name), ("one", "two"), "i:1")
    pods = {m["metadata"]["name"]: m for m in made if m["kind"] == "Pod"}
    wanted = {
        "istio_sidecar": ("labels", "sidecar.istio.io/inject", "true"),
        "istio_ambient": ("labels", "istio.io/dataplane-mode", "ambient"),
        "linkerd": ("annotations", "linkerd.io/inject", "enabled"),
        "cilium": ("labels", cilium.SEEN, "true"),
    }[name]
    where, key, value = wanted
    told = {pod for pod, m in pods.items() if m["metadata"].get(where, {}).get(key) == value}
    dns = name.replace("_", "-")
    assert told == ({f"{dns}-server"} if name == "cilium" else {f"{dns}-client", f"{dns}-server"})
    text = json.dumps([m for m in made if m["kind"] != "Pod" and m["kind"] != "CiliumNetworkPolicy"])
    assert key not in text
    for pod in pods.values():
        kubernetes_validate.validate(pod, "1.33", strict=True)
    level = made[0]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    assert level == ("privileged" if name in ("istio_sidecar", "linkerd") else "restricted"), "init steps write rules"


def test_the_labs_own_labels_cannot_be_overwritten_by_a_datapath() -> None:
    pod = next(p for p in layout("istio_sidecar").pods if p.arm == "istio_sidecar")
    made = manifests.pod("r", pod, "one", (), "i:1")
    assert made["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "mesh-datapath-lab"


def test_a_revision_of_istio_is_named_by_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_LAB_ISTIO_REVISION", "canary")
    pod = next(p for p in layout("istio_sidecar").pods if p.arm == "istio_sidecar")
    assert pod.labels == {"sidecar.istio.io/inject": "true", "istio.io/rev": "canary"}


def test_ports_for_the_labs_own_words_are_kept_out_of_proxies() -> None:
    def notes(name: str) -> Mapping[str, str]:
        return datapath.find(name).shape(PodSpec("a-client", 0, "a", "client", apart=(5557,))).annotations

    assert notes("istio_sidecar") == {
        "traffic.sidecar.istio.io/excludeInboundPorts": "5557",
        "traffic.sidecar.istio.io/excludeOutboundPorts": "5557",
    }
    assert notes("linkerd")["config.linkerd.io/skip-inbound-ports"] == "5557"
    assert notes("linkerd")["config.linkerd.io/skip-outbound-ports"] == "5557"


def test_ciliums_policy_allows_all_http_to_the_arms_servers_and_nothing_else() -> None:
    made = preview.everything(layout("cilium"), "i:1")
    (policy,) = (m for m in made if m["kind"] == "CiliumNetworkPolicy")
    assert policy["metadata"]["namespace"] == "mesh-lab-preview"
    assert policy["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "mesh-datapath-lab"
    (rule,) = policy["spec"]["ingress"]
    assert rule["toPorts"] == [{"ports": [{"port": "8080", "protocol": "TCP"}], "rules": {"http": [{}]}}]
    assert policy["spec"]["endpointSelector"] == {"matchLabels": {cilium.SEEN: "true"}}


def test_rights_of_a_mesh_are_added_to_the_role_only_where_it_is_asked_for() -> None:
    plain, more = role(), role(datapath.find("cilium").rights)
    assert "pods/proxy" not in json.dumps(plain)
    assert [r["resources"] for r in more["rules"][len(plain["rules"]) :]] == [["pods/proxy"], ["ciliumnetworkpolicies"]]
    kubernetes_validate.validate(more, "1.33", strict=True)
    shown = CliRunner().invoke(app, ["manifests", "--rights", "--datapath", "cilium"])
    assert "ciliumnetworkpolicies" in shown.stdout


# -------------------------------------------------------------------------------- what is said when it is absent


@pytest.mark.parametrize("name", INSTALLED)
def test_the_local_cluster_says_that_a_mesh_needs_kubernetes_and_how_to_install_it(name: str) -> None:
    found = datapath.find(name)
    local = LocalCluster.__new__(LocalCluster)
    with pytest.raises(CannotRun, match=r"is a mesh for Kubernetes, and the local cluster is none; ask for --cluster"):
        found.found(local)
    with pytest.raises(CannotRun) as refused:
        found.found(local)
    assert found.install in str(refused.value)
    assert Need.INSTALLED_MESH in found.needs


def test_the_doctor_names_what_does_not_run_here_and_is_well_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    (probe,) = doctor.probe(frozenset({Need.INSTALLED_MESH}))
    assert (probe.there, "--cluster kube:CONTEXT" in probe.mend) == (False, True)

    def all_else(needs: frozenset[Need]) -> tuple[doctor.Probe, ...]:
        return tuple(doctor.Probe(need, need is not Need.INSTALLED_MESH, "", "") for need in needs)

    monkeypatch.setattr(doctor, "probe", all_else)
    health = doctor.examine()
    assert health.ready, "another cluster's want is none of this machine's"
    assert {a.name for a in health.abilities if Need.INSTALLED_MESH in a.lacks} == set(INSTALLED)
    screen = Console(record=True, width=200)
    doctor.show(health, screen)
    assert "datapath linkerd does not run: lacks installed_mesh" in screen.export_text()


def test_the_list_of_datapaths_says_what_installs_each() -> None:
    rows = {row["datapath"]: row for row in json.loads(CliRunner().invoke(app, ["datapaths", "--json"]).stdout)}
    assert {name for name, row in rows.items() if row["the cluster must have, by"]} == set(INSTALLED)
    assert rows["istio_ambient"]["the cluster must have, by"].startswith("istioctl install --set profile=ambient")
    assert {rows[name]["connections"] for name in INSTALLED} == {"pooled"}


# --------------------------------------------------------------- on an API server, with what such clusters hold


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrival, "PAUSE_S", 0.02)
    monkeypatch.setattr(remains, "PAUSE_S", 0.02)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Api, Path]]:
    with serving(tmp_path) as found:
        yield found


@pytest.fixture
def api(served: tuple[Api, Path]) -> Api:
    return served[0]


@pytest.fixture
def cluster(served: tuple[Api, Path]) -> KubeCluster:
    return KubeCluster("Run_1", "test", served[1])


def install(api: Api, file: str) -> None:
    for pod in json.loads((RECORDED / f"{file}.json").read_text()):
        api.objects["pods", pod["metadata"]["namespace"], pod["metadata"]["name"]] = pod


def ours(api: Api) -> list[str]:
    """What is left of the lab's."""
    return [key for key in api.left() if not key.startswith("pods/") or "client" in key or "server" in key]


def injector(added: Json, label: str) -> Any:
    """What a mesh's webhook does."""

    def inject(pod: Json) -> None:
        if label in json.dumps(pod["metadata"]):
            pod["spec"]["containers"] = [*added["containers"], *pod["spec"]["containers"]]
            pod["spec"]["initContainers"] = [*added["initContainers"], *pod["spec"].get("initContainers", [])]

    return inject


@pytest.fixture
def page() -> Iterator[dict[str, Any]]:
    """A page of metrics on this machine's loopback, where a pod's own proxy would have it."""
    told: dict[str, Any] = {}

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(told["body"])))
            self.end_headers()
            self.wfile.write(told["body"])
            told["path"] = self.path

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    told["port"] = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield told
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("kind", ["classic", "native"])
def test_istios_sidecar_is_waited_for_counted_and_on_the_arms_bill(
    cluster: KubeCluster, api: Api, page: dict[str, Any], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    install(api, "istio-system")
    api.inject = injector(json.loads((RECORDED / "istio-injected.json").read_text())[kind], "sidecar.istio.io/inject")
    monkeypatch.setattr(istio_sidecar, "METRICS", page["port"])
    page["body"] = (RECORDED / "istio-proxy.prom").read_bytes()
    found = datapath.find("istio_sidecar")
    with cluster:
        facts = found.found(cluster)
        assert facts["Istio istiod"] == "1.27.3"
        assert facts["no memory of istiod"] == "some of it is on master, where nothing is measured"
        mesh = cluster.deploy(layout("istio_sidecar"))
        proxies = [p for p in cluster.processes if p.spec.name == "istio-proxy"]
        assert {(p.where, p.arm, p.spec.part, p.pids()) for p in proxies} == {
            (f"istio_sidecar-{side}", "istio_sidecar", Part.DATAPATH, ALL) for side in ("client", "server")
        }
        assert all(p.container is not None and p.container.pod == mesh.pod(p.where).uid for p in proxies)
        assert not [p for p in cluster.processes if "istiod" in p.where], "on a node where nothing is measured"
        client, server = found.seen(cluster, mesh.only("istio_sidecar"))
        assert (client.observer, client.requests) == ("istio_sidecar-client source", 102)
        assert (server.observer, server.requests) == ("istio_sidecar-server destination", 100)
        assert page["path"] == "/stats/prometheus"
        assert proxies[0].read("stdout") == b"its last words\n"
        with pytest.raises(Mistake, match="istio-proxy is not the lab's; it can only be watched"):
            proxies[0].tell("go")
    assert ours(api) == []


def test_a_pod_that_came_up_without_its_proxy_fails_the_deployment_and_nothing_is_left(
    cluster: KubeCluster, api: Api
) -> None:
    install(api, "istio-system")
    why = r"pod istio-sidecar-client came up without container istio-proxy: .*it has load\. Is the mesh's injector"
    with pytest.raises(Failed, match=why), cluster:
        cluster.deploy(layout("istio_sidecar"))
    assert ours(api) == []


@pytest.mark.parametrize("name", INSTALLED)
def test_a_cluster_without_the_mesh_is_refused_with_the_command_that_installs_it(
    cluster: KubeCluster, name: str
) -> None:
    found = datapath.find(name)
    with cluster, pytest.raises(CannotRun) as refused:
        found.found(cluster)
    assert str(refused.value).endswith(f"install it with: {found.install}")
    assert "no running pod bears" in str(refused.value)


def test_ztunnels_of_the_pods_own_nodes_prove_that_they_took_the_connections(cluster: KubeCluster, api: Api) -> None:
    install(api, "istio-system")
    whole = (RECORDED / "ztunnel.prom").read_text()
    for node in "ab":
        api.pages[f"istio-system/ztunnel-{node * 5}:15020/metrics"] = whole.encode()
    found = datapath.find("istio_ambient")
    with cluster:
        assert found.found(cluster)["Istio ztunnel"] == "1.27.3-distroless"
        mesh = cluster.deploy(layout("istio_ambient")).only("istio_ambient")
        assert found.taken(cluster, mesh) == {"ztunnel source": 7, "ztunnel destination": 7}
        assert found.seen(cluster, mesh) == ()
        there = {(p.where, p.spec.name, p.node) for p in cluster.processes if p.pids() == ALL}
        assert there == {
            ("node0", "istio-proxy", "node0"),
            ("node1", "istio-proxy", "node1"),
            ("istio-system/istio-cni-node-ddddd", "install-cni", "node0"),
            ("istio-system/istio-cni-node-eeeee", "install-cni", "node1"),
        }
        assert {p.where for p in on_path(cluster.processes) if p.pids() == ALL} == {"node0", "node1"}
        api.pages.clear()
        with pytest.raises(Failed, match="could not ask pod istio-system/ztunnel-aaaaa at port 15020 for /metrics"):
            found.taken(cluster, mesh)


def test_linkerds_count_is_of_the_services_port_and_not_of_its_own_probes(
    cluster: KubeCluster, api: Api, page: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(api, "linkerd")
    api.inject = injector(json.loads((RECORDED / "linkerd-injected.json").read_text()), "linkerd.io/inject")
    monkeypatch.setattr(linkerd, "METRICS", page["port"])
    page["body"] = (RECORDED / "linkerd-proxy.prom").read_bytes()
    found = datapath.find("linkerd")
    with cluster:
        assert found.found(cluster)["Linkerd control plane"] == "edge-25.10.7"
        mesh = cluster.deploy(layout("linkerd")).only("linkerd")
        assert [c.requests for c in found.seen(cluster, mesh)] == [300, 300]
        beside = {p.where for p in cluster.processes if p.spec.name == "linkerd-proxy"}
        assert beside == {
            "linkerd-client",
            "linkerd-server",
            "linkerd/linkerd-destination-6fc9bd5f8b-p7tqz",
            "linkerd/linkerd-proxy-injector-7b9c6d5f4-q8wzn",
        }, "its control plane has proxies, too"
    assert ours(api) == []


def test_ciliums_policy_comes_and_goes_with_the_deployment_and_its_envoy_counts(cluster: KubeCluster, api: Api) -> None:
    install(api, "cilium")
    api.pages["kube-system/cilium-envoy-b8r6c:9964/metrics"] = (RECORDED / "cilium-envoy.prom").read_bytes()
    found = datapath.find("cilium")
    with cluster:
        facts = found.found(cluster)
        assert (facts["Cilium agent"], facts["Cilium envoy"].partition("-")[0]) == ("v1.18.4", "v1.34.10")
        assert "Cilium hubble-relay" not in facts, "it need not be there"
        for _ in range(2):
            mesh = cluster.deploy(layout("cilium")).only("cilium")
            assert "ciliumnetworkpolicies/http-seen" in api.left()
            (count,) = found.seen(cluster, mesh)
            assert (count.requests, count.not_understood) == (250, 1)
            assert count.observer == "kube-system/cilium-envoy-b8r6c", "of the server's node"
            cluster.undeploy()
            assert "ciliumnetworkpolicies/http-seen" not in api.left()
    assert ours(api) == [key for key in api.left() if not key.startswith("pods/")] == []


def test_where_ciliums_envoy_is_inside_its_agent_the_agent_is_asked(cluster: KubeCluster, api: Api) -> None:
    install(api, "cilium")
    for key in [key for key in api.objects if key[2].startswith("cilium-envoy")]:
        del api.objects[key]
    api.pages["kube-system/cilium-9dq7w:9964/metrics"] = (RECORDED / "cilium-envoy.prom").read_bytes()
    with cluster:
        mesh = cluster.deploy(layout("cilium")).only("cilium")
        assert datapath.find("cilium").seen(cluster, mesh)[0].requests == 250


def test_the_doctor_says_which_meshes_a_cluster_has(
    served: tuple[Api, Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    api, kubeconfig = served
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    install(api, "cilium")
    before = list(api.objects)
    said = json.loads(CliRunner().invoke(app, ["doctor", "--cluster", "kube:test", "--json"]).stdout)
    assert said["cluster"]["kubernetes"] == "v1.33.1"
    assert said["meshes"].keys() == set(INSTALLED)
    assert said["meshes"]["cilium"].startswith("Cilium agent v1.18.4")
    assert said["meshes"]["linkerd"].startswith("does not run: this cluster has no control plane of Linkerd")
    assert list(api.objects) == before, "nothing was made"
    told = CliRunner().invoke(app, ["doctor", "--cluster", "kube"])
    assert "istio_ambient: does not run" in told.stdout
    assert CliRunner().invoke(app, ["doctor", "--cluster", "kind"]).exit_code == 2
    capfd.readouterr()


# ----------------------------------------------------------------------------------- reading, judging, metering


def test_a_counter_that_has_not_counted_is_nought_and_a_page_without_metrics_is_an_error() -> None:
    assert total(b"# TYPE up gauge\nup 1\n", "istio_requests_total") == 0
    for empty in (b"", b"no healthy upstream"):
        with pytest.raises(Failed, match="there is no metric on a page that should have istio_requests_total"):
            total(empty, "istio_requests_total")


@pytest.mark.parametrize(
    ("image", "tag"),
    [
        ("registry.example/istio/pilot:1.27.3", "1.27.3"),
        ("registry.example/cilium/cilium:v1.18.4@sha256:49d8", "v1.18.4"),
        ("registry.example:5000/istio/pilot", "registry.example:5000/istio/pilot"),
    ],
)
def test_a_version_is_the_images_tag(image: str, tag: str) -> None:
    assert version(image) == tag


def judged(*readings: tuple[str, str, str, float]) -> dict[str, list[Finding]]:
    block = Block("b", BlockKind.HOLD, Load(10, connections=4), (Window(0, 0, "a", 0.0, 0.2),))
    made = [Reading(m, "b", -1, "a", "x", subject, metric, value) for m, subject, metric, value in readings]
    found: dict[str, list[Finding]] = {}
    for finding in gates.judge(block, "a", np.zeros(0, REQUEST), made):
        found.setdefault(finding.gate, []).append(finding)
    return found


ENGINE = (("engine", "engine", "connects", 4.0), ("engine", "engine", "reconnects", 1.0))


def test_a_proxy_that_only_knows_connections_must_have_taken_all_that_were_opened() -> None:
    assert [f.passed for f in judged(*ENGINE, ("datapath", "z", "taken_connections", 5))["accounting"]] == [True]
    assert [f.passed for f in judged(*ENGINE, ("datapath", "z", "taken_connections", 4))["accounting"]] == [False]
    assert [f.passed for f in judged(("datapath", "z", "taken_connections", 0))["accounting"]] == [False], "silence"


def test_sockets_of_a_proxy_that_pools_are_told_and_not_judged_by_a_number() -> None:
    path = ("connections", "path", "connections", 6.0)
    (pooled,) = judged(path, ("datapath", "formula", "connections_pooled", 1))["sockets"]
    assert (pooled.passed, pooled.value, pooled.limit) == (True, 6.0, None)
    (fixed,) = judged(path, ("datapath", "formula", "connections_per_connection", 3))["sockets"]
    assert not fixed.passed
    (silent,) = judged(path)["sockets"]
    assert not silent.passed


def test_all_of_a_residents_container_is_metered(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").write_text(f"{os.getpid()}\n1\n")

    class Groups:
        def container(self, pod: str, name: str) -> Path:
            assert (pod, name) == ("uid", "id")
            return tmp_path

    told = {"name": "istio-proxy", "part": "datapath", "where": "a-client", "arm": "a", "cgroup": None}
    seen = Seen({**told, "container": ["uid", "id"], "pids": list(ALL)}, Groups())  # type: ignore[arg-type]
    assert set(seen.pids()) == {1, os.getpid()}
    assert seen.spec.part is Part.DATAPATH
