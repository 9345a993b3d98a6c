"""Service addresses resolved at connect(): who answers, who seems to, and what an update leaves alone."""

from __future__ import annotations

import functools
import json
import math
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bpf_mesh import needs
from bpf_sockets import MPTCP
from bpf_town import ARM, CLIENT, NEEDS, PORT, Refused, Town, changed, town

from datapaths.bpf import balance as balance_module
from datapaths.bpf.balance import HELPS, Balance
from datapaths.bpf.bpffs import BpfFileSystem
from datapaths.bpf.pins import Stale
from datapaths.ebpf import agent, port
from lab.record import Mistake

pytestmark = needs(NEEDS)
CONNECTIONS, CLOSED_PORT, UPDATES, SLOT = 1000, 9, 40, 3


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with town(tmp_path_factory.mktemp("state")) as opened:
        yield opened


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("weights", [(90, 10), (1, 1), (1, 0)])
def test_connections_are_shared_by_weight(here: Town, kind: str, weights: tuple[int, int]) -> None:
    red, green = (here.endpoint(pod, weight=w) for pod, w in zip(("red", "green"), weights, strict=True))
    with Balance(here.told(red, green)) as balance:
        found = here.client.many(CONNECTIONS, here.service, PORT, kind)
        share = weights[1] / sum(weights)
        within = 5 * math.sqrt(CONNECTIONS * share * (1 - share))  # missed once in two million times
        assert abs(found.get("green", 0) - CONNECTIONS * share) <= within
        assert sum(found.values()) == CONNECTIONS
        assert balance.totals() == dict.fromkeys(HELPS, 0) | {"balanced": CONNECTIONS}


def test_endpoints_of_the_same_node_come_first_and_the_others_where_there_are_none(here: Town) -> None:
    everybody = [here.endpoint(pod) for pod in ("red", "green", "blue")]
    with Balance(here.told(*everybody)) as balance:
        assert here.client.many(60, here.service, PORT) == {"blue": 60}
        balance.update(here.told(*everybody[:2]))
        assert set(here.client.many(60, here.service, PORT)) == {"red", "green"}
        balance.update(here.told(*everybody[:2], here.endpoint("blue", weight=0)))
        assert set(here.client.many(60, here.service, PORT)) == {"red", "green"}
        anywhere = here.told(*everybody)
        anywhere["services"] = [service | {"prefer": "any"} for service in anywhere["services"]]
        balance.update(anywhere)
        assert set(here.client.many(90, here.service, PORT)) == {"red", "green", "blue"}


def test_the_peer_of_a_connection_is_the_service_before_and_after_an_update(here: Town) -> None:
    with Balance(here.told(here.endpoint("red"))) as balance:
        number = here.client.socket("tcp", 4, here.at(CLIENT))  # bound beforehand
        here.client.connect(number, here.service, PORT)
        assert here.client.receive(number) == "red"
        for update in (here.told(here.endpoint("green")), here.told()):
            balance.update(update)
            assert here.client.peer(number) == [here.service, PORT]
            here.client.send(number)
            assert here.client.receive(number) == "x"
        here.client.close(number)


def test_a_service_without_endpoints_refuses_and_is_counted(here: Town) -> None:
    with Balance(here.told()) as balance:
        for kind in ("tcp", "udp"):
            with pytest.raises(Refused, match="ECONNREFUSED"):
                here.client.ask(here.service, PORT, kind)
        with pytest.raises(Refused, match="ECONNREFUSED"):
            here.client.send_to(here.client.socket("udp"), here.service, PORT)
        assert balance.totals() == dict.fromkeys(HELPS, 0) | {"no_endpoint": 3}


def test_on_a_kernel_that_cannot_give_a_reason_the_refusal_is_eperm(
    here: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = functools.partial(balance_module._load, reasons=False)
    monkeypatch.setattr(balance_module, "_loaded", loaded)
    with Balance(here.told()) as balance:
        with pytest.raises(Refused, match="EPERM"):
            here.client.ask(here.service, PORT)
        assert balance.totals()["no_endpoint"] == 1


def test_a_connect_that_does_not_wait_is_balanced_once(here: Town) -> None:
    with Balance(here.told(here.endpoint("red"))) as balance:
        number = here.client.socket("tcp")
        assert here.client.begin(number, here.service, PORT) == "EINPROGRESS OK EISCONN"
        assert here.client.receive(number) == "red"
        assert here.client.peer(number) == [here.service, PORT]
        assert balance.totals()["balanced"] == 1
        here.client.close(number)


def test_a_socket_that_was_refused_may_connect_again_and_gets_an_endpoint_anew(here: Town) -> None:
    with Balance(here.told(here.endpoint("red", port=CLOSED_PORT))) as balance:
        number = here.client.socket("tcp")
        with pytest.raises(Refused, match="ECONNREFUSED"):
            here.client.connect(number, here.service, PORT)
        balance.update(here.told(here.endpoint("green")))
        here.client.connect(number, here.service, PORT)
        assert here.client.receive(number) == "green"
        assert here.client.peer(number) == [here.service, PORT]
        here.client.close(number)


def test_a_connection_to_a_pod_itself_is_left_alone(here: Town) -> None:
    with Balance(here.told(here.endpoint("red"))) as balance:
        number = here.client.socket("tcp")
        here.client.connect(number, here.at("green"), PORT)
        assert here.client.receive(number) == "green"
        assert here.client.peer(number) == [here.at("green"), PORT]
        assert not any(balance.totals().values())
        here.client.close(number)


def test_only_sockets_of_the_pods_that_were_named_are_balanced(here: Town) -> None:
    told = here.told(here.endpoint("blue"))
    with Balance(told | {"cgroups": told["cgroups"][:1], "local": told["local"][:1]}) as balance:
        assert here.client.ask(here.service, PORT) == "blue"
        assert here.stranger.ask(here.service, PORT) in {"red", "green"}  # by the node's rules
        balance.update(told)
        assert here.stranger.ask(here.service, PORT) == "blue"
        balance.update(told | {"cgroups": told["cgroups"][:1], "local": told["local"][:1]})
        assert here.stranger.ask(here.service, PORT) in {"red", "green"}


def test_fast_open_and_mptcp_connections_are_balanced_too(here: Town) -> None:
    with Balance(here.told(here.endpoint("red"))) as balance:
        assert here.client.fast_open(here.service, PORT) == "red"
        assert balance.totals()["balanced"] == 1
        try:
            number = here.client.socket("tcp", 4, None, MPTCP)
        except Refused as lacking:
            pytest.skip(f"this kernel has no Multipath TCP: {lacking}")
        here.client.connect(number, here.service, PORT)
        assert here.client.receive(number) == "red"
        assert balance.totals()["balanced"] == 2
        here.client.close(number)


def test_updates_under_load_lose_no_connection_and_never_show_half_a_table(here: Town) -> None:
    one, other = here.told(here.endpoint("red")), here.told(here.endpoint("green"), here.endpoint("blue", weight=0))
    with Balance(one) as balance:
        found: dict[str, int] = {}
        asking = threading.Thread(target=lambda: found.update(here.client.many(2 * CONNECTIONS, here.service, PORT)))
        asking.start()
        for turn in range(UPDATES):
            balance.update(one if turn % 2 else other)
        asking.join()
        assert sum(found.values()) == 2 * CONNECTIONS
        assert set(found) <= {"red", "green"}
        assert balance.totals() == dict.fromkeys(HELPS, 0) | {"balanced": 2 * CONNECTIONS}
        assert balance.generation == UPDATES + 1


def test_a_mesh_that_is_wrong_or_too_large_changes_nothing(here: Town) -> None:
    with Balance(here.told(here.endpoint("red"))) as balance:
        crowd = [here.endpoint("green", port=1 + n) for n in range(1000)]
        with pytest.raises(Mistake, match="room for"):
            balance.update(here.told(*crowd))
        with pytest.raises(Mistake, match="weight"):
            balance.update(here.told(here.endpoint("green", weight=-1)))
        assert here.client.many(20, here.service, PORT) == {"red": 20}
        assert balance.generation == 1


def tracked(here: Town, node: str) -> list[str]:
    """What the node's connection tracking knows."""
    table = Path("/proc/thread-self/net/nf_conntrack")

    def read() -> list[str]:
        if not table.exists():
            pytest.skip("this kernel does not show tracked connections (CONFIG_NF_CONNTRACK_PROCFS)")
        return table.read_text().splitlines()

    return here.cluster.inside(node).inside(read)


def test_no_balanced_connection_is_translated_and_without_the_nodes_rules_none_is_tracked(tmp_path: Path) -> None:
    with town(tmp_path) as here:
        here.client.many(3, here.service, PORT)
        assert sum(f"dst={here.service}" in line for line in tracked(here, "node0")) == 3  # what it would be otherwise
        with Balance(here.told(here.endpoint("red"))):
            here.client.many(20, here.service, PORT)
            assert sum(f"dst={here.service}" in line for line in tracked(here, "node0")) == 3
            for node in ("node0", "node1"):
                rules = ("nft", "delete", "table", "ip", "services")
                here.cluster.inside(node).inside(lambda rules=rules: subprocess.run(rules, check=True))  # type: ignore[misc]
            before = tracked(here, "node0")
            assert here.client.many(20, here.service, PORT) == {"red": 20}
            assert len(tracked(here, "node0")) == len(before)


def test_a_restarted_agent_goes_on_where_the_last_one_ended(here: Town, tmp_path: Path) -> None:
    system = BpfFileSystem(tmp_path / "pins")
    try:
        folder = system.part("balance")
        Balance(here.told(here.endpoint("red")), folder).close()
        assert here.client.many(10, here.service, PORT) == {"red": 10}  # while nobody is there
        with Balance(here.told(here.endpoint("green")), folder) as balance:
            assert balance.totals()["balanced"] == 10
            assert balance.generation == 2
            assert here.client.many(10, here.service, PORT) == {"green": 10}
        crowd = here.told(*(here.endpoint("blue", port=PORT + n % 2, weight=n + 1) for n in range(2)))
        with pytest.raises(Stale):
            Balance(crowd | {"identities": {f"10.1.{n // 250}.{n % 250}": f"pod{n}" for n in range(999)}}, folder)
        system.forget("balance")
        with Balance(here.told(here.endpoint("blue")), folder) as balance:
            assert here.client.many(10, here.service, PORT) == {"blue": 10}
            assert changed(dict.fromkeys(HELPS, 0), balance.totals()) == {"balanced": 10}
    finally:
        system.remove()
    assert here.client.ask(here.service, PORT) in {"red", "green"}


def test_the_agent_hosts_it_and_follows_its_mesh_file(here: Town) -> None:
    spec = agent(("balance",), SLOT, here.told(here.endpoint("red")))
    process = here.cluster.run("node0", ARM, spec)

    def counted() -> dict[str, dict[str, int]]:
        page: dict[str, dict[str, int]] = json.loads(here.cluster.fetch("node0", port(SLOT), "/count"))
        return page

    assert here.client.many(10, here.service, PORT) == {"red": 10}
    assert changed(dict.fromkeys(HELPS, 0), counted()["balance"]) == {"balanced": 10}
    (process.folder / "mesh.json").write_text(json.dumps(here.told(here.endpoint("green"))))
    os.kill(process.pids()[0], signal.SIGHUP)
    deadline = time.monotonic() + 10
    while not counted()["agent"]["reloads"]:
        assert time.monotonic() < deadline
    assert here.client.many(10, here.service, PORT) == {"green": 10}
    assert b"mesh_balance_balanced_total 20" in here.cluster.fetch("node0", port(SLOT), "/metrics")
    os.kill(process.pids()[0], signal.SIGTERM)
    assert process.wait(10) == 0
    assert here.client.ask(here.service, PORT) in {"red", "green"}
