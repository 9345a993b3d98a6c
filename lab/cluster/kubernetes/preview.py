"""Everything that a deployment would apply, as text, without a cluster: for reviewers, and for the tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from lab.cluster import Layout, Mesh, Node, Part, Pod, Privilege, ProcessSpec, Service
from lab.cluster.kubernetes import manifests
from lab.cluster.kubernetes.client import ApiClient

RUN = "preview"
NODES = ("first-worker", "second-worker")
HEAD = """\
# What `mesh-lab run` applies for {what}, in this order. Every container idles in the lab's guest; what it
# is told to start by exec is in the annotations. Addresses that only a cluster gives are documentation addresses
# (192.0.2.0/24), nodes are called {nodes}, and the run is called {run}.
"""

Json = dict[str, Any]


def everything(layout: Layout, image: str) -> list[Json]:
    """The manifests of a layout on two nodes, the pods of its nodes and of the instruments on them among them."""
    made = manifests.everything(RUN, layout, NODES, image)
    mesh = assumed(layout)
    for node in mesh.nodes:
        made += _node_pods(node, layout, mesh, image)
    return made


def assumed(layout: Layout) -> Mesh:
    """The layout with addresses that documentation may use (RFC 5737)."""
    nodes = tuple(Node(f"node{i}", i, f"192.0.2.{i + 1}") for i in range(len(NODES)))
    addresses = {spec.name: f"192.0.2.{10 + i}" for i, spec in enumerate(layout.pods)}
    pods = tuple(
        Pod(s.name, f"node{s.node}", s.arm, s.app, addresses[s.name], None, f"uid-of-{s.name}") for s in layout.pods
    )
    services = tuple(
        Service(s.name, s.arm, f"192.0.2.{100 + i}", s.port, tuple(addresses[p] for p in s.pods))
        for i, s in enumerate(layout.services)
    )
    arms = dict.fromkeys((*(p.arm for p in pods), *(s.arm for s in services)))
    return Mesh(nodes, pods, services, {arm: slot for slot, arm in enumerate(arms)})


def _node_pods(node: Node, layout: Layout, mesh: Mesh, image: str) -> list[Json]:
    by_arm: dict[str, list[ProcessSpec]] = {}
    for arm, spec in layout.node_processes(node, mesh):
        by_arm.setdefault(arm, []).append(spec)
    meters = ProcessSpec("meters", (), Part.INSTRUMENT, user=0, privileges=frozenset({Privilege.BPF}))
    placed = NODES[node.index]
    made = [manifests.node_pod(RUN, f"{node.name}-{arm}", arm, placed, specs, image) for arm, specs in by_arm.items()]
    shared = manifests.shared(meters)
    return [
        *made,
        manifests.node_pod(RUN, f"{node.name}-instruments-{shared.name}", "instruments", placed, [shared], image),
    ]


def text(made: Iterable[Json], what: str) -> str:
    """As YAML documents, with a head that says what they are."""
    head = HEAD.format(what=what, nodes=" and ".join(NODES), run=RUN)
    return head + "".join("---\n" + document(each) for each in made)


def document(manifest: Mapping[str, Any]) -> str:
    """One object as YAML, without anchors."""
    return yaml.dump(manifest, Dumper=_Plain, sort_keys=False, width=120)


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def write(made: Iterable[Json], what: str, folder: Path) -> tuple[Path, ...]:
    """One file for each object, numbered in their order."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, each in enumerate(made):
        file = folder / f"{number:02}-{each['kind'].lower()}-{each['metadata']['name']}.yaml"
        file.write_text(HEAD.format(what=what, nodes=" and ".join(NODES), run=RUN) + document(each))
        files.append(file)
    return tuple(files)


def checked(made: Iterable[Json], client: ApiClient) -> int:
    """Let the API server judge them without keeping them (dry run); how many it took. `Failed` with what it refuses.

    Their namespaces are not there, so what is in them is judged as if it were in `default`, on the cluster's own nodes.
    """
    count = 0
    for each in made:
        meta = {**each["metadata"], **({"namespace": "default"} if "namespace" in each["metadata"] else {})}
        spec = {**each["spec"], "serviceAccountName": "default"} if each["kind"] == "Pod" else each.get("spec")
        client.create({**each, "metadata": meta, **({"spec": spec} if spec else {})}, dry_run=True)
        count += 1
    return count
