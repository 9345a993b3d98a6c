"""The kernel reads HTTP/1.x, and between pods of one node bytes go from socket to socket instead of by packets."""

from __future__ import annotations

from datapaths.ebpf import Ebpf
from lab.record import Feature, Need


class EbpfFastpath(Ebpf):
    """One agent a node. Connections to other nodes are read from packets, as by the arm `ebpf`."""

    features = Ebpf.features | {Feature.SAME_NODE_SPLICE}
    needs = Ebpf.needs | {Need.BPF_SK_MSG}
    parts = ("fastpath",)
