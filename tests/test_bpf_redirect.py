"""Connections brought to a node's proxy at the socket: neither the application nor the proxy can tell."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from bpf_mesh import ARM, CLIENT, PORT, SERVER, needs, pods, script

from datapaths.bpf.redirect import own_place
from datapaths.ebpf import agent, cgroup, port, services
from datapaths.pernode import PerNode
from lab.cluster import Line, ProcessSpec
from lab.cluster.launch import LocalProcess
from lab.cluster.local import LocalCluster
from lab.record import Failed, Need

pytestmark = needs(PerNode.needs - {Need.ENVOY})

SCRIPT = str(Path(__file__).with_name("bpf_destination.py"))
LISTENER, CONNECTIONS = 16001, 100


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    with pods(tmp_path) as opened:
        yield opened


def redirecting(cluster: LocalCluster) -> LocalProcess:
    """The agent on the client's node."""
    mesh = cluster.mesh
    node = mesh.nodes[0]
    told = {
        "cgroups": [cgroup(pod) for pod in mesh.on(node)],
        "services": services(mesh),
        "proxy": f"{node.address}:{LISTENER}",
    }
    return cluster.run(node.name, ARM, agent(("redirect",), mesh.slot, told))


def proxy(cluster: LocalCluster, where: str, address: str, number: int, count: int) -> LocalProcess:
    argv = script("", SCRIPT, "proxy", address, str(number), str(count)).argv
    return cluster.run(where, ARM, ProcessSpec("proxy", argv, script("").part, ready=Line("ready")))


def asked(cluster: LocalCluster, address: str, number: int, count: int) -> list[list[str]]:
    client = cluster.run(CLIENT, ARM, script("client", SCRIPT, "client", address, str(number), str(count)))
    assert client.wait(20) == 0, client.read("stderr").decode()
    return [line.split() for line in client.read("stdout").decode().splitlines()]


def test_the_application_sees_the_service_and_the_proxy_where_it_wanted_to_go(cluster: LocalCluster) -> None:
    node, service = cluster.mesh.nodes[0], cluster.mesh.services[0]
    redirecting(cluster)
    standing_in = proxy(cluster, node.name, node.address, LISTENER, CONNECTIONS)
    lines = asked(cluster, service.address, service.port, CONNECTIONS)
    wanted, pod = f"{service.address}:{service.port}", cluster.mesh.pod(CLIENT)
    assert [(peer, told) for _, peer, told in lines] == [(wanted, wanted)] * CONNECTIONS
    assert standing_in.wait(5) == 0
    at_proxy = dict(line.split() for line in standing_in.read("stdout").decode().splitlines()[1:])
    assert at_proxy == {own: wanted for own, _, _ in lines}
    assert all(own.startswith(f"{pod.address}:") for own in at_proxy)
    count = json.loads(cluster.fetch(node.name, port(cluster.mesh.slot), "/count"))
    assert count["redirect"] == {"redirected": CONNECTIONS, "answered": CONNECTIONS, "not_found": 0}
    assert b"mesh_redirect_open 0\n" in cluster.fetch(node.name, port(cluster.mesh.slot), "/metrics")


def test_what_is_no_service_of_the_mesh_goes_its_own_way(cluster: LocalCluster) -> None:
    redirecting(cluster)
    server = cluster.mesh.pod(SERVER)
    listening = script("web", "-m", "http.server", str(PORT), "--bind", server.address)
    cluster.run(
        SERVER,
        ARM,
        ProcessSpec("web", (*listening.argv[:1], "-u", *listening.argv[1:]), listening.part, ready=Line("Serving")),
    )
    fetch = f"import socket; s = socket.create_connection(('{server.address}', {PORT})); print(s.getpeername()[0])"
    client = cluster.run(CLIENT, ARM, script("client", "-c", fetch))
    assert client.wait(10) == 0
    assert client.read("stdout").decode().strip() == server.address
    assert json.loads(cluster.fetch("node0", port(cluster.mesh.slot), "/count"))["redirect"]["redirected"] == 0


def test_without_its_agent_a_pod_reaches_the_service_itself(cluster: LocalCluster) -> None:
    running = redirecting(cluster)
    service, server = cluster.mesh.services[0], cluster.mesh.pod(SERVER)
    os.kill(running.pids()[0], signal.SIGTERM)
    assert running.wait(5) == 0
    fetch = f"import socket; s = socket.create_connection(('{service.address}', {PORT}), 5); print(s.getpeername()[0])"
    listening = script("web", "-u", "-m", "http.server", str(PORT), "--bind", server.address)
    cluster.run(SERVER, ARM, ProcessSpec("web", listening.argv, listening.part, ready=Line("Serving")))
    client = cluster.run(CLIENT, ARM, script("client", "-c", fetch))
    assert client.wait(10) == 0
    assert client.read("stdout").decode().strip() == service.address


MOUNTS = """22 1 8:1 / / rw - ext4 /dev/root rw
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""


def test_the_agent_finds_its_own_cgroup_from_what_proc_says() -> None:
    groups = "4:cpu:/other\n0::/lab/run/arm/node0/agent\n"
    assert own_place(MOUNTS, groups) == Path("/sys/fs/cgroup/unified/lab/run/arm/node0/agent")
    bound = MOUNTS.replace(" / /sys", " /lab /sys")
    assert own_place(bound, groups) == Path("/sys/fs/cgroup/unified/run/arm/node0/agent")


def test_an_agent_in_no_cgroup_tree_says_so() -> None:
    with pytest.raises(Failed, match="mount -t cgroup2"):
        own_place("22 1 8:1 / / rw - ext4 /dev/root rw\n", "4:cpu:/x\n")
