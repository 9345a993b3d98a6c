"""Who may connect to whom, asked at connect() and at sendmsg(), after balancing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from bpf_mesh import needs
from bpf_sockets import MPTCP
from bpf_town import CLIENT, NEEDS, PORT, STRANGER, Caller, Refused, Town, changed, town

from datapaths.bpf.balance import HELPS, Balance
from lab.record import Mistake

pytestmark = needs(NEEDS)
NOTHING = dict.fromkeys(HELPS, 0)
OUTSIDE = "192.0.2.1"  # of nobody (RFC 5737)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with town(tmp_path_factory.mktemp("state")) as opened:
        yield opened


def told(here: Town, *connections: dict[str, Any], **policy: str) -> dict[str, Any]:
    return here.told(here.endpoint("red"), policy={"connections": list(connections), **policy})


def refused(caller: Caller, address: str, port: int = PORT, kind: str = "tcp") -> bool:
    try:
        caller.ask(address, port, kind)
    except Refused as error:
        assert str(error) == "EPERM"  # noqa: PT017 - anything else is another reason
        return True
    return False


def test_without_a_rule_a_known_pod_may_go_nowhere(here: Town) -> None:
    with Balance(told(here)) as balance:
        for address in (here.service, here.at("red")):
            for kind in ("tcp", "udp"):
                assert refused(here.client, address, kind=kind)
        assert changed(NOTHING, balance.totals()) == {"refused_no_rule": 4}


def test_a_rule_lets_one_identity_to_one_other_through_the_service_too(here: Town) -> None:
    with Balance(told(here, {"from": "client", "to": "red"})) as balance:
        assert here.client.ask(here.service, PORT) == "red"
        assert here.client.ask(here.at("red"), PORT + 1) == "red"
        assert refused(here.client, here.at("green"))
        assert changed(NOTHING, balance.totals()) == {"balanced": 1, "permitted": 2, "refused_no_rule": 1}


def test_policy_is_asked_of_the_endpoint_and_not_of_the_service(here: Town) -> None:
    with Balance(told(here, {"from": "client", "to": "red"})) as balance:
        balance.update(told(here, {"from": "client", "to": "red"}) | {"services": []})
        balance.update(here.told(here.endpoint("green"), policy={"connections": [{"from": "client", "to": "red"}]}))
        assert refused(here.client, here.service)


def test_a_rule_with_a_port_opens_that_port_of_the_endpoint_alone(here: Town) -> None:
    with Balance(told(here, {"from": "client", "to": "green", "port": PORT})):
        assert here.client.ask(here.at("green"), PORT) == "green"
        assert refused(here.client, here.at("green"), PORT + 1)


@pytest.mark.parametrize(
    ("rule", "open_to"),
    [
        ({"from": "*", "to": "*"}, {"red", "green"}),
        ({"from": "*", "to": "green"}, {"green"}),
        ({"from": "client", "to": "*"}, {"red", "green"}),
        ({"from": "blue", "to": "*"}, set()),
        ({"from": "*", "to": "*", "port": PORT + 1}, set()),
    ],
)
def test_a_star_is_every_identity_that_is_known(here: Town, rule: dict[str, Any], open_to: set[str]) -> None:
    with Balance(told(here, rule)):
        assert {pod for pod in ("red", "green") if not refused(here.client, here.at(pod))} == open_to
        assert refused(here.client, here.at(STRANGER))
        assert refused(here.stranger, here.at("red"))


def test_who_is_not_known_is_refused_and_counted_apart_unless_a_rule_says_unknown(here: Town) -> None:
    with Balance(told(here, {"from": "*", "to": "*"})) as balance:
        assert refused(here.stranger, here.at("red"))
        assert refused(here.client, OUTSIDE)
        assert changed(NOTHING, balance.totals()) == {"refused_unknown": 2}
        balance.update(told(here, {"from": "unknown", "to": "red"}, {"from": "client", "to": "unknown", "port": 9}))
        assert here.stranger.ask(here.at("red"), PORT) == "red"
        assert refused(here.stranger, here.at("green"))
        assert refused(here.client, OUTSIDE)
        here.client.connect(here.client.socket("udp"), OUTSIDE, 9)


def test_audit_lets_through_and_counts(here: Town) -> None:
    with Balance(told(here, mode="audit")) as balance:
        assert here.client.ask(here.at("green"), PORT) == "green"
        assert here.stranger.ask(here.service, PORT, "udp") == "red"
        grown = {"audited_no_rule": 1, "audited_unknown": 1, "balanced": 1}
        assert changed(NOTHING, balance.totals()) == grown


def test_by_default_allow_only_destinations_that_a_rule_names_are_closed(here: Town) -> None:
    with Balance(told(here, {"from": "blue", "to": "red"}, default="allow")) as balance:
        assert here.client.ask(here.at("green"), PORT) == "green"
        assert here.stranger.ask(here.at("green"), PORT) == "green"
        assert refused(here.client, here.at("red"))
        assert refused(here.stranger, here.at("red"))
        balance.update(told(here, {"from": "blue", "to": "*"}, default="allow"))
        assert refused(here.client, here.at("green"))


def test_a_mesh_without_connections_in_its_policy_refuses_nothing(here: Town) -> None:
    for policy in ({}, {"default": "deny", "requests": []}):
        with Balance(here.told(here.endpoint("red"), policy=policy)) as balance:
            assert here.client.ask(here.at("green"), PORT) == "green"
            assert not any(balance.totals().values())


def test_a_pod_may_always_talk_to_itself(here: Town) -> None:
    with Balance(told(here)) as balance:
        for address in ("127.0.0.1", "127.9.9.9", "0.0.0.0", here.at(CLIENT)):
            for kind in ("tcp", "udp"):  # nobody listens, and that is what the caller is told
                with pytest.raises(Refused, match="ECONNREFUSED"):
                    here.client.ask(address, 9, kind)
        assert not any(balance.totals().values())


def test_datagrams_are_asked_for_one_by_one(here: Town) -> None:
    with Balance(told(here, {"from": "client", "to": "red"})) as balance:
        number = here.client.socket("udp")
        here.client.send_to(number, here.service, PORT)
        here.client.send_to(number, here.at("red"), PORT)
        with pytest.raises(Refused, match="EPERM"):
            here.client.send_to(number, here.at("green"), PORT)
        balance.update(told(here))
        for address in (here.service, here.at("red")):
            with pytest.raises(Refused, match="EPERM"):
                here.client.send_to(number, address, PORT)
        assert changed(NOTHING, balance.totals()) == {"talked": 1, "permitted": 2, "refused_no_rule": 3}


def test_a_connected_socket_cannot_send_elsewhere(here: Town) -> None:
    with Balance(told(here, {"from": "client", "to": "red"})):
        number = here.client.socket("udp")
        here.client.connect(number, here.service, PORT)
        with pytest.raises(Refused, match="EPERM"):
            here.client.send_to(number, here.at("green"), PORT)
        with pytest.raises(Refused, match="EPERM"):
            here.client.connect(number, here.at("green"), PORT)
        assert here.client.peer(number) == [here.service, PORT]


def test_other_ways_to_begin_a_connection_are_asked_for_too(here: Town) -> None:
    with Balance(told(here)) as balance:
        with pytest.raises(Refused, match="EPERM"):
            here.client.fast_open(here.at("red"), PORT)
        number = here.client.socket("tcp", 4, here.at(CLIENT))
        assert here.client.begin(number, here.at("red"), PORT).split()[0] == "EPERM"
        try:
            number = here.client.socket("tcp", 4, None, MPTCP)
        except Refused:
            number = here.client.socket("tcp")
        with pytest.raises(Refused, match="EPERM"):
            here.client.connect(number, here.at("red"), PORT)
        assert balance.totals()["refused_no_rule"] >= 3


def test_an_open_connection_survives_the_rule_that_would_refuse_it(here: Town) -> None:
    with Balance(told(here, {"from": "*", "to": "*"})) as balance:
        number = here.client.socket("tcp")
        here.client.connect(number, here.at("red"), PORT)
        assert here.client.receive(number) == "red"
        balance.update(told(here))
        here.client.send(number)
        assert here.client.receive(number) == "x"
        assert refused(here.client, here.at("red"))


def test_pods_whose_address_is_not_told_are_a_mistake_where_there_is_a_policy(here: Town) -> None:
    with pytest.raises(Mistake, match="local addresses"):
        Balance(told(here) | {"local": []})
    Balance(here.told() | {"local": []}).close()
