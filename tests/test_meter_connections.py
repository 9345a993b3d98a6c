from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from meter_children import PORT, RELAY_PORT, WINDOW, block, child, stop, two_pods

from lab.cluster import Part
from lab.cluster.local import LocalCluster
from lab.meter import Watch
from lab.meter.connections import Connections, Openings, hops, path
from lab.meter.processes import of_arm
from lab.meter.sockets import Socket, established, structure_bytes
from lab.record import BlockKind, CannotRun, Failed, Reading

COUNTS = (2, 10, 100)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with two_pods(tmp_path_factory.mktemp("state"), child("serve")) as opened:
        yield opened


@pytest.fixture(scope="module")
def openings(cluster: LocalCluster) -> None:
    try:
        meter = Openings(cluster)
        meter.open(block(BlockKind.HOLD))
        meter.close()
    except CannotRun as reason:
        pytest.skip(str(reason))


def address(cluster: LocalCluster) -> str:
    return cluster.mesh.service("a-server").address


def figures(readings: tuple[Reading, ...] | list[Reading], metric: str) -> dict[str, float]:
    return {r.subject: r.value for r in readings if r.metric == metric}


@pytest.mark.parametrize("count", COUNTS)
def test_a_straight_path_has_one_connection_for_each_of_the_application(cluster: LocalCluster, count: int) -> None:
    client = cluster.run("a-client", "a", child("dial", address(cluster), PORT, count, part=Part.LOAD))
    found = path(of_arm(cluster.processes, "a"), ("a-client", "a-server"))
    stop(client)
    assert (found.sockets, found.connections, found.app_connections, found.pending) == (2 * count, count, count, 0)


@pytest.mark.parametrize("count", COUNTS)
def test_a_relay_beside_the_client_makes_two_of_each(cluster: LocalCluster, count: int) -> None:
    relay = cluster.run("a-client", "a", child("relay", address(cluster), part=Part.DATAPATH))
    client = cluster.run("a-client", "a", child("dial", "127.0.0.1", RELAY_PORT, count, part=Part.LOAD))
    found = path(of_arm(cluster.processes, "a"), ("a-client", "a-server"))
    stop(client, relay)
    assert found.sockets == 2 * 2 * count
    assert {hop.process.spec.name: len(hop.sockets) for hop in found.hops} == {
        "serve": count,
        "relay": 2 * count,
        "dial": count,
    }


def test_a_relay_on_the_node_is_on_its_own_arms_path_only(cluster: LocalCluster) -> None:
    relay = cluster.run("node0", "a", child("relay", address(cluster), part=Part.DATAPATH))
    other = cluster.run("node0", "b", child("dial", address(cluster), PORT, 3, part=Part.LOAD))
    client = cluster.run("a-client", "a", child("dial", "10.77.0.1", RELAY_PORT, 5, part=Part.LOAD))
    found = path(of_arm(cluster.processes, "a"), ("a-client", "a-server"))
    stop(client, other, relay)
    assert {hop.process.spec.name: len(hop.sockets) for hop in found.hops} == {"relay": 10, "dial": 5, "serve": 5 + 3}


def test_readings_name_every_hop_and_its_memory(cluster: LocalCluster) -> None:
    meter = Connections(cluster)
    meter.open(block(BlockKind.HOLD))
    client = cluster.run("a-client", "a", child("dial", address(cluster), PORT, 7, part=Part.LOAD))
    meter.begin(WINDOW)
    readings = meter.end(WINDOW)
    stop(client)
    assert figures(readings, "sockets") == {"path": 14, "a-client/dial": 7, "a-server/serve": 7}
    assert figures(readings, "connections_per_app_connection") == {"path": 1}
    size = structure_bytes()
    if size is not None:
        assert figures(readings, "socket_structure_bytes") == {"a-client/dial": 7 * size, "a-server/serve": 7 * size}


def test_what_an_earlier_engine_left_in_a_proxy_is_not_on_the_path(cluster: LocalCluster) -> None:
    earlier = cluster.run("a-client", "a", child("dial", address(cluster), PORT, 4, part=Part.DATAPATH))
    meter = Connections(cluster)
    meter.open(block(BlockKind.HOLD))
    client = cluster.run("a-client", "a", child("dial", address(cluster), PORT, 7, part=Part.LOAD))
    readings = meter.end(WINDOW)
    stop(client, earlier)
    assert figures(readings, "sockets")["path"] == 2 * 7
    assert figures(readings, "sockets_left_over") == {"path": 2 * 4}


def test_data_that_nobody_reads_is_socket_memory(cluster: LocalCluster) -> None:
    def fill() -> int:
        client.setblocking(False)
        sent = 0
        try:
            while True:
                sent += client.send(b"x" * 65536)
        except BlockingIOError:
            return sent

    with cluster.inside("a-client").inside(_listener) as server:
        client = cluster.inside("a-client").inside(lambda: _connected(server))
        with client:
            sent = fill()
            there = cluster.run("a-client", "a", child("keep", 4096))
            memory = [s.memory for s in established(there.pids()[0])]
            stop(there)
    assert sum(m.received + max(m.sent, m.queued) for m in memory) >= sent


def test_an_engine_that_ended_is_an_error_not_a_smaller_count(cluster: LocalCluster) -> None:
    client = cluster.run("a-client", "a", child("dial", address(cluster), PORT, 2, part=Part.LOAD))
    meter = Connections(cluster)
    meter.open(block(BlockKind.HOLD))
    meter.begin(WINDOW)
    stop(client)
    with pytest.raises(Failed, match="a-client/dial has ended"):
        meter.end(WINDOW)


def test_the_labs_own_connection_to_an_admin_port_is_not_on_the_path(cluster: LocalCluster) -> None:
    namespace = cluster.inside("a-server")
    server = next(p for p in cluster.processes if p.spec.name == "serve")
    with namespace.inside(lambda: _dialled("127.0.0.1", PORT)) as mine:
        mine.sendall(b"x")
        mine.recv(1)
        assert len(established(server.pids()[0])) == 2
        assert [len(hop.sockets) for hop in hops([server], established(server.pids()[0]))] == [0]


def test_a_redirected_end_is_kept_though_its_other_end_has_another_address(cluster: LocalCluster) -> None:
    server = next(p for p in cluster.processes if p.spec.name == "serve")
    with cluster.inside("a-client").inside(lambda: _dialled(address(cluster), PORT)) as mine:
        mine.sendall(b"x")
        mine.recv(1)
        (hop,) = hops([server], established(server.pids()[0]))
    assert len(hop.sockets) == 1
    assert isinstance(hop.sockets[0], Socket)


@pytest.mark.usefixtures("openings")
@pytest.mark.parametrize("count", [1, 50])
def test_the_tracepoint_counts_what_sock_diag_finds(cluster: LocalCluster, count: int) -> None:
    with Watch(block(BlockKind.HOLD), [Connections(cluster), Openings(cluster)]) as watch:
        relay = cluster.run("a-client", "a", child("relay", address(cluster), part=Part.DATAPATH))
        client = cluster.run("a-client", "a", child("dial", cluster.mesh.pod("a-client").address, RELAY_PORT, count))
        watch.begin(WINDOW)
        watch.end(WINDOW)
        stop(client, relay)
    assert not watch.missing
    assert figures(watch.readings, "connections") == {"path": 2 * count}
    assert figures(watch.readings, "opened") == {"path": 2 * count, "a-client": 2 * count}
    assert figures(watch.readings, "accepted") == {"a-client": count, "a-server": count}


@pytest.mark.usefixtures("openings")
def test_the_tracepoint_puts_a_nodes_connections_to_the_arm_at_their_other_end(cluster: LocalCluster) -> None:
    with Watch(block(BlockKind.HOLD), [Openings(cluster)]) as watch:
        relay = cluster.run("node0", "a", child("relay", address(cluster), part=Part.DATAPATH))
        client = cluster.run("a-client", "a", child("dial", "10.77.0.1", RELAY_PORT, 5, part=Part.LOAD))
        watch.begin(WINDOW)
        stop(client, relay)
    assert figures(watch.readings, "opened") == {"path": 10, "a-client": 5, "node0": 5}
    assert figures(watch.readings, "accepted") == {"node0": 5, "a-server": 5}


def _listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def _connected(server: socket.socket) -> socket.socket:
    return _dialled(*server.getsockname())


def _dialled(host: str, port: int) -> socket.socket:
    return socket.create_connection((host, port))
