"""A deployment on Kubernetes from first to last word, against a small API server whose containers are real guests."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kube_api import Api, serving

from lab.cluster import Layout, Line, Mesh, Node, Part, PodSpec, Privilege, ProcessSpec, ServiceSpec, choice
from lab.cluster.kube import KubeCluster
from lab.cluster.kubernetes import arrival, remains
from lab.cluster.kubernetes.client import ApiClient
from lab.cluster.kubernetes.process import READY_S, KubeProcess
from lab.record import CannotRun, Failed, Mistake

APP = ProcessSpec(
    "app", ("sh", "-c", "echo up; cat note; read x; echo $x"), Part.APP, {"note": "{dir}"}, ready=Line("up")
)
AGENT = ProcessSpec("agent", ("sh", "-c", "echo up; exec sleep 60"), Part.DATAPATH, ready=Line("up"))


def on_node(node: Node, mesh: Mesh) -> list[tuple[str, ProcessSpec]]:
    return [("a_rm", AGENT)] if mesh.on(node) else []


LAYOUT = Layout(
    pods=(PodSpec("a_rm-client", 0, "a_rm", "client"), PodSpec("a_rm-server", 1, "a_rm", "server", (APP,))),
    services=(ServiceSpec("a_rm-server", "a_rm", 8080, ("a_rm-server",)),),
    node_processes=on_node,
)


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


def test_a_deployment_is_made_in_order_told_by_exec_and_leaves_nothing(cluster: KubeCluster, api: Api) -> None:
    with cluster:
        mesh = cluster.deploy(LAYOUT)
        assert [(p.name, p.node, p.cgroup) for p in mesh.pods] == [
            ("a_rm-client", "node0", None),
            ("a_rm-server", "node1", None),
        ]
        assert mesh.service("a_rm-server").endpoints == (mesh.pod("a_rm-server").address,)
        assert [n.address for n in mesh.nodes] == ["192.0.2.2", "192.0.2.3"], "workers, not the control plane"
        agents, app = cluster.processes[:2], cluster.processes[2]
        assert {p.where for p in agents} == {"node0", "node1"}
        assert app.container is not None
        assert app.container.pod == mesh.pod("a_rm-server").uid
        assert len(app.pids()) >= 1
        app.tell("hello")
        assert app.wait(5) == 0
        assert app.read("stdout").decode().endswith("hello\n")
        words = [line for line in api.said if not line.startswith("exec")]
        assert words[:4] == [
            "create Namespace mesh-lab-run-1",
            "create Namespace mesh-lab-run-1-nodes",
            "create ServiceAccount mesh-lab",
            "create ServiceAccount mesh-lab",
        ]
        starts = [line for line in api.said if line.endswith(" start")]
        assert starts[-1] == "exec a-rm-server/app start", "agents first: a socket belongs to who was there before it"
        cluster.undeploy()
        assert sorted(name.split("/")[0] for name in api.left()) == [*["namespaces"] * 2, *["serviceaccounts"] * 2]
        gone = [line for line in api.said if line.startswith("delete Pod")]
        assert "node" in gone[0]
        assert "node" in gone[1], "agents detach while the pods are still there"
        cluster.deploy(LAYOUT)
    assert api.left() == []
    assert not api.guests


def test_engines_and_instruments_are_started_where_they_belong(cluster: KubeCluster, api: Api) -> None:
    once = ProcessSpec("engine", ("sh", "-c", "echo $0 done", "{dir}"), Part.LOAD)
    meter = ProcessSpec("meter", ("echo", "seen"), Part.INSTRUMENT, user=0, privileges=frozenset({Privilege.BPF}))
    with cluster:
        cluster.deploy(LAYOUT)
        first, second = (cluster.run("a_rm-client", "a_rm", once) for _ in range(2))
        assert [p.wait(5) for p in (first, second)] == [0, 0]
        assert b"engine-2 done" in second.read("stdout")
        for _ in range(2):
            assert cluster.run("node0", "instruments", meter).wait(5) == 0
        with pytest.raises(Mistake, match=r"pod a_rm-server has no container for engine; it has app"):
            cluster.run("a_rm-server", "a_rm", once)
        with pytest.raises(Failed, match=r"no file 'nothing'; there is stderr, stdout"):
            first.read("nothing")
        with pytest.raises(Failed, match="Connection refused"):
            cluster.fetch("a_rm-client", 1, "/")
    made = [line for line in api.said if line.startswith("create Pod node0-instruments")]
    assert made == ["create Pod node0-instruments-any-0-bpf"], "one for all that need the same"


def test_a_deployment_that_needs_more_raises_its_namespaces_pod_security(cluster: KubeCluster, api: Api) -> None:
    def level() -> object:
        return api.objects["namespaces", "", "mesh-lab-run-1"]["metadata"]["labels"][
            "pod-security.kubernetes.io/enforce"
        ]

    redirect = ProcessSpec("rules", ("true",), Part.DATAPATH, user=0, privileges=frozenset({Privilege.NET_ADMIN}))
    with cluster:
        cluster.deploy(Layout((PodSpec("p", 0, "a", "x"),), ()))
        assert level() == "restricted"
        cluster.undeploy()
        cluster.deploy(Layout((PodSpec("p", 0, "a", "x", init=(redirect,)),), ()))
        assert level() == "privileged"


def test_a_clock_is_read_by_its_quickest_trip_once_a_machine(cluster: KubeCluster, api: Api) -> None:
    with cluster:
        cluster.deploy(LAYOUT)
        ahead_ns = cluster.clock("a_rm-client")
        error_ns = int(cluster.facts()["node0_clock_error_ns"])
        assert abs(ahead_ns) <= error_ns, "guests of this machine have its clock"
        cluster.clock("node0")
    assert len([line for line in api.said if line.endswith(" clock")]) == 1


@pytest.mark.parametrize("version", ["v1.29.14", "v1.9.0"])
def test_a_server_that_is_too_old_is_refused_before_anything_is_made(
    cluster: KubeCluster, api: Api, version: str
) -> None:
    api.version = version
    with pytest.raises(CannotRun, match=rf"is Kubernetes {version}; the lab needs v1.30 or newer"), cluster:
        pass
    assert api.said == []


def test_distributions_versions_are_understood(cluster: KubeCluster, api: Api) -> None:
    api.version = "v1.31.4+k3s1"
    with cluster:
        assert cluster.facts()["kubernetes"] == "v1.31.4+k3s1"


def test_long_files_go_to_a_process_in_pieces(cluster: KubeCluster, api: Api) -> None:
    text = "x" * 3_000_000
    spec = ProcessSpec("engine", ("wc", "-c", "{dir}/long"), Part.LOAD, {"long": text})
    with cluster:
        cluster.deploy(LAYOUT)
        counted = cluster.run("a_rm-client", "a_rm", spec)
        assert counted.wait(5) == 0
        assert counted.read("stdout").split()[0] == str(len(text)).encode()
    assert api.longest < 1_000_000, "an API server closes the connection on messages of more than 32 MB"


def test_facts_say_what_the_cluster_is(cluster: KubeCluster) -> None:
    with cluster:
        facts = cluster.facts()
    assert facts["kubernetes"] == facts["node0_kubeletVersion"] == "v1.33.1"
    assert (facts["node0"], facts["node1"], facts["cni"]) == ("one", "two", "unknown")


def test_a_process_that_dies_is_reported_with_its_last_words_and_nothing_is_left(
    cluster: KubeCluster, api: Api
) -> None:
    broken = ProcessSpec("app", ("sh", "-c", "echo no such luck; exit 3"), Part.APP, ready=Line("up"))
    with pytest.raises(Failed, match=r"(?s)app ended with exit code 3 before it was ready.*no such luck"), cluster:
        cluster.deploy(Layout((PodSpec("p", 0, "a", "x", (broken,)),), ()))
    assert api.left() == []


def test_a_pod_that_somebody_deletes_is_said_to_be_gone(cluster: KubeCluster, api: Api) -> None:
    with cluster:
        cluster.deploy(LAYOUT)
        api.delete("pods", "mesh-lab-run-1", "a-rm-server")
        with pytest.raises(Failed, match=r"exec in a-rm-server/app: that is not there any more .*did somebody delete"):
            cluster.processes[-1].pids()


def test_who_cannot_clean_up_says_how_to_do_it_later(
    cluster: KubeCluster, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: object) -> None:
        raise Failed("the API server does not answer")

    cluster.__enter__()
    cluster.deploy(LAYOUT)
    monkeypatch.setattr(cluster.client, "every", silent)
    with pytest.raises(Failed, match=r"does not answer; .* mesh-lab clean --cluster kube:test"):
        cluster.__exit__()
    assert api.left()


def test_a_process_that_takes_its_time_to_be_ready_is_not_cut_off_by_its_own_exec(
    cluster: KubeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience = {}

    def noted(*given: Any, **named: Any) -> tuple[int, bytes, bytes]:
        patience[given[4][-1]] = named["timeout_s"]
        return ApiClient.exec(*given, **named)

    monkeypatch.setattr(cluster.client, "exec", partial(noted, cluster.client))
    with cluster:
        cluster.deploy(LAYOUT)
    assert patience["start"] > READY_S


def test_a_pod_without_image_fails_at_once_and_nothing_is_left(cluster: KubeCluster, api: Api) -> None:
    waiting: dict[str, object] = {
        "name": "load",
        "image": "i:1",
        "state": {"waiting": {"reason": "ErrImagePull", "message": "x"}},
    }
    waiting |= {"imageID": "", "ready": False, "restartCount": 0}
    api.refuse["a-rm-client"] = {"containerStatuses": [waiting]}
    with pytest.raises(CannotRun, match=r"no image i:1 .*ErrImagePull.*kind load image-archive"), cluster:
        cluster.deploy(LAYOUT)
    assert api.left() == []


@pytest.mark.parametrize("where", ["client", "process"])
def test_an_interrupted_run_leaves_nothing(
    cluster: KubeCluster, api: Api, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if where == "process":
        monkeypatch.setattr(KubeProcess, "start", interrupt)

    def run() -> None:
        with cluster:
            cluster.deploy(LAYOUT)
            interrupt()

    with pytest.raises(KeyboardInterrupt):
        run()
    assert api.left() == []


def test_a_second_run_is_refused_and_the_first_named_until_it_is_cleaned(
    served: tuple[Api, Path], cluster: KubeCluster
) -> None:
    api, kubeconfig = served
    foreign = {"metadata": {"name": "foreign", "labels": {"app.kubernetes.io/managed-by": "another"}}}
    api.objects["namespaces", "", "foreign"] = foreign
    with cluster:
        cluster.deploy(LAYOUT)
        with pytest.raises(Mistake, match=r"run run-1 holds this cluster .*mesh-lab clean --cluster kube:test"):
            KubeCluster("two", "test", kubeconfig).__enter__()
        client = ApiClient("test", kubeconfig)
        assert remains.clean(client, "other") == ()
        assert remains.clean(client, "Run_1") == (
            "namespace mesh-lab-run-1 (run run-1)",
            "namespace mesh-lab-run-1-nodes (run run-1)",
        )
        client.close()
    assert api.left() == ["namespaces/foreign"]


def test_rights_and_quotas_are_named(cluster: KubeCluster, served: tuple[Api, Path]) -> None:
    api, kubeconfig = served
    api.denied.add(("create", "pods/exec"))
    with pytest.raises(CannotRun, match=r"may not create pods/exec; `mesh-lab manifests --rights`"), cluster:
        pass
    api.denied.clear()
    api.forbidden["Pod"] = 'pods "x" is forbidden: exceeded quota: small'
    other = KubeCluster("two", "test", kubeconfig)
    with pytest.raises(CannotRun, match="exceeded quota: small; raise the quota"), other:
        other.deploy(LAYOUT)
    assert api.left() == []


def test_too_few_nodes_are_a_clear_word(served: tuple[Api, Path]) -> None:
    api, kubeconfig = served
    del api.objects["nodes", "", "two"]
    why = r"wants 2 nodes.*on one; add a node, or ask for --placement same_node"
    with pytest.raises(CannotRun, match=why), KubeCluster("r", "test", kubeconfig) as cluster:
        cluster.deploy(LAYOUT)


def test_a_server_that_does_not_answer_and_a_context_that_is_not_there_are_named(
    served: tuple[Api, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, kubeconfig = served
    with pytest.raises(Mistake, match=r"no context 'nope' in .*; there are test"):
        KubeCluster("r", "nope", kubeconfig)
    with pytest.raises(Mistake, match=r"there is no kubeconfig .*none; set KUBECONFIG"):
        KubeCluster("r", "test", tmp_path / "none")
    closed = tmp_path / "closed"
    closed.write_text(kubeconfig.read_text().replace("127.0.0.1:", "127.0.0.1:1#"))
    with pytest.raises(Failed, match=r"context 'test' does not answer.*is the cluster running"):
        KubeCluster("r", "test", closed).__enter__()
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    assert choice.settled("kube") == "kube:test"
    with pytest.raises(Mistake, match="'kubes' is unknown; allowed: local, kind"):
        choice.settled("kubes")


def test_what_is_being_deleted_already_is_waited_for(cluster: KubeCluster, api: Api) -> None:
    labels = {"app.kubernetes.io/managed-by": "mesh-datapath-lab"}
    meta = {"name": "mesh-lab-before", "labels": labels, "deletionTimestamp": "2026-01-01T00:00:00Z"}
    api.objects["namespaces", "", "mesh-lab-before"] = {"metadata": meta}
    with cluster:
        assert api.left() == []
