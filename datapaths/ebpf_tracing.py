"""The kernel reads HTTP/1.x and takes spans of some requests, by their traceparent, to an exporter on the node."""

from __future__ import annotations

from datapaths.ebpf import Ebpf
from lab.cluster import Mesh, Node
from lab.record import Feature, Need

EVERY = 100
"""One request in so many gives a span, unless its caller has decided."""


class EbpfTracing(Ebpf):
    """One agent a node with an exporter beside it, which writes OTLP as JSON lines into the agent's folder."""

    features = Ebpf.features | {Feature.TRACING}
    needs = Ebpf.needs | {Need.BPF_RINGBUF}
    parts: tuple[str, ...] = ("tracing",)

    def told(self, node: Node, mesh: Mesh) -> dict[str, object]:
        return super().told(node, mesh) | {"tracing": {"every": EVERY, "otlp": "file:{dir}/spans.json"}}
