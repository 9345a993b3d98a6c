"""The arm `ebpf_fastpath` as the lab measures it, on one node and on two."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from bpf_mesh import needs

from datapaths.bpf.fastpath import Fastpath
from datapaths.ebpf_fastpath import EbpfFastpath
from lab.cluster.local import LocalCluster
from lab.record import Arm, Block, BlockKind, Load, Mistake, Need, Placement, Trial, Window
from lab.trial import measure

NAME = "ebpf_fastpath"


@needs(EbpfFastpath.needs | {Need.NGINX, Need.CGROUP2})
@pytest.mark.parametrize("placement", list(Placement))
def test_its_count_equals_the_requests_sent_wherever_the_pods_are(placement: Placement, tmp_path: Path) -> None:
    windows = (Window(0, 0, NAME, 0.0, 1.0),)
    blocks = tuple(
        Block(f"{size}", BlockKind.COST, Load(500, 8, response_bytes=size), windows, guard_s=0.2)
        for size in (128, 100_000)
    )
    asked = Trial("fastpath", "fastpath", 1, 1, (Arm(NAME, NAME),), (0,), placement, blocks)
    with LocalCluster(f"fastpath-{os.getpid()}", state=tmp_path) as cluster:
        (run,) = measure(asked, cluster, lambda _: None).runs
    proofs = [f for f in run.findings if f.gate in {"accounting", "errors"}]
    assert len([f for f in proofs if f.gate == "accounting"]) == len(blocks)
    assert all(f.passed for f in proofs), proofs


def test_it_reads_on_the_servers_side_only() -> None:
    with pytest.raises(Mistake, match="servers' side"):
        Fastpath({"http": {"side": "client"}}, None)
