"""Why pods do not come up, as kubelets and schedulers have said it: each becomes a line with what to do."""

from __future__ import annotations

from typing import Any

import pytest

from lab.cluster.kubernetes import failures, nodes
from lab.cluster.kubernetes.client import refused
from lab.record import CannotRun, Failed, Mistake

Json = dict[str, Any]
IMAGE = "mesh-datapath-lab:0.1.0"


def pod(**status: Any) -> Json:
    spec = {"nodeName": "worker", "containers": [{"name": "nginx"}]}
    return {"metadata": {"name": "p", "uid": "u"}, "spec": spec, "status": {"phase": "Pending", **status}}


def state(which: str, **more: Any) -> list[Json]:
    return [{"name": "nginx", "image": IMAGE, "state": {which: more}, "ready": which == "running"}]


PULL = 'Back-off pulling image "mesh-datapath-lab:0.1.0"'
OOM = {"exitCode": 137, "reason": "OOMKilled"}
CPU = "Node didn't have enough resource: cpu, requested: 20, used: 1990, capacity: 2000"
TAINT = "0/3 nodes are available: 1 node(s) had untolerated taint {dedicated: db}."


@pytest.mark.parametrize(
    ("status", "kind", "why"),
    [
        ({"containerStatuses": state("waiting", reason="ImagePullBackOff", message=PULL)}, CannotRun, "kind load"),
        ({"containerStatuses": state("waiting", reason="ErrImagePull", message="rpc error")}, CannotRun, IMAGE),
        ({"containerStatuses": state("waiting", reason="ErrImageNeverPull")}, CannotRun, "ErrImageNeverPull"),
        (
            {"containerStatuses": state("waiting", reason="CreateContainerConfigError", message="no configmap")},
            Failed,
            "container nginx cannot be made .*no configmap",
        ),
        ({"containerStatuses": state("terminated", **OOM)}, Failed, r"exit code 137 \(OOMKilled\)"),
        ({"initContainerStatuses": state("terminated", exitCode=1, reason="Error")}, Failed, "exit code 1"),
        (
            {
                "containerStatuses": [
                    {**state("waiting", reason="CrashLoopBackOff")[0], "lastState": {"terminated": {"exitCode": 2}}}
                ]
            },
            Failed,
            "exit code 2",
        ),
        ({"phase": "Failed", "reason": "OutOfcpu", "message": CPU}, CannotRun, "refused by node worker: OutOfcpu"),
        (
            {"conditions": [{"type": "PodScheduled", "reason": "Unschedulable", "message": TAINT}]},
            CannotRun,
            "untolerated taint",
        ),
    ],
)
def test_what_will_not_mend_itself_is_said_at_once(status: Json, kind: type[Exception], why: str) -> None:
    with pytest.raises(kind, match=why):
        raise failures.verdict(pod(**status)) or AssertionError("nothing was found wrong")


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"containerStatuses": state("waiting", reason="ContainerCreating")},
        {"containerStatuses": state("running")},
        {"initContainerStatuses": state("terminated", exitCode=0, reason="Completed")},
    ],
)
def test_what_may_still_come_up_is_waited_for(status: Json) -> None:
    assert failures.verdict(pod(**status)) is None


def test_a_pod_is_up_with_all_containers_and_an_address() -> None:
    assert failures.running(pod(containerStatuses=state("running"), podIP="192.0.2.9"))
    assert not failures.running(pod(containerStatuses=state("running")))
    assert not failures.running(pod(podIP="192.0.2.9"))


def test_a_proxy_that_a_mesh_has_put_beside_must_be_ready_and_not_only_run() -> None:
    late = {"name": "istio-proxy", "image": IMAGE, "state": {"running": {}}, "ready": False}
    beside = pod(containerStatuses=[*state("running"), late], podIP="192.0.2.9")
    beside["spec"]["containers"].append({"name": "istio-proxy"})
    assert not failures.running(beside)
    late["ready"] = True
    assert failures.running(beside)


def test_a_native_sidecar_counts_and_an_init_step_that_is_over_does_not() -> None:
    over = {"name": "istio-init", "image": IMAGE, "state": {"terminated": {"exitCode": 0}}, "ready": True}
    native = {"name": "istio-proxy", "image": IMAGE, "state": {"running": {}}, "ready": False, "started": True}
    up = pod(containerStatuses=state("running"), initContainerStatuses=[over, native], podIP="192.0.2.9")
    up["spec"]["initContainers"] = [{"name": "istio-init"}, {"name": "istio-proxy", "restartPolicy": "Always"}]
    assert not failures.running(up)
    assert failures.verdict(up) is None
    native["ready"] = True
    assert failures.running(up)


def test_a_pod_that_is_late_says_what_it_waits_for() -> None:
    late = pod(containerStatuses=state("waiting", reason="ContainerCreating"))
    told = {"type": "Warning", "reason": "FailedCreatePodSandBox", "message": "plugin not ready"}
    events = [{**told, "involvedObject": {"uid": "u"}}, {**told, "involvedObject": {"uid": "other"}, "message": "no"}]
    said = failures.waiting(late, events)
    assert said == "nginx: ContainerCreating; FailedCreatePodSandBox: plugin not ready"
    assert failures.waiting(pod(), ()) == "phase Pending, nothing else is said"


def test_a_container_that_ended_brings_its_last_lines() -> None:
    broken = failures.verdict(pod(containerStatuses=state("terminated", exitCode=1)))
    assert isinstance(broken, failures.Broken)
    assert str(broken.with_log("one\ntwo\n")).endswith("its last output:\n  one\n  two")


@pytest.mark.parametrize(
    ("code", "message", "kind", "why"),
    [
        (401, "Unauthorized", CannotRun, "is not let in; renew its credentials"),
        (403, 'pods "p" is forbidden: exceeded quota: q', CannotRun, "raise the quota"),
        (403, 'cannot create resource "pods/exec"', CannotRun, "--rights"),
        (403, 'violates PodSecurity "restricted:latest": privileged', CannotRun, "violates PodSecurity"),
        (500, "etcd", Failed, "answer 500"),
    ],
)
def test_refusals_of_the_server_say_what_to_do(code: int, message: str, kind: type[Exception], why: str) -> None:
    with pytest.raises(kind, match=why):
        raise refused("create Pod p", "kind-x", code, message)


def node(name: str, *, ready: bool = True, cordoned: bool = False, control: bool = False, taint: str = "") -> Json:
    taints = [{"key": taint, "effect": "NoSchedule"}] if taint else None
    labels = {"node-role.kubernetes.io/control-plane": ""} if control else {}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"unschedulable": cordoned, "taints": taints},
        "status": {"conditions": [{"type": "Ready", "status": str(ready)}]},
    }


def chosen(*there: Json, wanted: tuple[str, ...] = ()) -> list[str]:
    return [n["metadata"]["name"] for n in nodes.chosen(there, 2, wanted)]


def test_workers_that_take_pods_are_chosen_by_name_and_the_control_plane_only_where_there_is_nobody_else() -> None:
    master = node("a", control=True, taint="node-role.kubernetes.io/control-plane")
    ill = [node("b", ready=False), node("c", cordoned=True), node("d", taint="dedicated")]
    assert chosen(node("z"), master, node("y"), *ill, node("x")) == ["x", "y"]
    assert chosen(master) == ["a"]
    assert chosen(master, node("y"), node("x"), wanted=("y", "a")) == ["y", "a"]
    with pytest.raises(Mistake, match="no node 'q' in this cluster; there are a"):
        chosen(master, wanted=("q",))
    with pytest.raises(CannotRun, match="b: not ready; c: cordoned; d: tainted dedicated"):
        chosen(*ill)


def daemon(name: str) -> Json:
    return {"metadata": {"name": name}}


@pytest.mark.parametrize(
    ("config", "sets", "mode"),
    [
        ({"data": {"config.conf": "kind: X\nmode: ipvs\n"}}, ["kube-proxy"], "ipvs"),
        ({"data": {"config.conf": 'mode: ""\n'}}, ["kube-proxy"], "iptables"),
        (None, ["kube-proxy"], "unknown"),
        (None, ["cilium"], "none found"),
    ],
)
def test_kube_proxys_mode_is_in_its_configuration(config: Json | None, sets: list[str], mode: str) -> None:
    assert nodes.proxy_mode(config, [daemon(name) for name in sets]) == mode


def test_the_network_is_known_by_its_daemons() -> None:
    assert nodes.cni([daemon("kube-proxy"), daemon("kindnet")]) == "kindnet"
    assert nodes.cni([daemon("calico-node")]) == "calico-node"
    assert nodes.cni([daemon("mine")]) == "unknown"
