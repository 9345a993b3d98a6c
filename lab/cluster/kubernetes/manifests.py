"""Pods, services, namespaces as plain JSON types, made from a layout by pure functions.

Every container runs the guest and nothing else; what a specification asks is started by it later. So a container's
security is known from the start, and its address before anything opens a socket.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lab.cluster import Layout, Part, PodSpec, Privilege, ProcessSpec, ServiceSpec
from lab.cluster.kubernetes import names
from lab.cluster.place import PROJECT, PYTHON, USER, portable
from lab.record import Mistake

Json = dict[str, Any]

ACCOUNT = "mesh-lab"
LOAD = "load"  # the container of client pods that engines are started in
ANY = "any"  # how the container of a node's pod begins that was made for what comes later
WORK = "/run/mesh-lab"  # a container's own folder, as the guest expects it
TOLD = "/etc/mesh-lab"  # where an init step finds its specification
GRACE_S = 10  # of pods: agents detach within the guest's own 5 s
GUEST = (PYTHON, "-IS", f"{PROJECT}/lab/cluster/guest.py")
SECURITY = "pod-security.kubernetes.io"
PLAIN_ROOT = ("NET_BIND_SERVICE", "SETUID", "SETGID", "CHOWN", "KILL", "DAC_OVERRIDE")
REQUESTS = {"cpu": "20m", "memory": "32Mi"}
HOST_MOUNTS = (("cgroup", "/sys/fs/cgroup"), ("bpf", "/sys/fs/bpf"), ("debug", "/sys/kernel/debug"))


def namespaces(run: str, layout: Layout) -> list[Json]:
    """One for the pods, with the strictest Pod Security level that they need, and a privileged one for the nodes'."""
    return [_namespace(run, names.namespace(run), level(layout)), _namespace(run, names.node_namespace(run), NODES)]


NODES = "privileged"  # node pods share the host's network and process numbers


def level(layout: Layout) -> str:
    """The Pod Security level that the layout's own pods need; what others put into them may write rules, too."""
    plain = all(not p.privileges and p.user for pod in layout.pods for p in (*pod.init, *pod.processes))
    return "restricted" if plain and not any(pod.joined for pod in layout.pods) else "privileged"


def _namespace(run: str, name: str, security: str) -> Json:
    held = {f"{SECURITY}/{mode}": security for mode in ("enforce", "warn", "audit")}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": names.labels(run) | held},
    }


def account(run: str, namespace: str) -> Json:
    """The account that pods run under. It has no right at all and no token: nothing in them talks to Kubernetes."""
    meta = {"name": ACCOUNT, "namespace": namespace, "labels": names.labels(run)}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta, "automountServiceAccountToken": False}


def init_files(run: str, pod: PodSpec) -> Json | None:
    """The specifications of a pod's init steps, for their guests to read; None where there is none."""
    if not pod.init:
        return None
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": f"{names.dns(pod.name)}-init",
            "namespace": names.namespace(run),
            "labels": names.labels(run),
        },
        "immutable": True,
        "data": {f"{names.dns(spec.name)}.json": json.dumps(told(spec), sort_keys=True) for spec in pod.init},
    }


def told(spec: ProcessSpec) -> Json:
    """What a guest must know to start a process."""
    made = portable(spec)
    return {"name": spec.name, "argv": list(made.argv), "files": dict(made.files), "env": dict(made.env)}


def service(run: str, spec: ServiceSpec) -> Json:
    """The stable address in front of the pods that bear its label."""
    name = names.dns(spec.name)
    meta = {
        "name": name,
        "namespace": names.namespace(run),
        "labels": names.labels(run, **{names.ARM: names.dns(spec.arm)}),
    }
    ports = [{"name": "http", "port": spec.port, "targetPort": spec.port, "protocol": "TCP"}]
    selector = {names.RUN: names.dns(run), _behind(name): "true"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": {"type": "ClusterIP", "selector": selector, "ports": ports},
    }


def _behind(service_name: str) -> str:
    return f"{names.LAB}/behind-{service_name}"


def pod(run: str, spec: PodSpec, node: str, services: Iterable[ServiceSpec], image: str) -> Json:
    """A pod of the layout on a node. One that runs no application gets a container for load engines."""
    containers = [container(p.name, image, p) for p in spec.processes]
    if all(p.part is not Part.APP for p in spec.processes):
        containers.append(_load(image))
    volumes = [_own(c["name"]) for c in containers]
    inits = [_init(p, image) for p in spec.init]
    if inits:
        volumes += [_own(c["name"]) for c in inits]
        volumes.append({"name": "told", "configMap": {"name": f"{names.dns(spec.name)}-init"}})
    behind = {_behind(names.dns(s.name)): "true" for s in services if spec.name in s.pods}
    more = {names.POD: names.dns(spec.name), names.ARM: names.dns(spec.arm), names.ROLE: "pod", **behind}
    body = _body(node, containers, volumes) | {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}
    if inits:
        body["initContainers"] = inits
    meta = _meta(run, names.dns(spec.name), names.namespace(run), {**spec.labels, **more}, spec.processes)
    if spec.annotations:
        meta["annotations"] = {**meta.get("annotations", {}), **spec.annotations}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": body}


def others(run: str, layout: Layout) -> list[Json]:
    """Objects of kinds that are not Kubernetes' own, in the namespace of the pods."""
    made = []
    for each in layout.objects:
        labels = {**each["metadata"].get("labels", {}), **names.labels(run)}
        meta = {**each["metadata"], "namespace": names.namespace(run), "labels": labels}
        made.append({**each, "metadata": meta})
    return made


def node_pod(run: str, name: str, arm: str, node: str, specs: Sequence[ProcessSpec], image: str) -> Json:
    """A pod with the node's own network for what an arm, or the lab, runs on a node: one container a process."""
    bpf = any(Privilege.BPF in spec.privileges for spec in specs)
    containers = [container(spec.name, image, spec) for spec in specs]
    volumes = [_own(c["name"]) for c in containers]
    if bpf:
        volumes += [{"name": what, "hostPath": {"path": path}} for what, path in HOST_MOUNTS]
    body = _body(node, containers, volumes) | {
        "hostNetwork": True,
        "hostPID": bpf,
        "dnsPolicy": "Default",
        "tolerations": [{"operator": "Exists"}],
    }
    more = {names.POD: name, names.ARM: names.dns(arm), names.ROLE: "node"}
    meta = _meta(run, name, names.node_namespace(run), more, specs)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": body}


def shared(spec: ProcessSpec) -> ProcessSpec:
    """What stands for all processes of an arm that come later, on a node, with the same user and privileges."""
    name = names.dns("-".join((ANY, str(spec.user), *sorted(spec.privileges))))
    return ProcessSpec(name, (), spec.part, user=spec.user, privileges=spec.privileges)


def _meta(run: str, name: str, namespace: str, more: Mapping[str, str], starts: Iterable[ProcessSpec]) -> Json:
    notes = {f"{names.STARTS}-{names.dns(p.name)}": shlex.join(portable(p).argv) for p in starts if p.argv}
    return {
        "name": name,
        "namespace": namespace,
        "labels": names.labels(run, **more),
        **({"annotations": notes} if notes else {}),
    }


def _body(node: str, containers: Sequence[Json], volumes: Sequence[Json]) -> Json:
    return {
        "nodeName": node,
        "serviceAccountName": ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_S,
        "containers": list(containers),
        "volumes": list(volumes),
    }


def container(name: str, image: str, spec: ProcessSpec) -> Json:
    """The container that a process is started in: its user, its capabilities, the host's file systems for BPF."""
    label = names.dns(name)
    if label == LOAD and spec.part is not Part.LOAD:
        raise Mistake(f"a process called {name!r}; that is the name of the load engines' container: give it another")
    mounts = [{"name": f"work-{label}", "mountPath": WORK}]
    if Privilege.BPF in spec.privileges:
        mounts += [{"name": what, "mountPath": path} for what, path in HOST_MOUNTS]
    return {
        "name": label,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": [*GUEST, "serve"],
        "workingDir": PROJECT,
        "resources": {"requests": dict(REQUESTS)},
        "securityContext": security(spec),
        "volumeMounts": mounts,
    }


def _load(image: str) -> Json:
    return container(LOAD, image, ProcessSpec(LOAD, (), Part.LOAD, user=USER))


def _init(spec: ProcessSpec, image: str) -> Json:
    made = container(spec.name, image, spec)
    made["command"] = [*GUEST, "once", f"{TOLD}/{made['name']}.json"]
    made["volumeMounts"].append({"name": "told", "mountPath": TOLD, "readOnly": True})
    return made


def _own(label: str) -> Json:
    return {"name": f"work-{label}", "emptyDir": {}}


def security(spec: ProcessSpec) -> Json:
    """As little as the process needs: what `lab.cluster.skin` gives it on this machine, in Kubernetes' words."""
    if Privilege.BPF in spec.privileges:
        return {"privileged": True, "runAsUser": 0, "runAsGroup": 0}
    added = ["NET_ADMIN", "NET_RAW"] if Privilege.NET_ADMIN in spec.privileges else []
    added += PLAIN_ROOT if spec.user == 0 else ()
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"], **({"add": added} if added else {})},
        "runAsUser": spec.user,
        "runAsGroup": spec.user,
        "runAsNonRoot": spec.user != 0,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def everything(run: str, layout: Layout, nodes: Sequence[str], image: str) -> list[Json]:
    """What is applied before any address is known, in order: all but the nodes' pods."""
    made = namespaces(run, layout)
    made += [account(run, each["metadata"]["name"]) for each in namespaces(run, layout)]
    made += [files for each in layout.pods if (files := init_files(run, each)) is not None]
    made += [service(run, each) for each in layout.services]
    made += others(run, layout)
    made += [pod(run, each, nodes[each.node], layout.services, image) for each in layout.pods]
    return made
