"""Services of IPv6, and IPv4 services seen from sockets of IPv6."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from bpf_mesh import needs
from bpf_town import NEEDS, PORT, Json, Refused, Town, changed, town, with_ipv6

from datapaths.bpf.balance import HELPS, Balance
from datapaths.bpf.tables import tables
from lab.record import Mistake

pytestmark = [
    needs(NEEDS),
    pytest.mark.skipif(not Path("/proc/sys/net/ipv6").exists(), reason="this kernel has no IPv6"),
]
SERVICE = "fd00:79::1"
NOTHING = dict.fromkeys(HELPS, 0)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Town, dict[str, str]]]:
    with town(tmp_path_factory.mktemp("state")) as opened:
        yield opened, with_ipv6(opened)


def told(here: tuple[Town, dict[str, str]], *pods: str) -> Json:
    place, addresses = here
    made = place.told(*(place.endpoint(pod, address=addresses[pod]) for pod in pods))
    for service in made["services"]:
        service["address"] = SERVICE
    return made | {"identities": made["identities"] | {addresses[p]: p for p in addresses if p != "stranger"}}


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_connections_go_to_the_endpoints(here: tuple[Town, dict[str, str]], kind: str) -> None:
    client = here[0].client
    with Balance(told(here, "red", "green")) as balance:
        found = client.many(60, SERVICE, PORT, kind, 6)
        assert set(found) == {"red", "green"}
        number = client.socket(kind, 6)
        client.connect(number, SERVICE, PORT)
        balance.update(told(here, "blue"))
        assert client.peer(number) == [SERVICE, PORT]
        assert client.many(10, SERVICE, PORT, kind, 6) == {"blue": 10}
        balance.update(told(here))
        with pytest.raises(Refused, match="ECONNREFUSED"):
            client.ask(SERVICE, PORT, kind, 6)
        client.close(number)


def test_datagrams_are_answered_by_the_service_and_move(here: tuple[Town, dict[str, str]]) -> None:
    client = here[0].client
    with Balance(told(here, "red")) as balance:
        number = client.socket("udp", 6)
        for pod in ("red", "green"):
            balance.update(told(here, pod))
            for _ in range(2):
                client.send_to(number, SERVICE, PORT)
                assert client.receive_from(number) == [pod, SERVICE, PORT]
        assert changed(NOTHING, balance.totals()) == {"talked": 1, "moved": 1}
        client.close(number)


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_an_ipv6_socket_that_speaks_ipv4_meets_the_ipv4_service(here: tuple[Town, dict[str, str]], kind: str) -> None:
    place = here[0]
    mapped = f"::ffff:{place.service}"
    with Balance(place.told(place.endpoint("red"))):
        number = place.client.socket(kind, 6)
        place.client.connect(number, mapped, PORT)
        if kind == "udp":
            place.client.send(number)
        assert place.client.receive(number) == "red"
        assert place.client.peer(number) == [mapped, PORT]
        place.client.close(number)


def test_datagrams_of_an_ipv6_socket_that_speaks_ipv4_are_answered_by_the_service(
    here: tuple[Town, dict[str, str]],
) -> None:
    place = here[0]
    mapped = f"::ffff:{place.service}"
    with Balance(place.told(place.endpoint("red"))):
        number = place.client.socket("udp", 6)
        place.client.send_to(number, mapped, PORT)
        assert place.client.receive_from(number) == ["red", mapped, PORT]
        place.client.close(number)


def test_policy_holds_for_both_versions_and_for_ipv4_inside_ipv6(here: tuple[Town, dict[str, str]]) -> None:
    place, addresses = here
    policy = {"policy": {"default": "deny", "connections": [{"from": "client", "to": "red"}]}}
    with Balance(told(here, "red") | policy) as balance:
        assert place.client.ask(SERVICE, PORT, "tcp", 6) == "red"
        assert place.client.ask(f"::ffff:{place.at('red')}", PORT, "tcp", 6) == "red"
        for address in (addresses["green"], f"::ffff:{place.at('green')}"):
            with pytest.raises(Refused, match="EPERM"):
                place.client.ask(address, PORT, "tcp", 6)
            with pytest.raises(Refused, match="EPERM"):
                place.client.send_to(place.client.socket("udp", 6), address, PORT)
        for inside in ("::1", "::", "::ffff:127.0.0.1"):
            with pytest.raises(Refused, match="ECONNREFUSED"):
                place.client.ask(inside, PORT, "tcp", 6)
        assert balance.totals()["refused_no_rule"] == 4


def test_a_service_and_its_endpoints_must_be_of_one_version() -> None:
    end = {"address": "10.1.1.1", "port": 1}
    with pytest.raises(Mistake, match="same IP version"):
        tables({"services": [{"name": "mixed", "address": SERVICE, "port": 1, "endpoints": [end]}]}, 0)
