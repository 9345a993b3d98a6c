"""Policy by identity against real packets between two pods: what is denied never reaches the server."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import policy_attacks
import policy_uring
import pytest
from bpf_disorder import disorder, happened
from bpf_mesh import ARM, CLIENT, PORT, SERVER, needs, pods, script, speak_ipv6, web_server

from datapaths.bpf import grammar
from datapaths.bpf.policy import REASONS, Policy
from datapaths.bpf.states import LINE11
from datapaths.ebpf import Ebpf, identities
from lab.cluster import Line, Part, Privilege, ProcessSpec
from lab.cluster.launch import LocalProcess
from lab.cluster.local import LocalCluster
from lab.compile import ROOT
from lab.record import Mistake, Need

ATTACKS = {attack.name: attack for attack in policy_attacks.attacks()}
SET_UPS = {"both": ("server", "client"), "server": ("server",), "client": ("client",)}
HARDER = ("ipv6-deferred", "ipv6-server", "disordered")
IPV6: dict[str, str] = {}  # addresses by pod
PLAYER = policy_attacks.__file__
here = needs(Ebpf.needs | {Need.BPF_SK_MSG})


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with pods(tmp_path_factory.mktemp("state")) as opened:
        for pod in (CLIENT, SERVER):
            opened.inside(pod).inside(open_fast)
        IPV6.update(speak_ipv6(opened))
        yield opened


def open_fast() -> None:
    """Data in the first packet, sent and taken without a cookie (0x204), in the network namespace this runs in."""
    Path("/proc/sys/net/ipv4/tcp_fastopen").write_text("519")


def told(cluster: LocalCluster, pod: str, **policy: Any) -> dict[str, Any]:
    rules = {"requests": list(policy_attacks.RULES)} | policy
    known = identities(cluster.mesh) | {IPV6[each]: cluster.mesh.pod(each).app for each in IPV6}
    return {"cgroups": [str(cluster.mesh.pod(pod).cgroup)], "identities": known, "policy": rules}


def policies(cluster: LocalCluster, sides: tuple[str, ...], **policy: Any) -> dict[str, Policy]:
    return {
        side: Policy(told(cluster, SERVER if side == "server" else CLIENT, **policy), sides=(side,)) for side in sides
    }


class Outcome:
    """All attacks once: what the server read of each, what the client was told, what was counted."""

    def __init__(
        self, cluster: LocalCluster, port: int, sides: tuple[str, ...], address: str = "", how: str = "", **policy: Any
    ) -> None:
        acting, address = policies(cluster, sides, **policy), address or cluster.mesh.pod(SERVER).address
        try:
            spec = script(f"server-{port}", PLAYER, "server", address, str(port), how)
            server = cluster.run(SERVER, ARM, ProcessSpec(spec.name, spec.argv, spec.part, ready=Line("ready")))
            client = cluster.run(CLIENT, ARM, script(f"client-{port}", PLAYER, "client", address, str(port)))
            assert client.wait(60) == 0, client.read("stderr").decode()
            self.totals = {side: each.totals() for side, each in acting.items()}
        finally:
            for each in acting.values():
                each.close()
        read, ends = recorded(server, client)
        self.read = {name: read.get(end["port"], b"") for name, end in ends.items()}
        self.errors = {name: str(end["error"]) for name, end in ends.items()}
        self.told = {name: tuple(end["statuses"]) for name, end in ends.items()}


def recorded(server: LocalProcess, client: LocalProcess) -> tuple[dict[int, bytes], dict[str, dict[str, Any]]]:
    """What the server read, by the client's port; how each attack ended, by its name."""
    read = dict[int, bytes]()
    for line in server.read("stdout").decode().splitlines()[1:]:
        number, data = line.split()
        read[int(number)] = read.get(int(number), b"") + base64.b64decode(data)
    ends = [json.loads(line) for line in client.read("stdout").decode().splitlines()]
    return read, {end["name"]: end for end in ends}


@pytest.fixture(scope="module")
def outcomes(cluster: LocalCluster) -> dict[str, Outcome]:
    # first, as what the others refuse is sent again for a while
    found = {"audit": Outcome(cluster, PORT + 9, SET_UPS["server"], mode="audit")}
    found |= {name: Outcome(cluster, PORT + 1 + i, sides) for i, (name, sides) in enumerate(SET_UPS.items())}
    found["ipv6-deferred"] = Outcome(cluster, PORT + 4, SET_UPS["both"], IPV6[SERVER], "deferred")
    found["ipv6-server"] = Outcome(cluster, PORT + 5, SET_UPS["server"], IPV6[SERVER], "deferred")
    with disorder(cluster, SERVER, drop=30, delay=5) as bad:
        found["disordered"] = Outcome(cluster, PORT + 6, SET_UPS["server"])
        assert all(happened(bad).values())
    return found


@here
@pytest.mark.parametrize("set_up", [*SET_UPS, *HARDER])
@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if not attack.harmless])
def test_no_denied_request_reaches_the_server(outcomes: dict[str, Outcome], set_up: str, name: str) -> None:
    if ATTACKS[name].sender in policy_uring.SENDERS and not policy_uring.there():
        pytest.skip("io_uring is switched off on this machine")
    if set_up == "client" and (name == "oob" or name.startswith("fastopen")):
        pytest.skip("the client's side does not claim it: the server's side is what holds")
    if set_up not in {"both", "client", "ipv6-deferred"} and name == "pages":
        pytest.skip("the server's side does not claim it: see policy.bpf.c on pages that the sender still has")
    read = outcomes[set_up].read[name]
    assert ATTACKS[name].secret not in read.lower()
    assert len(policy_attacks.requests(read)) <= ATTACKS[name].passing


@here
@pytest.mark.parametrize("set_up", [*SET_UPS, "ipv6-deferred", "ipv6-server"])
@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.harmless])
def test_what_a_rule_allows_passes_however_it_is_cut(outcomes: dict[str, Outcome], set_up: str, name: str) -> None:
    if ATTACKS[name].sender in policy_uring.NOT_FROM_MAPS and "server" not in set_up:
        assert outcomes[set_up].read[name] == b""
        assert "not supported" in outcomes[set_up].errors[name]
        return
    assert outcomes[set_up].read[name] == b"".join(ATTACKS[name].segments)
    assert outcomes[set_up].told[name] == ATTACKS[name].told


@here
@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.told and not attack.harmless])
def test_the_caller_is_told_403_and_the_next_request_is_answered(outcomes: dict[str, Outcome], name: str) -> None:
    assert outcomes["both"].told[name] == ATTACKS[name].told


@here
@pytest.mark.parametrize("set_up", ["both", "client"])
@pytest.mark.parametrize("name", [name for name in ATTACKS if name.startswith("behind-")])
def test_what_is_allowed_before_a_denied_request_passes(outcomes: dict[str, Outcome], set_up: str, name: str) -> None:
    outcome, passing = outcomes[set_up], ATTACKS[name].passing
    assert len(policy_attacks.requests(outcome.read[name])) == passing
    assert outcome.told[name][:passing] == (200,) * passing


@here
def test_the_clients_side_sends_whole_heads_only(outcomes: dict[str, Outcome]) -> None:
    totals = outcomes["both"].totals["server"]
    assert totals["denied_unfinished"] == totals["denied_rule"] == totals["denied_malformed"] == 0


@here
def test_every_refusal_is_counted_with_a_reason(outcomes: dict[str, Outcome]) -> None:
    refused = sum(not attack.harmless for attack in ATTACKS.values())
    totals = outcomes["server"].totals["server"]
    assert sum(totals[f"denied_{reason}"] for reason in REASONS) == totals["poisoned"]
    # what the set-up before left open is sent again, to a policy that did not see it begin
    assert totals["poisoned"] - totals["denied_unseen"] <= refused, totals
    assert not any(totals[f"audited_{reason}"] for reason in REASONS)
    told = outcomes["client"].totals["client"]
    assert told["answered_403"] >= sum(403 in attack.told for attack in ATTACKS.values())


@here
def test_audit_passes_everything_and_counts_it(outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes["audit"]
    totals = outcome.totals["server"]
    assert totals["poisoned"] == 0 == sum(totals[f"denied_{reason}"] for reason in REASONS)
    assert outcome.read["path-plain"] == policy_attacks.BAD
    assert totals["audited_rule"] > 90
    denied = outcomes["server"].totals["server"]
    for reason in ("upgrade", "framing", "too_long", "unfinished", "urgent"):
        assert totals[f"audited_{reason}"] == denied[f"denied_{reason}"] > 0
    # enforcing ends a connection at its first denied request, and takes for `rule` what becomes `malformed` later
    found = [sum(each[f"{kind}_{r}"] for r in REASONS) for each, kind in ((totals, "audited"), (denied, "denied"))]
    assert found[0] >= found[1] - denied["denied_unseen"]


@pytest.fixture(scope="module")
def nginx(cluster: LocalCluster) -> str:
    cluster.run(SERVER, ARM, web_server(PORT))
    return f"http://{cluster.mesh.service(SERVER).address}:{PORT}"


@here
@pytest.mark.skipif(not shutil.which("h2load"), reason="h2load is missing: apt-get install nghttp2-client")
@pytest.mark.parametrize("pipelined", [1, 8])
def test_allowed_requests_at_full_speed_all_pass_and_are_counted(
    cluster: LocalCluster, nginx: str, pipelined: int
) -> None:
    acting = policies(cluster, ("server", "client"))
    try:
        argv = ("h2load", "--h1", "-n", "10000", "-c", "16", "-m", str(pipelined), f"{nginx}/ok")
        process = cluster.run(CLIENT, ARM, ProcessSpec(f"h2load-{pipelined}", argv, Part.LOAD))
        assert process.wait(40) == 0
        assert "10000 succeeded" in process.read("stdout").decode()
        for each in acting.values():
            assert each.totals()["allowed"] == 10_000
            assert each.denied() == 0
    finally:
        for each in acting.values():
            each.close()


LOSS = """table ip bpf_loss {
  chain input {
    type filter hook input priority 0; policy accept;
    iif "lo" accept
    meta l4proto tcp numgen random mod 50 == 0 drop
  }
}
"""


def lossy(cluster: LocalCluster, *argv: str) -> None:
    for pod in (CLIENT, SERVER):
        rights = frozenset({Privilege.NET_ADMIN})
        spec = ProcessSpec("nft", ("nft", *argv), Part.APP, {"loss.nft": LOSS}, user=0, privileges=rights)
        assert cluster.run(pod, ARM, spec).wait(5) == 0


@here
@pytest.mark.skipif(not shutil.which("h2load"), reason="h2load is missing: apt-get install nghttp2-client")
def test_lost_packets_cost_no_allowed_request(cluster: LocalCluster, nginx: str) -> None:
    acting = policies(cluster, ("server", "client"))
    lossy(cluster, "-f", "{dir}/loss.nft")
    try:
        argv = ("h2load", "--h1", "-n", "2000", "-c", "100", "-m", "8", f"{nginx}/ok")
        process = cluster.run(CLIENT, ARM, ProcessSpec("h2load-loss", argv, Part.LOAD))
        assert process.wait(40) == 0
        assert "2000 succeeded" in process.read("stdout").decode()
        assert [(each.totals()["allowed"], each.denied()) for each in acting.values()] == [(2000, 0)] * 2
    finally:
        lossy(cluster, "delete", "table", "ip", "bpf_loss")
        for each in acting.values():
            each.close()


def ask(end: socket.socket, path: str) -> int:
    end.sendall(policy_attacks.request(f"GET {path} HTTP/1.1"))
    return int(end.recv(65536).split()[1])


@here
def test_rules_change_at_once_and_open_connections_stay(cluster: LocalCluster, nginx: str) -> None:
    place = cluster.mesh.pod(SERVER).address, PORT
    acting = policies(cluster, ("server", "client"))
    try:
        with cluster.inside(CLIENT).inside(
            socket.socket
        ) as end:  # made there, so it lives there; not in the pod's cgroup
            end.settimeout(5)
            end.connect(place)
            assert ask(end, "/ok") == 200
            more = [*policy_attacks.RULES, {"from": "client", "to": "server", "methods": ["GET"], "routes": ["/new"]}]
            for _ in range(3):
                acting["server"].update(told(cluster, SERVER, requests=more))
            assert ask(end, "/new") == 200
            acting["server"].update(told(cluster, SERVER))
            end.settimeout(0.5)
            with pytest.raises(TimeoutError):
                ask(end, "/new")
        assert acting["server"].totals()["denied_rule"] == 1
    finally:
        for each in acting.values():
            each.close()


@here
@pytest.mark.parametrize(
    ("rules", "allowed"),
    [
        ([{"from": "client", "to": "server", "port": PORT}], True),
        ([{"from": "*", "to": "server"}], True),
        ([{"from": "client", "to": "server", "port": PORT + 1}], False),
        ([{"from": "server", "to": "*"}], False),
        ([], False),
    ],
)
def test_connections_that_no_rule_allows_are_dropped_when_they_are_opened(
    cluster: LocalCluster, nginx: str, rules: list[dict[str, Any]], allowed: bool
) -> None:
    with Policy(told(cluster, SERVER, connections=rules, requests=[]), sides=("server",)) as acting:
        with cluster.inside(CLIENT).inside(socket.socket) as end:
            end.settimeout(0.5)
            assert (end.connect_ex((cluster.mesh.pod(SERVER).address, PORT)) == 0) == allowed
        assert (acting.totals()["denied_connection"] == 0) == allowed


@here
def test_a_connection_that_was_there_before_is_refused(cluster: LocalCluster, nginx: str) -> None:
    with cluster.inside(CLIENT).inside(socket.socket) as end:
        end.settimeout(0.5)
        end.connect((cluster.mesh.pod(SERVER).address, PORT))
        assert ask(end, "/ok") == 200
        with Policy(told(cluster, SERVER), sides=("server",)) as acting:
            with pytest.raises(TimeoutError):
                ask(end, "/ok")
            assert acting.totals()["denied_unseen"] == 1


@here
def test_a_killed_agents_policy_holds_under_attack_until_the_next_one_takes_it_up(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    rules = told(cluster, SERVER) | {"cgroups": [str(cluster.mesh.pod(pod).cgroup) for pod in (CLIENT, SERVER)]}
    with agents(tmp_path, rules) as begin:
        agent, address = begin(), cluster.mesh.pod(SERVER).address
        spec = script("server-restart", PLAYER, "server", address, str(PORT + 7))
        server = cluster.run(SERVER, ARM, ProcessSpec(spec.name, spec.argv, spec.part, ready=Line("ready")))
        client = cluster.run(CLIENT, ARM, script("client-restart", PLAYER, "client", address, str(PORT + 7)))
        for _ in range(2):
            time.sleep(0.8)
            agent.kill()
            agent.communicate()
            time.sleep(0.4)
            agent = begin()
        assert client.wait(60) == 0, client.read("stderr").decode()
    read, ends = recorded(server, client)
    for name, end in ends.items():
        data, attack = read.get(end["port"], b""), ATTACKS[name]
        assert attack.harmless or attack.secret not in data.lower(), name
        assert len(policy_attacks.requests(data)) <= attack.passing, name
        if attack.harmless and attack.sender not in policy_uring.NOT_FROM_MAPS:
            assert (name, data) == (name, b"".join(attack.segments))


@contextmanager
def agents(folder: Path, rules: dict[str, Any]) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """What starts an agent on the same pins, each when it is called; they and the pins are gone afterwards."""
    mesh, pins, made = folder / "mesh.json", folder / "pins", list[subprocess.Popen[str]]()
    mesh.write_text(json.dumps(rules))
    words = [sys.executable, "-m", "datapaths.bpf.agent", "--parts", "policy", "--mesh", str(mesh), "--pins", str(pins)]

    def begin() -> subprocess.Popen[str]:
        made.append(subprocess.Popen([*words, "--port", free_port(), "--remove"], cwd=ROOT, text=True, stdout=-1))
        stdout = made[-1].stdout
        assert stdout is not None
        assert stdout.readline() == "ready\n"
        return made[-1]

    try:
        yield begin
    finally:
        for each in made:
            each.terminate()
            each.communicate(timeout=20)
    assert not pins.exists()


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return str(free.getsockname()[1])


@here
def test_a_client_whose_connection_is_older_than_the_agent_is_refused_and_may_connect_anew(
    cluster: LocalCluster, nginx: str
) -> None:
    place = cluster.mesh.pod(SERVER).address, PORT
    with cluster.inside(CLIENT).inside(socket.socket) as end, ExitStack() as stack:
        end.settimeout(0.5)
        end.connect(place)
        assert ask(end, "/ok") == 200
        acting = policies(cluster, ("server", "client"))
        for each in acting.values():
            stack.enter_context(each)
        with pytest.raises(TimeoutError):
            ask(end, "/ok")
        assert acting["server"].totals()["denied_unseen"] == 1
        with cluster.inside(CLIENT).inside(socket.socket) as anew:
            anew.settimeout(5)
            anew.connect(place)
            assert ask(anew, "/ok") == 200


WAITING = """
import array, fcntl, socket, sys, termios, time
end = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
end.sendall(b'GET %s HTTP/1.1\\r\\nHost: server\\r\\n\\r\\n' % sys.argv[3].encode())
waits, deadline = array.array('i', [0]), time.monotonic() + 1
time.sleep(0.2)
fcntl.ioctl(end, termios.FIONREAD, waits)
print(waits[0], len(end.recv(65536)))
"""


@here
@pytest.mark.parametrize("path", ["/ok", "/admin"])
def test_fionread_under_the_clients_side(cluster: LocalCluster, nginx: str, path: str) -> None:
    acting = policies(cluster, ("server", "client"))
    try:
        words = ("-c", WAITING, cluster.mesh.pod(SERVER).address, str(PORT), path)
        client = cluster.run(CLIENT, ARM, script(f"waiting-{path[1:]}", *words))
        assert client.wait(10) == 0, client.read("stderr").decode()
        waits, there = map(int, client.read("stdout").split())
        assert waits == there > 0
    finally:
        for each in acting.values():
            each.close()


def walked(rules: grammar.Rules, line: bytes) -> int:
    """The action that the last byte of a start line leads to; 0 where a byte is refused before."""
    rows, at = grammar.start_lines(rules, 100)
    for byte in line:
        at = rows[at - 100].next.get(byte, 0) if at >= 100 else 0
    return rows[at - 100].action if at >= 100 else 0


@pytest.mark.parametrize(
    ("pattern", "path", "allowed"),
    [
        ("/a/**", "/a", True),
        ("/a/**", "/a/", True),
        ("/a/**", "/a/b/c", True),
        ("/a/**", "/ab", False),
        ("/**", "/", True),
        ("/**", "/a/..", False),
        ("/a/{x}", "/a/", False),
        ("/a/{x}", "/a/..b", True),
        ("/a/{x}", "/a/%20", True),
        ("/a/{x}", "/a/%2f", False),
        ("/a/{x}", "/a/%41", False),
        ("/a/{x}/c", "/a/b/c?d", True),
    ],
)
def test_a_pattern_matches_what_it_says_and_nothing_that_decodes_to_something_else(
    pattern: str, path: str, allowed: bool
) -> None:
    line = f"GET {path} HTTP/1.1\r\n".encode()
    action = walked(frozenset({("GET", pattern)}), line)
    assert (action == LINE11) == allowed


@pytest.mark.parametrize(
    "policy",
    [
        {"mode": "perhaps"},
        {"default": "maybe"},
        {"requests": [{"from": "a", "to": "b", "methods": ["GET"], "routes": ["x"]}]},
        {"requests": [{"from": "a", "to": "b", "methods": ["CONNECT"], "routes": ["/"]}]},
        {"requests": [{"from": "a", "to": "b", "methods": ["GET"], "routes": ["/../x"]}]},
    ],
)
def test_wrong_rules_are_mistakes(policy: dict[str, Any]) -> None:
    with pytest.raises(Mistake):
        Policy({"policy": policy})


def test_reasons_are_those_of_the_source() -> None:
    source = Path(grammar.__file__).with_name("policy.h").read_text()
    listed = source.partition("enum reason {")[2].partition("REASONS")[0]
    names = [line.strip().split(",")[0].lower() for line in listed.splitlines() if line.strip()]
    assert tuple(names) == REASONS
