"""Policy and receive buffers that are full: what TCP drops behind the judgement is never taken for what was judged."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import policy_receiver
import pytest
from bpf_mesh import ARM, CLIENT, PORT, SERVER, needs, pods, script

from datapaths.bpf.policy import Policy
from datapaths.ebpf import Ebpf, identities
from lab.cluster import Line, ProcessSpec
from lab.cluster.local import LocalCluster
from lab.record import Need

pytestmark = needs(Ebpf.needs | {Need.BPF_SK_MSG})

RULES = {"requests": [{"from": "client", "to": "server", "methods": ["GET"], "routes": ["/public/**"]}]}
SET_UPS = {"neither": (), "server": ("server",), "client": ("client",), "both": ("server", "client")}
TRIES = 5
PLAYER = policy_receiver.__file__
ports = itertools.count(PORT)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with pods(tmp_path_factory.mktemp("state")) as opened:
        yield opened


def played(cluster: LocalCluster, sides: tuple[str, ...], when: str) -> tuple[dict[str, Any], dict[str, int]]:
    """What the server read, and what the policies of both sides counted together."""
    acting = [Policy(told(cluster, SERVER if side == "server" else CLIENT), sides=(side,)) for side in sides]
    place = (cluster.mesh.pod(SERVER).address, str(next(ports)))
    try:
        spec = script("receiver", PLAYER, "server", *place, when)
        server = cluster.run(SERVER, ARM, ProcessSpec(spec.name, spec.argv, spec.part, ready=Line("ready")))
        client = cluster.run(CLIENT, ARM, script("sender", PLAYER, "client", *place))
        assert server.wait(60) == 0, server.read("stderr").decode()
        assert client.wait(60) == 0, client.read("stderr").decode()
        counts = [each.totals() for each in acting]
    finally:
        for each in acting:
            each.close()
    found: dict[str, Any] = json.loads(server.read("stdout").decode().splitlines()[1])
    return found, {name: sum(count[name] for count in counts) for name in (counts[0] if counts else ())}


def told(cluster: LocalCluster, pod: str) -> dict[str, Any]:
    return {"cgroups": [str(cluster.mesh.pod(pod).cgroup)], "identities": identities(cluster.mesh), "policy": RULES}


@pytest.mark.parametrize("set_up", SET_UPS)
def test_what_a_small_receive_buffer_announces_it_takes(cluster: LocalCluster, set_up: str) -> None:
    found, counts = played(cluster, SET_UPS[set_up], "before")
    assert found["as_sent"]
    assert found["bytes"] == found["of"]
    assert not counts.get("poisoned")


@pytest.mark.parametrize("set_up", ["server", "both"])
def test_a_buffer_that_shrinks_below_its_window_loses_nothing_but_with_a_reason(
    cluster: LocalCluster, set_up: str
) -> None:
    found, counts = played(cluster, SET_UPS[set_up], "after")
    assert found["as_sent"]
    assert (found["bytes"] == found["of"]) == (counts["denied_resent"] == 0)
    assert counts["poisoned"] == counts["denied_resent"] <= 1


def test_bytes_that_were_judged_and_dropped_by_tcp_are_refused_when_they_are_sent_anew(cluster: LocalCluster) -> None:
    for _ in range(TRIES):  # whether the buffer is full before the reader wakes is up to the scheduler
        found, counts = played(cluster, SET_UPS["server"], "after")
        if counts["denied_resent"]:
            assert found["as_sent"]
            assert found["bytes"] < found["of"]
            return
    pytest.fail(f"TCP dropped nothing that was judged, in {TRIES} tries")
