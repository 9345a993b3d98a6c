"""Datagrams to service addresses: whose answers they seem to be, and where they go when an endpoint is gone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from bpf_mesh import needs
from bpf_town import NEEDS, PORT, Refused, Town, changed, town

from datapaths.bpf.balance import HELPS, Balance

pytestmark = needs(NEEDS)
NOTHING = dict.fromkeys(HELPS, 0)
TALKS = 8  # as in kept.h


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with town(tmp_path_factory.mktemp("state")) as opened:
        yield opened


def answers(here: Town, number: int, count: int, address: str | None = None) -> list[list[Any]]:
    """What comes back for so many datagrams to an address: the server's name and the sender's address and port."""
    found = []
    for _ in range(count):
        here.client.send_to(number, address or here.service, PORT)
        found.append(here.client.receive_from(number))
    return found


def test_a_socket_keeps_its_endpoint_and_answers_come_from_the_service(here: Town) -> None:
    with Balance(here.told(here.endpoint("red"), here.endpoint("green"))) as balance:
        first = set()
        for _ in range(40):
            number = here.client.socket("udp")
            found = answers(here, number, 3)
            assert found == [[found[0][0], here.service, PORT]] * 3
            first.add(found[0][0])
            here.client.close(number)
        assert first == {"red", "green"}
        assert changed(NOTHING, balance.totals()) == {"talked": 40}


def test_a_socket_moves_only_when_its_endpoint_is_gone(here: Town) -> None:
    with Balance(here.told(here.endpoint("red"))) as balance:
        number = here.client.socket("udp")
        assert answers(here, number, 1) == [["red", here.service, PORT]]
        balance.update(here.told(here.endpoint("red", weight=0), here.endpoint("green")))
        assert answers(here, number, 3) == [["red", here.service, PORT]] * 3
        assert here.client.ask(here.service, PORT, "udp") == "green"
        balance.update(here.told(here.endpoint("green")))
        assert answers(here, number, 3) == [["green", here.service, PORT]] * 3
        balance.update(here.told())
        with pytest.raises(Refused, match="ECONNREFUSED"):
            here.client.send_to(number, here.service, PORT)
        balance.update(here.told(here.endpoint("blue")))
        assert answers(here, number, 1) == [["blue", here.service, PORT]]
        assert changed(NOTHING, balance.totals()) == {"balanced": 1, "talked": 1, "moved": 2, "no_endpoint": 1}
        here.client.close(number)


def test_a_connected_socket_sees_the_service_and_may_connect_elsewhere(here: Town) -> None:
    with Balance(here.told(here.endpoint("red"))):
        number = here.client.socket("udp")
        here.client.connect(number, here.service, PORT)
        here.client.send(number)
        assert here.client.receive_from(number) == ["red", here.service, PORT]
        assert here.client.peer(number) == [here.service, PORT]
        here.client.connect(number, here.at("green"), PORT)
        here.client.send(number)
        assert here.client.receive_from(number) == ["green", here.at("green"), PORT]
        assert here.client.peer(number) == [here.at("green"), PORT]
        here.client.disconnect(number)
        with pytest.raises(Refused, match="ENOTCONN"):
            here.client.peer(number)
        assert answers(here, number, 1) == [["red", here.service, PORT]]
        here.client.close(number)


def test_a_connected_socket_keeps_its_endpoint_after_an_update(here: Town) -> None:
    with Balance(here.told(here.endpoint("red"))) as balance:
        number = here.client.socket("udp")
        here.client.connect(number, here.service, PORT)
        balance.update(here.told(here.endpoint("green")))
        here.client.send(number)
        assert here.client.receive_from(number) == ["red", here.service, PORT]
        here.client.connect(number, here.service, PORT)
        here.client.send(number)
        assert here.client.receive_from(number) == ["green", here.service, PORT]
        here.client.close(number)


def test_a_connected_socket_may_send_to_another_service(here: Town) -> None:
    told = here.told(here.endpoint("red"))
    other = {"name": "other", "address": "10.79.9.9", "port": PORT, "protocol": "udp"}
    told["services"].append(other | {"endpoints": [here.endpoint("green")]})
    with Balance(told):
        number = here.client.socket("udp")
        here.client.connect(number, here.service, PORT)
        here.client.send_to(number, here.service, PORT)
        assert here.client.receive_from(number) == ["red", here.service, PORT]
        assert here.client.peer(number) == [here.service, PORT]
        here.client.close(number)
        assert here.client.ask("10.79.9.9", PORT, "udp") == "green"


def test_tcp_and_udp_of_one_address_and_port_are_two_services(here: Town) -> None:
    told = here.told()
    for service, pod in zip(told["services"], ("red", "green"), strict=True):
        service["endpoints"] = [here.endpoint(pod)]
    with Balance(told):
        assert here.client.many(20, here.service, PORT, "tcp") == {"red": 20}
        assert here.client.many(20, here.service, PORT, "udp") == {"green": 20}


def test_a_socket_talks_to_several_services_and_forgets_the_oldest_beyond_eight(here: Town) -> None:
    told, addresses = here.told(), [f"10.79.1.{n}" for n in range(1, TALKS + 2)]
    told["services"] = [
        {"name": address, "address": address, "port": PORT, "protocol": "udp", "endpoints": [here.endpoint(pod)]}
        for address, pod in zip(addresses, ("red", "green", "blue") * 3, strict=True)
    ]
    # answers of one endpoint are told apart by the port it answers from
    for n, service in enumerate(told["services"]):
        service["endpoints"][0]["port"] = PORT + n // 3 % 2
    with Balance(told) as balance:
        number = here.client.socket("udp")
        for address in addresses[:6]:
            assert answers(here, number, 2, address)[1][1:] == [address, PORT]
        assert balance.totals()["forgotten"] == 0
        for address in addresses[6:]:
            answers(here, number, 1, address)
        assert changed(NOTHING, balance.totals()) == {"talked": TALKS + 1, "forgotten": 1}
        here.client.close(number)


def test_datagrams_to_a_pod_itself_are_left_alone(here: Town) -> None:
    with Balance(here.told(here.endpoint("red"))) as balance:
        number = here.client.socket("udp")
        assert answers(here, number, 1, here.at("green")) == [["green", here.at("green"), PORT]]
        assert not any(balance.totals().values())
        here.client.close(number)
