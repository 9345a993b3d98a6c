"""The kernel's HTTP/1.x parser against real packets between two pods."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from bpf_exchanges import DEEP, LOOKS_LIKE, Exchange, Seen, exchanges, reference
from bpf_mesh import ARM, BIG_BYTES, CLIENT, PORT, SERVER, needs, pods, script, web_server

from datapaths.bpf.http import BOUNDS_S, HttpWatch, Series
from datapaths.ebpf import Ebpf, identities
from lab.cluster import Line, Part, Port, Privilege, ProcessSpec
from lab.cluster.local import LocalCluster

pytestmark = needs(Ebpf.needs)

needs_h2load = pytest.mark.skipif(
    not shutil.which("h2load"), reason="h2load is missing; install it with: apt-get install nghttp2-client"
)
PLAYER = str(Path(__file__).with_name("bpf_exchanges.py"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with pods(tmp_path_factory.mktemp("state")) as opened:
        yield opened


def watch(cluster: LocalCluster, side: str = "server", keys: int = 512, routes: int = 1024) -> HttpWatch:
    folder = cluster.mesh.pod(SERVER if side == "server" else CLIENT).cgroup
    assert folder is not None
    return HttpWatch([folder], identities(cluster.mesh), side, keys, routes)


def played(cluster: LocalCluster, *how: str) -> None:
    """All exchanges, over the service's address."""
    service, pod = cluster.mesh.service(SERVER), cluster.mesh.pod(SERVER)
    listening = script("server", PLAYER, "server", pod.address, str(PORT), *how)
    server = cluster.run(SERVER, ARM, with_ready(listening, Line("ready")))
    client = cluster.run(CLIENT, ARM, script("client", PLAYER, "client", service.address, str(PORT), *how))
    assert client.wait(30) == 0, client.read("stderr").decode()
    assert server.wait(5) == 0, server.read("stderr").decode()


def with_ready(spec: ProcessSpec, ready: Line | Port) -> ProcessSpec:
    return ProcessSpec(spec.name, spec.argv, spec.part, ready=ready)


def counted(watching: HttpWatch) -> Counter[Seen]:
    found: Counter[Seen] = Counter()
    for series in watching.series():
        found[series.method, series.route, series.status] += series.count
    return found


@pytest.fixture(scope="module")
def both_sides(cluster: LocalCluster) -> Iterator[dict[str, HttpWatch]]:
    with watch(cluster, "server") as server, watch(cluster, "client") as client:
        played(cluster)
        yield {"server": server, "client": client}


@pytest.mark.parametrize("side", ["server", "client"])
@pytest.mark.parametrize("exchange", exchanges(), ids=lambda e: e.name)
def test_the_kernel_sees_in_an_exchange_what_httptools_sees(
    both_sides: dict[str, HttpWatch], side: str, exchange: Exchange
) -> None:
    expected = reference(exchange)
    found = counted(both_sides[side])
    assert {seen: found[seen] for seen in expected} == expected


@pytest.mark.parametrize("side", ["server", "client"])
def test_the_kernel_sees_nothing_that_httptools_does_not_see(both_sides: dict[str, HttpWatch], side: str) -> None:
    expected = sum((reference(e) for e in exchanges()), Counter[Seen]())
    assert counted(both_sides[side]) == expected


@pytest.mark.parametrize("side", ["server", "client"])
def test_every_broken_connection_is_counted_and_nothing_is_lost_on_the_way(
    both_sides: dict[str, HttpWatch], side: str
) -> None:
    totals, expected = both_sides[side].totals(), sum(reference(e).total() for e in exchanges())
    assert totals == {
        "requests": expected,
        "answered": expected,
        "unanswered": 0,
        "not_http": sum(e.broken for e in exchanges()),
        "holes": 0,
        "untold": 0,
        "upgraded": 2,
        "no_room": 0,
        "connections": len(exchanges()),
        "unwatched": 0,
        "upgraded_bytes": 2 * len(LOOKS_LIKE) + len(b"\x81\x05hello") + len(b"\x16\x03\x01"),
    }


@pytest.mark.parametrize("side", ["server", "client"])
def test_source_and_destination_are_the_names_of_the_mesh(both_sides: dict[str, HttpWatch], side: str) -> None:
    assert {(s.source, s.destination) for s in both_sides[side].series()} == {("client", "server")}


@pytest.mark.parametrize("side", ["server", "client"])
def test_bodies_are_counted_to_the_byte(both_sides: dict[str, HttpWatch], side: str) -> None:
    sizes = {s.route: s.response_bytes for s in both_sides[side].series()}
    assert sizes["/big-answer"] == 256 * 800
    assert sizes["/one"] == len("hello\n")
    assert sizes["/head"] == sizes["/no-content"] == 0
    assert sizes["/tiny-chunks"] == 2000


@pytest.mark.parametrize("side", ["server", "client"])
def test_each_request_is_once_in_its_histogram_and_its_duration_in_the_sum(
    both_sides: dict[str, HttpWatch], side: str
) -> None:
    for series in both_sides[side].series():
        assert sum(series.buckets) == series.count
        bounds = zip((0.0, *BOUNDS_S), series.buckets, strict=True)
        assert sum(low * hits for low, hits in bounds) <= series.duration_s
        bounds = zip(BOUNDS_S, series.buckets[:-1], strict=True)
        assert series.duration_s <= sum(high * hits for high, hits in bounds)


def test_a_quantile_is_within_four_percent() -> None:
    for value in (1.1e-6, 3.3e-5, 1e-3, 0.5, 7.0):
        hits = [0] * (len(BOUNDS_S) + 1)
        hits[sum(bound <= value for bound in BOUNDS_S)] = 1
        series = Series("", "", "GET", "/", 200, 1, 0, value, tuple(hits))
        assert series.quantile(0.5) == pytest.approx(value, rel=0.04)


def test_a_request_that_completes_the_handshake_is_not_missed(cluster: LocalCluster) -> None:
    with watch(cluster) as watching:
        played(cluster, "deferred")
        assert counted(watching) == sum((reference(e) for e in exchanges()), Counter[Seen]())
        assert watching.totals()["connections"] == len(exchanges())


def test_requests_pipelined_too_deep_are_counted_and_said_to_be_untold(cluster: LocalCluster) -> None:
    with watch(cluster) as watching:
        played(cluster, "deep")
        totals = watching.totals()
        assert totals["requests"] == DEEP + 1 == totals["answered"] + totals["unanswered"]
        assert totals["untold"] == totals["unanswered"] == DEEP + 1 - 32
        assert watching.not_understood() == 0


def test_what_finds_no_room_is_counted_under_other(cluster: LocalCluster) -> None:
    with watch(cluster, keys=4, routes=3) as watching:
        played(cluster)
        totals, series = watching.totals(), list(watching.series())
        assert totals["requests"] == totals["answered"] == sum(s.count for s in series)
        assert len({s.route for s in series}) <= 3 + 1
        assert totals["no_room"] == sum(s.count for s in series if s.source == "other") > 0


@pytest.fixture(scope="module")
def nginx(cluster: LocalCluster) -> str:
    """Its address; it answers /speed with a word and /big with 100 KB."""
    cluster.run(SERVER, ARM, web_server(PORT))
    return f"http://{cluster.mesh.service(SERVER).address}:{PORT}"


def load(cluster: LocalCluster, url: str, number: int, connections: int = 32, pipelined: int = 1) -> None:
    argv = ("h2load", "--h1", "-n", str(number), "-c", str(connections), "-m", str(pipelined), url)
    process = cluster.run(CLIENT, ARM, ProcessSpec("h2load", argv, Part.LOAD))
    assert process.wait(40) == 0
    assert f"{number} succeeded" in process.read("stdout").decode()


@needs_h2load
@pytest.mark.parametrize(("number", "pipelined"), [(20_000, 1), (24_000, 8)])
def test_at_full_speed_every_request_is_counted_once(
    cluster: LocalCluster, nginx: str, number: int, pipelined: int
) -> None:
    with watch(cluster, "server") as server, watch(cluster, "client") as client:
        load(cluster, f"{nginx}/speed", number, pipelined=pipelined)
        for watching in (server, client):
            totals = watching.totals()
            assert (totals["requests"], totals["answered"], totals["unanswered"]) == (number, number, 0)
            assert watching.not_understood() == 0
            assert [(s.route, s.count) for s in watching.series()] == [("/speed", number)]


LOSS = """table ip bpf_loss {
  chain input {
    type filter hook input priority 0; policy accept;
    iif "lo" accept
    meta l4proto tcp numgen random mod 50 == 0 drop
  }
}
"""


@needs_h2load
def test_lost_and_repeated_packets_are_read_once(cluster: LocalCluster, nginx: str) -> None:
    def loss(pod: str, *argv: str) -> None:
        spec = ProcessSpec(
            "nft", ("nft", *argv), Part.APP, {"loss.nft": LOSS}, user=0, privileges=frozenset({Privilege.NET_ADMIN})
        )
        assert cluster.run(pod, ARM, spec).wait(5) == 0

    with watch(cluster, "server") as server, watch(cluster, "client") as client:
        for pod in (CLIENT, SERVER):
            loss(pod, "-f", "{dir}/loss.nft")
        try:
            load(cluster, f"{nginx}/big", 1000, connections=100)
        finally:
            for pod in (CLIENT, SERVER):
                loss(pod, "delete", "table", "ip", "bpf_loss")
        for watching in (server, client):
            assert [(s.count, s.response_bytes) for s in watching.series()] == [(1000, 1000 * BIG_BYTES)]
            assert watching.not_understood() == 0


def held() -> list[str]:
    kinds = (str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink())
    return sorted(kind for kind in kinds if "bpf" in kind)


def test_a_closed_watch_holds_nothing(cluster: LocalCluster) -> None:
    before = held()
    watching = watch(cluster)
    assert len(held()) > len(before)
    watching.close()
    watching.close()
    assert held() == before
