"""Which nodes of a cluster to measure on, and what is known of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lab.record import CannotRun, Mistake

Json = Mapping[str, Any]

CONTROL_PLANE = frozenset({"node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"})
FACTS = ("kubeletVersion", "kernelVersion", "containerRuntimeVersion", "osImage", "architecture")


def chosen(nodes: Iterable[Json], count: int, wanted: Sequence[str] = ()) -> tuple[Json, ...]:
    """Up to `count` nodes that are ready and take pods, workers first, by name; or exactly the `wanted` ones.

    `Mistake` for a wanted node that is not there; `CannotRun` where no node can be used.
    """
    there = {node["metadata"]["name"]: node for node in nodes}
    if strange := [name for name in wanted if name not in there]:
        raise Mistake(f"no node {strange[0]!r} in this cluster; there are {', '.join(sorted(there))}")
    if wanted:
        return tuple(there[name] for name in wanted)
    workers = [node for _, node in sorted(there.items()) if usable(node) and not _control(node)]
    if workers:
        return tuple(workers[:count])
    others = [node for _, node in sorted(there.items()) if ready(node) and _control(node)]
    if not others:
        states = "; ".join(f"{name}: {_why(node)}" for name, node in sorted(there.items())) or "there is none"
        raise CannotRun(f"no node of this cluster takes pods ({states}); see `kubectl describe nodes`")
    return tuple(others[:count])


def usable(node: Json) -> bool:
    """Ready, not cordoned, and with no taint that keeps ordinary pods away."""
    return ready(node) and not any(t.get("effect") != "PreferNoSchedule" for t in _taints(node))


def ready(node: Json) -> bool:
    """Does its kubelet say that it is well, and may pods be placed there?"""
    conditions = node.get("status", {}).get("conditions", ())
    well = any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)
    return well and not node.get("spec", {}).get("unschedulable")


def address(node: Json) -> str:
    """Its own address, as pods reach it."""
    found = {a["type"]: a["address"] for a in reversed(node.get("status", {}).get("addresses", ()))}
    if "InternalIP" not in found:
        raise CannotRun(f"node {node['metadata']['name']} has no internal address; is its kubelet running?")
    return str(found["InternalIP"])


def facts(nodes: Sequence[Json]) -> dict[str, str]:
    """What the used nodes are, by number: their names, versions, kernels, systems."""
    found = {}
    for number, node in enumerate(nodes):
        info = node.get("status", {}).get("nodeInfo", {})
        found[f"node{number}"] = str(node["metadata"]["name"])
        found |= {f"node{number}_{name}": str(info[name]) for name in FACTS if name in info}
        cores = node.get("status", {}).get("capacity", {}).get("cpu")
        found |= {f"node{number}_cores": str(cores)} if cores else {}
    return found


def cni(sets: Iterable[Json]) -> str:
    """The network plug-in, by the names of kube-system's daemon sets; `unknown` where none is known."""
    known = (
        "kindnet",
        "calico",
        "canal",
        "cilium",
        "flannel",
        "antrea",
        "weave",
        "aws-node",
        "kube-router",
        "azure-cni",
    )
    names = sorted(s["metadata"]["name"] for s in sets)
    found = [name for name in names if any(k in name for k in known)]
    return ",".join(found) or "unknown"


def proxy_mode(config: Json | None, sets: Iterable[Json]) -> str:
    """kube-proxy's mode, by its configuration: an empty mode means iptables."""
    if not any(s["metadata"]["name"].startswith("kube-proxy") for s in sets):
        return "none found"
    text = (config or {}).get("data", {}).get("config.conf")
    if text is None:
        return "unknown"
    for line in text.splitlines():
        if line.startswith("mode:"):
            return line.partition(":")[2].strip().strip("\"'") or "iptables"
    return "iptables"


def _control(node: Json) -> bool:
    return bool(CONTROL_PLANE & node["metadata"].get("labels", {}).keys())


def _taints(node: Json) -> Sequence[Json]:
    return node.get("spec", {}).get("taints") or ()


def _why(node: Json) -> str:
    if not ready(node):
        return "cordoned" if node.get("spec", {}).get("unschedulable") else "not ready"
    return "tainted " + ", ".join(t["key"] for t in _taints(node))
