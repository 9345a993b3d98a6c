"""From what was created to who is where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lab.cluster import Layout, Mesh, Node, Pod, PodSpec, Service
from lab.cluster.kubernetes import names, nodes

Json = Mapping[str, Any]


def mesh(layout: Layout, used: Sequence[Json], pods: Mapping[str, Json], services: Mapping[str, Json]) -> Mesh:
    """The layout with addresses; `pods` and `services` are the API server's objects, by their names there."""
    addresses = {spec.name: str(pods[names.dns(spec.name)]["status"]["podIP"]) for spec in layout.pods}
    arms = dict.fromkeys((*(p.arm for p in layout.pods), *(s.arm for s in layout.services)))
    return Mesh(
        nodes=tuple(Node(f"node{i}", i, nodes.address(node)) for i, node in enumerate(used)),
        pods=tuple(_pod(spec, addresses[spec.name], pods[names.dns(spec.name)]) for spec in layout.pods),
        services=tuple(
            Service(
                s.name,
                s.arm,
                str(services[names.dns(s.name)]["spec"]["clusterIP"]),
                s.port,
                tuple(addresses[p] for p in s.pods),
            )
            for s in layout.services
        ),
        slots={arm: slot for slot, arm in enumerate(arms)},
    )


def _pod(spec: PodSpec, address: str, pod: Json) -> Pod:
    return Pod(spec.name, f"node{spec.node}", spec.arm, spec.app, address, None, str(pod["metadata"]["uid"]))
