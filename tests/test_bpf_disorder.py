"""Counts over a network that loses and reorders packets."""

from __future__ import annotations

import shutil

import pytest
from bpf_disorder import counted
from bpf_mesh import needs

from datapaths.ebpf import Ebpf

pytestmark = [
    needs(Ebpf.needs),
    pytest.mark.skipif(
        not shutil.which("h2load"), reason="h2load is missing; install it with: apt-get install nghttp2-client"
    ),
]
REQUESTS = 40_000


def test_every_request_is_counted_once_although_packets_are_lost_and_overtake_each_other() -> None:
    found = counted(REQUESTS, connections=50, drop=2000, delay=20)
    network, totals = found["network"], found["counted"]
    assert isinstance(network, dict)
    assert isinstance(totals, dict)
    assert found["succeeded"] == REQUESTS
    assert all(each["dropped"] and each["delayed"] for each in network.values())
    for side in ("server", "client"):
        seen = {name: totals[side][name] for name in ("requests", "answered", "unanswered", "not_http", "holes")}
        assert seen == {"requests": REQUESTS, "answered": REQUESTS, "unanswered": 0, "not_http": 0, "holes": 0}
