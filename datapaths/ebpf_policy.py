"""The kernel reads HTTP/1.x and lets through only what identity, method and path allow; the rest is answered 403."""

from __future__ import annotations

from datapaths.ebpf import Ebpf
from lab.cluster import Mesh, Node
from lab.record import Feature, Need

OTHER_RULES = 20
"""Rules beside those that the workload needs: a mesh has more than one service."""


class EbpfPolicy(Ebpf):
    """One agent a node. Everything is denied but the workload's own requests."""

    features = Ebpf.features | {Feature.L4_POLICY, Feature.L7_POLICY}
    needs = Ebpf.needs | {Need.BPF_SK_MSG}
    parts: tuple[str, ...] = ("http", "policy")

    def told(self, node: Node, mesh: Mesh) -> dict[str, object]:
        return super().told(node, mesh) | {"policy": policy()}


def policy() -> dict[str, object]:
    """Clients may GET the paths that the lab's server knows, and nothing else; other rules are about other routes."""
    own = {"from": "client", "to": "server", "methods": ["GET"], "routes": ["/", "/bytes/**", "/sleep/**"]}
    others = [
        {
            "from": f"app-{i}",
            "to": "server",
            "methods": ["GET", "POST"],
            "routes": [f"/api/{i}/{{id}}", f"/static/{i}/**"],
        }
        for i in range(OTHER_RULES)
    ]
    return {
        "mode": "enforce",
        "default": "deny",
        "connections": [{"from": "client", "to": "server"}],
        "requests": [*others, own],
    }
