"""Connections between pods of one node go from socket to socket: nothing is lost, and every request is counted once."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from bpf_exchanges import Exchange, Seen, exchanges, reference
from bpf_mesh import ARM, BIG_BYTES, CLIENT, PORT, SERVER, needs, script, web_server

from datapaths.bpf.fastpath import addresses
from datapaths.bpf.http import HttpWatch, Series
from datapaths.bpf.splice import Splice
from datapaths.ebpf import identities, services
from datapaths.ebpf_fastpath import EbpfFastpath
from lab.cluster import Layout, Line, Part, PodSpec, ProcessSpec, ServiceSpec
from lab.cluster.launch import LocalProcess
from lab.cluster.local import LocalCluster

pytestmark = needs(EbpfFastpath.needs)

HERE = Path(__file__).parent
PLAYER, ENDS = str(HERE / "bpf_exchanges.py"), str(HERE / "bpf_splice_ends.py")
MOST_AHEAD = 1 << 20  # as in splice.bpf.c


@contextmanager
def pods(state: Path, server_node: int = 0) -> Iterator[LocalCluster]:
    """An empty client on node 0 and an empty server behind the service `bpf-server`."""
    specs = (PodSpec(CLIENT, 0, ARM, "client"), PodSpec(SERVER, server_node, ARM, "server"))
    with LocalCluster(f"splice-{os.getpid()}", state=state) as cluster:
        cluster.deploy(Layout(specs, (ServiceSpec(SERVER, ARM, PORT, (SERVER,)),)))
        yield cluster


class Node:
    """What a node's agent does, for the pods that are there."""

    def __init__(self, cluster: LocalCluster, name: str = "node0", connections: int = 4096) -> None:
        mesh = cluster.mesh
        here = [pod for pod in mesh.pods if pod.node == name]
        self.cgroups = [pod.cgroup for pod in here if pod.cgroup is not None]
        told = {"local": [pod.address for pod in here], "services": services(mesh)}
        with ExitStack() as stack:
            self.watch = stack.enter_context(HttpWatch(self.cgroups, identities(mesh)))
            self.splice = stack.enter_context(Splice(self.watch, connections))
            self.splice.update(self.cgroups, addresses(told))
            self._stack = stack.pop_all()

    def settled(self) -> dict[str, int]:
        """All totals, once every connection that was joined has been closed at both ends."""
        eventually(lambda: not self.splice.open_pairs(), "connections stay open")
        return self.watch.totals() | self.splice.totals() | {"not_understood": self.watch.not_understood()}

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def eventually(there: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + 15
    while not there():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with pods(tmp_path_factory.mktemp("state")) as opened:
        yield opened


def played(cluster: LocalCluster, *how: str) -> None:
    """All exchanges, over the service's address."""
    service, pod = cluster.mesh.service(SERVER), cluster.mesh.pod(SERVER)
    listening = script("server", PLAYER, "server", pod.address, str(PORT), *how)
    server = cluster.run(SERVER, ARM, ProcessSpec("server", listening.argv, listening.part, ready=Line("ready")))
    client = cluster.run(CLIENT, ARM, script("client", PLAYER, "client", service.address, str(PORT), *how))
    assert client.wait(40) == 0, client.read("stderr").decode()
    assert server.wait(5) == 0, server.read("stderr").decode()


def counted(watch: HttpWatch) -> Counter[Seen]:
    found: Counter[Seen] = Counter()
    for series in watch.series():
        found[series.method, series.route, series.status] += series.count
    return found


def all_expected() -> Counter[Seen]:
    return sum((reference(exchange) for exchange in exchanges()), Counter[Seen]())


@dataclass(frozen=True)
class Outcome:
    totals: dict[str, int]
    series: tuple[Series, ...]
    counted: Counter[Seen]


@pytest.fixture(scope="module")
def outcome(cluster: LocalCluster) -> Outcome:
    """Of all exchanges. Detached before other tests begin: one socket cannot be in two such maps."""
    with Node(cluster) as node:
        played(cluster)
        return Outcome(node.settled(), tuple(node.watch.series()), counted(node.watch))


@pytest.mark.parametrize("exchange", exchanges(), ids=lambda e: e.name)
def test_the_kernel_sees_in_messages_what_httptools_sees(outcome: Outcome, exchange: Exchange) -> None:
    expected = reference(exchange)
    assert {seen: outcome.counted[seen] for seen in expected} == expected


def test_it_sees_nothing_else_and_loses_nothing(outcome: Outcome) -> None:
    totals, expected = outcome.totals, all_expected()
    assert outcome.counted == expected
    assert totals["requests"] == totals["answered"] == expected.total()
    assert totals["connections"] == len(exchanges())
    assert totals["not_http"] == sum(e.broken for e in exchanges())
    assert totals["unanswered"] == totals["holes"] == totals["unwatched"] == totals["not_paired"] == 0


def test_all_bytes_of_joined_connections_were_handed_over(outcome: Outcome) -> None:
    totals = outcome.totals
    assert totals["pairs"] + totals["spoke_first"] == len(exchanges())
    sent = sum(len(segment) for e in exchanges() for _, segments in e.steps for segment in segments)
    assert totals["to_packets"] or totals["spoke_first"] or totals["handed_bytes"] == sent


def test_source_and_destination_are_the_names_of_the_mesh(outcome: Outcome) -> None:
    assert {(s.source, s.destination) for s in outcome.series} == {("client", "server")}


def test_connections_that_begin_with_a_request_are_read_from_packets(cluster: LocalCluster) -> None:
    with Node(cluster) as node:
        played(cluster, "deferred")
        totals = node.settled()
        assert counted(node.watch) == all_expected()
        assert totals["connections"] == len(exchanges())
        assert totals["pairs"] < len(exchanges())


def test_connections_that_find_no_room_are_read_from_packets(cluster: LocalCluster) -> None:
    with Node(cluster, connections=1) as node:
        wide(cluster, 16)
        totals = node.settled()
        assert totals["not_paired"] > 0
        assert totals["requests"] == totals["answered"] == 400


def wide(cluster: LocalCluster, connections: int) -> None:
    """400 requests over so many connections at once."""
    text = (
        "import socket, sys\n"
        f"ends = [socket.create_connection(sys.argv[1].split(':'), 5) for _ in range({connections})]\n"
        f"for _ in range({400 // connections}):\n"
        "    for end in ends: end.sendall(b'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')\n"
        "    for end in ends:\n"
        "        data = b''\n"
        "        while not data.endswith(b'\\r\\n\\r\\n'): data += end.recv(4096)\n"
    )
    with ends_server(cluster):
        client = cluster.run(
            CLIENT, ARM, script("client", "-c", text, f"{cluster.mesh.service(SERVER).address}:{PORT}")
        )
        assert client.wait(20) == 0, client.read("stderr").decode()


@contextmanager
def ends_server(cluster: LocalCluster) -> Iterator[None]:
    argv = script("", ENDS, "server", cluster.mesh.pod(SERVER).address, str(PORT)).argv
    process = cluster.run(SERVER, ARM, ProcessSpec("ends", argv, Part.APP, ready=Line("ready")))
    try:
        yield
    finally:
        for pid in process.pids():
            os.kill(pid, 9)
        process.wait(5)


@pytest.fixture
def ends(cluster: LocalCluster) -> Iterator[None]:
    with ends_server(cluster):
        yield


def play(cluster: LocalCluster, *names: str) -> LocalProcess:
    address = cluster.mesh.service(SERVER).address
    return cluster.run(CLIENT, ARM, script("client", ENDS, "client", address, str(PORT), *names))


def done(process: LocalProcess) -> int:
    """The requests it says it sent."""
    assert process.wait(40) == 0, process.read("stderr").decode()
    return sum(int(line.split()[1]) for line in process.read("stdout").decode().splitlines() if line.count(" ") == 1)


WHOLE = ("bodies", "narrow", "sendfile", "pieces", "half_close", "server_closes", "slow", "waiting_bytes")


@pytest.mark.parametrize("name", WHOLE)
def test_every_byte_arrives_in_order_and_every_request_is_counted(cluster: LocalCluster, ends: None, name: str) -> None:
    with Node(cluster) as node:
        sent, totals = done(play(cluster, name)), node.settled()
        assert totals["pairs"] > 0
        assert (totals["requests"], totals["answered"], totals["unanswered"]) == (sent, sent, 0)
        assert totals["not_understood"] == 0


def test_a_reader_that_is_slow_holds_its_writer_up(cluster: LocalCluster, ends: None) -> None:
    with Node(cluster) as node:
        done(play(cluster, "slow"))
        totals = node.settled()
        assert totals["to_packets"] == 1
        assert totals["handed_bytes"] <= MOST_AHEAD + 1000


def test_clients_that_leave_before_the_answer_harm_nobody(cluster: LocalCluster, ends: None) -> None:
    with Node(cluster) as node:
        sent = done(play(cluster, "early_close"))
        totals = node.settled()
        assert totals["requests"] == sent == totals["answered"] + totals["unanswered"]
        assert totals["not_understood"] == 0
        assert done(play(cluster, "pieces")) == 1


def test_ten_thousand_connections_leave_nothing_behind(cluster: LocalCluster, ends: None) -> None:
    with Node(cluster) as node:
        sent, totals = done(play(cluster, "many")), node.settled()
        assert sent == totals["connections"] == totals["requests"] == totals["answered"] == 10_000
        assert totals["pairs"] + totals["spoke_first"] == 10_000


def test_loads_of_all_kinds_at_once_are_counted_exactly(cluster: LocalCluster, ends: None) -> None:
    with Node(cluster) as node:
        clients = [play(cluster, *names) for names in (WHOLE[:5], ("early_close", "pieces") * 3, WHOLE[::-1])]
        sent, totals = sum(map(done, clients)), node.settled()
        assert totals["requests"] == sent == totals["answered"] + totals["unanswered"]
        assert totals["not_understood"] == 0


def test_connections_older_than_the_agent_go_on(cluster: LocalCluster, ends: None) -> None:
    client = play(cluster, "lasting")
    eventually(lambda: b"paused" in client.read("stdout"), "the client did not begin")
    with Node(cluster) as node:
        client.tell("on")
        assert done(client) == 4
        assert node.settled()["requests"] == 0


def test_connections_younger_than_the_agent_outlive_it(cluster: LocalCluster, ends: None) -> None:
    with Node(cluster) as node:
        client = play(cluster, "lasting")
        eventually(lambda: b"paused" in client.read("stdout"), "the client did not begin")
        assert node.splice.totals()["pairs"] == 1
    client.tell("on")
    assert done(client) == 4


@pytest.mark.parametrize(("path", "number", "size"), [("/speed", 50_000, 5), ("/big", 2_000, BIG_BYTES)])
def test_at_full_speed_every_request_is_counted_once(cluster: LocalCluster, path: str, number: int, size: int) -> None:
    server = cluster.run(SERVER, ARM, web_server(PORT + 1))
    url = f"http://{cluster.mesh.pod(SERVER).address}:{PORT + 1}{path}"
    try:
        with Node(cluster) as node:
            argv = ("h2load", "--h1", "-n", str(number), "-c", "32", url)
            client = cluster.run(CLIENT, ARM, ProcessSpec("h2load", argv, Part.LOAD))
            assert client.wait(40) == 0
            assert f"{number} succeeded" in client.read("stdout").decode()
            totals = node.settled()
            assert [(s.route, s.count, s.response_bytes) for s in node.watch.series()] == [
                (path, number, number * size)
            ]
            assert totals["not_understood"] == totals["unanswered"] == 0
            assert totals["pairs"] > 0
    finally:
        os.kill(server.pids()[0], 15)
        server.wait(5)


def test_pods_of_different_nodes_are_never_joined(tmp_path: Path) -> None:
    with pods(tmp_path, server_node=1) as apart, Node(apart, "node0") as first, Node(apart, "node1") as second:
        with ends_server(apart):
            sent = done(play(apart, "half_close", "pieces"))
        assert [n.settled()["pairs"] + n.settled()["handed"] for n in (first, second)] == [0, 0]
        assert [n.settled()["requests"] for n in (first, second)] == [0, sent]


def test_addresses_are_those_of_pods_here_and_of_services_in_front_of_them() -> None:
    services = [
        {"address": "10.0.0.1", "endpoints": [{"address": "10.1.0.2"}]},
        {"address": "10.0.0.2", "endpoints": [{"address": "10.2.0.2"}]},
    ]
    told = {"local": ["10.1.0.2", "10.1.0.3"], "services": services}
    assert sorted(addresses(told), key=socket.inet_aton) == ["10.0.0.1", "10.1.0.2", "10.1.0.3"]
