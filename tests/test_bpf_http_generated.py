"""The kernel's parser against exchanges that hypothesis made up, over IPv4, IPv6, and IPv4 to a socket of IPv6."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from bpf_exchanges import Exchange, answer, exchanges, get, reference, written
from bpf_generated import Reference, Told, collected
from bpf_mesh import ARM, CLIENT, PORT, SERVER, needs, pods, script, speak_ipv6

from datapaths.bpf.http import HttpWatch
from datapaths.ebpf import Ebpf, identities
from lab.cluster import Line, ProcessSpec
from lab.cluster.local import LocalCluster

pytestmark = needs(Ebpf.needs)

PLAYER = str(Path(__file__).with_name("bpf_exchanges.py"))
EACH = 48  # exchanges of a family
FAMILIES = ("ipv4", "ipv6", "mapped")
OPTIONS = {"hop-by-hop": socket.IPV6_HOPOPTS, "destination": socket.IPV6_DSTOPTS}


@dataclass
class Played:
    """A family's exchanges, and what each side has seen of them."""

    exchanges: tuple[Exchange, ...]
    watches: dict[str, HttpWatch]

    def counted(self, side: str) -> Counter[Told]:
        found: Counter[Told] = Counter()
        for series in self.watches[side].series():
            found[series.method, series.route, series.status] += series.count
        return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with pods(tmp_path_factory.mktemp("state")) as opened:
        yield opened


@pytest.fixture(scope="module")
def addresses(cluster: LocalCluster) -> dict[str, str]:
    return speak_ipv6(cluster)


def names(cluster: LocalCluster, ipv6: dict[str, str]) -> dict[str, str]:
    return identities(cluster.mesh) | {ipv6[pod.name]: pod.app for pod in cluster.mesh.pods}


def watch(cluster: LocalCluster, ipv6: dict[str, str], side: str) -> HttpWatch:
    folder = cluster.mesh.pod(SERVER if side == "server" else CLIENT).cgroup
    assert folder is not None
    return HttpWatch([folder], names(cluster, ipv6), side, keys=2048, routes=2048)


def play(cluster: LocalCluster, address: str, text: str, *how: str) -> None:
    files, words = ({"steps.json": text}, ("{dir}/steps.json", *how)) if text else ({}, how)

    def player(role: str, ready: Line | None) -> ProcessSpec:
        spec = script(role, PLAYER, role, address, str(PORT), *words)
        return ProcessSpec(spec.name, spec.argv, spec.part, files, ready=ready)

    server = cluster.run(SERVER, ARM, player("server", Line("ready")))
    client = cluster.run(CLIENT, ARM, player("client", None))
    assert client.wait(60) == 0, client.read("stderr").decode()
    assert server.wait(5) == 0, server.read("stderr").decode()


@pytest.fixture(scope="module", params=FAMILIES)
def played(request: pytest.FixtureRequest, cluster: LocalCluster, addresses: dict[str, str]) -> Iterator[Played]:
    family = str(request.param)
    many = collected(family[-1], EACH, free=request.config.getoption("--hypothesis-seed") is not None)
    address = addresses[SERVER] if family == "ipv6" else cluster.mesh.pod(SERVER).address
    with watch(cluster, addresses, "server") as server, watch(cluster, addresses, "client") as client:
        play(cluster, address, written(many), *(["mapped"] if family == "mapped" else []))
        yield Played(many, {"server": server, "client": client})


@pytest.mark.parametrize("side", ["server", "client"])
def test_the_kernel_and_llhttp_agree_on_every_exchange(played: Played, side: str) -> None:
    found = played.counted(side)
    for exchange in played.exchanges:
        mine = Counter({told: n for told, n in found.items() if told[1].startswith(f"/{exchange.name}/")})
        assert mine == Reference(exchange).told(), exchange
    assert found == sum((Reference(e).told() for e in played.exchanges), Counter[Told]())


@pytest.mark.parametrize("side", ["server", "client"])
def test_the_kernel_and_llhttp_count_the_same_bytes(played: Played, side: str) -> None:
    references = [Reference(e) for e in played.exchanges]
    found: Counter[str] = Counter()
    for series in played.watches[side].series():
        found[series.route] += series.response_bytes
    assert +found == +sum((r.sizes for r in references), Counter[str]())
    upgraded = sum(r.upgraded_bytes for r in references)
    assert played.watches[side].totals()["upgraded_bytes"] == upgraded
    assert sum(s.upgraded_bytes for s in played.watches[side].series()) == upgraded


@pytest.mark.parametrize("side", ["server", "client"])
def test_nothing_is_lost_unnamed_or_not_understood(played: Played, side: str) -> None:
    watching = played.watches[side]
    totals, expected = watching.totals(), sum(Reference(e).told().total() for e in played.exchanges)
    assert {name: n for name, n in totals.items() if n and name not in {"upgraded", "upgraded_bytes"}} == {
        "requests": expected,
        "answered": expected,
        "connections": len(played.exchanges),
    }
    assert watching.coverage() == 1
    assert {(s.source, s.destination) for s in watching.series()} == {("client", "server")}


def test_over_ipv6_too_a_request_that_completes_the_handshake_is_not_missed(
    cluster: LocalCluster, addresses: dict[str, str]
) -> None:
    with watch(cluster, addresses, "server") as watching:
        play(cluster, addresses[SERVER], "", "deferred")
        expected = sum(reference(e).total() for e in exchanges())
        assert watching.totals()["answered"] == expected
        broken = sum(e.broken for e in exchanges())
        assert watching.coverage() == expected / (expected + broken)


def connected(address: str, option: int) -> socket.socket:
    """A connection whose packets carry an extension header: padding of 6 bytes."""
    end = socket.socket(socket.AF_INET6)
    end.setsockopt(socket.IPPROTO_IPV6, option, bytes([0, 0, 1, 4, 0, 0, 0, 0]))
    end.settimeout(10)
    end.connect((address, PORT))
    return end


@pytest.mark.parametrize("kind", OPTIONS)
def test_extension_headers_of_ipv6_are_gone_through(
    cluster: LocalCluster, addresses: dict[str, str], kind: str
) -> None:
    one = Exchange("one", (("c", (get("/extended"),)), ("s", (answer(),))))
    spec = script("server", PLAYER, "server", addresses[SERVER], str(PORT), "{dir}/steps.json")
    with watch(cluster, addresses, "server") as watching:
        server = cluster.run(
            SERVER,
            ARM,
            ProcessSpec(spec.name, spec.argv, spec.part, {"steps.json": written([one])}, ready=Line("ready")),
        )
        with cluster.inside(CLIENT).inside(partial(connected, addresses[SERVER], OPTIONS[kind])) as end:
            end.sendall(get("/extended"))
            assert end.recv(1 << 16) == answer()
        assert server.wait(10) == 0, server.read("stderr").decode()
        assert [(s.source, s.route, s.count) for s in watching.series()] == [("client", "/extended", 1)]
        assert watching.coverage() == 1
