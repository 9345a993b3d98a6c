"""HTTP inside TLS, at OpenSSL's own calls: what clients ask and servers answer is counted at both."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bpf_mesh import ARM, BIG_BYTES, CLIENT, PORT, SERVER, needs, pods, script
from bpf_tls_client import REQUESTS

from datapaths.bpf import tls
from datapaths.bpf.conversation import Conversation, Exchange
from datapaths.ebpf import cgroup
from lab import compile
from lab.cluster import Http, Part, Port, Privilege, ProcessSpec
from lab.cluster.launch import LocalProcess
from lab.cluster.local import LocalCluster
from lab.record import Need

NEEDS = frozenset({Need.CGROUP2, Need.BCC, Need.BPF_UPROBE, Need.NGINX})
CLIENT_SCRIPT = str(Path(__file__).with_name("bpf_tls_client.py"))
AGENT, CONNECTIONS = 17900, 20

NGINX = """daemon off; pid {dir}/pid; error_log stderr; events { }
http { access_log off; client_body_temp_path {dir}/client; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi; keepalive_requests 100000;
  server { listen PORT ssl; ssl_certificate CERTIFICATE; ssl_certificate_key KEY;
    location /hello { return 200 "hello"; } location /big { root {dir}; } location / { return 404; } } }
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if not shutil.which("openssl"):
        pytest.skip("openssl is missing; install it with: apt-get install openssl")
    folder = tmp_path_factory.mktemp("certificate")
    made = folder / "certificate.pem", folder / "key.pem"
    asked = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=server")
    subprocess.run(("openssl", *asked, "-out", made[0], "-keyout", made[1]), check=True, capture_output=True)
    folder.chmod(0o755)
    for file in made:
        file.chmod(0o644)  # nginx is a user of its own
    for parent in folder.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o011)
    return made


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]) -> Iterator[LocalCluster]:
    with pods(tmp_path_factory.mktemp("state")) as opened:
        text = NGINX.replace("PORT", str(PORT))
        for word, path in zip(("CERTIFICATE", "KEY"), certificate, strict=True):
            text = text.replace(word, str(path))
        argv = ("nginx", "-e", "stderr", "-c", "{dir}/nginx.conf")
        files = {"nginx.conf": text, "big": "x" * BIG_BYTES}
        opened.run(SERVER, ARM, ProcessSpec("nginx", argv, Part.APP, files, ready=Port(PORT)))
        yield opened


def watching(cluster: LocalCluster, pod: str) -> LocalProcess:
    """The process beside the agent of the pod's node."""
    there = cluster.mesh.pod(pod)
    told = {"cgroups": [cgroup(there)], "names": {cgroup(there): there.app}, "routes": ["/hello", "/big"]}
    argv = (sys.executable, "-m", "datapaths.bpf.tls", "--mesh", "{dir}/mesh.json", "--port", str(AGENT))
    spec = ProcessSpec(
        *("tls", argv, Part.DATAPATH, {"mesh.json": json.dumps(told)}),
        env={"PYTHONPATH": str(compile.ROOT), "MESH_LAB_BUILD": str(compile.cache())},
        user=0,
        privileges=frozenset({Privilege.BPF}),
        ready=Http(AGENT, "/ready"),
    )
    return cluster.run(there.node, ARM, spec)


def count(cluster: LocalCluster, pod: str) -> dict[str, int]:
    found: dict[str, int] = json.loads(cluster.fetch(cluster.mesh.pod(pod).node, AGENT, "/count"))["tls"]
    return found


def eventually(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not there() and time.monotonic() < deadline:
        time.sleep(0.05)


@needs(NEEDS)
@pytest.mark.parametrize(("pod", "side"), [(SERVER, "server"), (CLIENT, "client")])
def test_every_request_of_every_connection_is_counted(cluster: LocalCluster, pod: str, side: str) -> None:
    running = watching(cluster, pod)
    address = cluster.mesh.service(SERVER).address
    try:
        client = cluster.run(CLIENT, ARM, script("client", CLIENT_SCRIPT, address, str(PORT), str(CONNECTIONS)))
        assert client.wait(30) == 0, client.read("stderr").decode()
        sent = len(REQUESTS) * CONNECTIONS
        eventually(lambda: count(cluster, pod)["answered"] == sent)
        counts = count(cluster, pod)
        assert (counts[f"{side}_requests"], counts["answered"], counts["unanswered"]) == (sent, sent, 0)
        assert counts["not_http"] == counts["lost_records"] == 0
        page = cluster.fetch(cluster.mesh.pod(pod).node, AGENT, "/metrics").decode()
        found = re.findall(rf"^http_{side}_request_duration_seconds_count{{(.*)}} (\d+)$", page, re.MULTILINE)
        seen = {tuple(sorted(re.findall(r'(\w+)="([^"]*)"', labels))): int(number) for labels, number in found}
        assert seen == {labels(side, *key): number * CONNECTIONS for key, number in expected().items()}
    finally:
        os.kill(running.pids()[0], signal.SIGTERM)
        assert running.wait(10) == 0


def expected() -> Counter[tuple[str, str, int]]:
    return Counter((m, "" if p == "/no" else p, 404 if p == "/no" else 200) for m, p, _ in REQUESTS)


def labels(pod: str, method: str, route: str, status: int) -> tuple[tuple[str, str], ...]:
    given = {"pod": pod, "http_request_method": method, "http_response_status_code": str(status), "url_scheme": "https"}
    return tuple(sorted((given | ({"http_route": route} if route else {})).items()))


def talk(*said: tuple[str, bytes, int]) -> tuple[list[Exchange], Counter[str]]:
    exchanges: list[Exchange] = []
    counts: Counter[str] = Counter()
    conversation = Conversation("pod", exchanges.append, counts)
    for i, (direction, data, unseen) in enumerate(said):
        conversation.feed(direction, data, unseen, i * 1000)
    conversation.end()
    return exchanges, counts


ASKED = b"GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n"


def test_bytes_of_a_body_that_were_not_seen_do_not_matter() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
    exchanges, counts = talk(
        ("in", ASKED, 0), ("out", head + b"x" * 10, 99_990), ("in", ASKED, 0), ("out", head, 100_000)
    )
    assert [(e.side, e.method, e.path, e.status) for e in exchanges] == [("server", "GET", "/a", 200)] * 2
    assert counts["unanswered"] == 0


def test_bytes_of_a_head_that_were_not_seen_end_the_conversation_and_are_said() -> None:
    exchanges, counts = talk(("out", ASKED[:20], 10), ("in", b"HTTP/1.1 200 OK\r\n\r\n", 0))
    assert (exchanges, counts["not_http"]) == ([], 1)


def test_an_answer_to_head_has_no_body() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"
    asked = ASKED.replace(b"GET", b"HEAD")
    exchanges, _ = talk(
        ("in", asked + ASKED, 0), ("out", head[:20], 0), ("out", head[20:] + head[:-5] + b"\r\n\r\n", 0)
    )
    assert [e.method for e in exchanges] == ["HEAD", "GET"][: len(exchanges)]
    assert exchanges[0].method == "HEAD"


def test_an_answer_may_end_with_the_connection_and_interim_ones_do_not_count() -> None:
    exchanges, counts = talk(
        ("in", ASKED, 0), ("out", b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\nuntil the end", 0)
    )
    assert [e.status for e in exchanges] == [200]
    assert counts["unanswered"] == 0


def test_what_is_not_http_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    _, counts = talk(("in", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0))
    assert counts["not_http"] == 1


def test_without_pods_it_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mesh.json").write_text("{}")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        assert tls.main(["--mesh", str(tmp_path / "mesh.json"), "--port", "0"]) == 1
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert "cgroup" in capsys.readouterr().err
