"""A whole mesh in the kernel: services are balanced at the socket, policy by identity, metrics and traces, no proxy."""

from __future__ import annotations

from datapaths.ebpf_policy import EbpfPolicy
from datapaths.ebpf_tracing import EbpfTracing
from lab.record import Feature, Need


class EbpfMesh(EbpfPolicy, EbpfTracing):
    """One agent a node with all its parts."""

    features = EbpfPolicy.features | EbpfTracing.features | {Feature.LOAD_BALANCING}
    needs = EbpfPolicy.needs | EbpfTracing.needs | {Need.BPF_CGROUP_CONNECT}
    parts = ("tracing", "balance", "policy")
