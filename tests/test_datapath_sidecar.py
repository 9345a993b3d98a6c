"""Envoy beside the client and beside the server, on two nodes, with real traffic."""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from datapaths.proxy import envoy
from datapaths.sidecar import Sidecar
from lab import workload
from lab.cluster import Layout, Line, Part, PodSpec, Privilege, Process, ProcessSpec
from lab.cluster.local import LocalCluster
from lab.record import CannotRun, Failed, Load

ARM, CONNECTIONS, REQUESTS, ECHO = "mesh", 10, 500, 8081

VISITOR = """
import http.client, sys, time
host, port, connections, requests = sys.argv[1], *map(int, sys.argv[2:])
open_ = [http.client.HTTPConnection(host, port, timeout=10) for _ in range(connections)]
for k in range(requests):
    if k == 1:
        time.sleep(0.5)  # Envoy learns the destination from the first request (see datapaths/proxy/envoy.py)
    c = open_[k % connections]
    c.request("GET", "/bytes/128")
    r = c.getresponse()
    assert (r.status, len(r.read())) == (200, 128), r.status
print("answered", flush=True)
sys.stdin.readline()
"""

# A server that answers with the request's own headers, as it received them.
MIRROR = """
import http.server, json, sys
class Mirror(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = json.dumps(self.headers.items()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *a): pass
server = http.server.ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Mirror)
print("listening", flush=True)
server.serve_forever()
"""

ASK = """
import http.client, sys
c = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=10)
c.request("GET", "/mirror", headers={"X-Request-Id": "mine", "User-Agent": "lab"})
r = c.getresponse()
print(r.read().decode())
print(sorted(k for k, _ in r.getheaders()))
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    for tool in ("nft", "nginx"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is missing")
    try:
        envoy.binary()
    except CannotRun as missing:
        pytest.skip(str(missing))
    with LocalCluster("test-sidecar", state=tmp_path_factory.mktemp("state")) as opened:
        opened.deploy(layout())
        yield opened


def layout() -> Layout:
    mirror = ProcessSpec("mirror", (sys.executable, "-c", MIRROR, str(ECHO)), Part.APP, ready=Line("listening"))
    plain = (workload.server_pod(ARM, 1, [Load(100)]), workload.client_pod(ARM, 0))
    extra = PodSpec("mirror", 1, ARM, "mirror", (mirror,))
    return Layout(tuple(Sidecar().shape(pod) for pod in (*plain, extra)), (workload.service(ARM),))


def visitor(cluster: LocalCluster, requests: int = REQUESTS) -> Process:
    """A client that has had all its answers and keeps its connections until it is told a line."""
    service = cluster.mesh.service(workload.server_name(ARM))
    argv = (sys.executable, "-c", VISITOR, service.address, str(service.port), str(CONNECTIONS), str(requests))
    spec = ProcessSpec("visitor", argv, Part.LOAD, ready=Line("answered"))
    return cluster.run(workload.client_name(ARM), ARM, spec)


def counts(cluster: LocalCluster) -> dict[str, int]:
    whole = cluster.mesh.only(ARM)
    pair = {workload.client_name(ARM), workload.server_name(ARM)}  # the third pod is nobody's client
    seen = Sidecar().seen(cluster, replace(whole, pods=tuple(pod for pod in whole.pods if pod.name in pair)))
    assert all(count.not_understood == 0 for count in seen)
    return {count.observer: count.requests for count in seen}


def sockets(process: Process) -> int:
    """Established TCP sockets in the network namespace of a process, but for Envoy's administration."""
    (pid, *_) = process.pids()
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    admin = f":{envoy.ADMIN:04X}"
    return sum(row[3] == "01" and not (row[1] + row[2]).count(admin) for row in rows)


def test_both_sidecars_count_every_request_and_each_connection_becomes_three(cluster: LocalCluster) -> None:
    before = counts(cluster)
    client = visitor(cluster)
    (server,) = (p for p in cluster.processes if p.spec.name == "nginx")
    assert sockets(client) + sockets(server) == 2 * Sidecar.connections * CONNECTIONS
    client.tell("go")
    assert client.wait(10) == 0
    assert {name: n - before[name] for name, n in counts(cluster).items()} == dict.fromkeys(before, REQUESTS)
    assert len(before) == 2


def test_envoy_keeps_counts_by_method_and_status_and_a_histogram_of_times(cluster: LocalCluster) -> None:
    client = visitor(cluster, requests=20)
    client.tell("go")
    client.wait(10)
    name = "vhost.outbound.vcluster.GET.upstream_rq_200"
    assert envoy.counters(cluster, workload.client_name(ARM), envoy.ADMIN, f"^{name}$")[name] >= 20
    for _ in range(60):  # Envoy merges histograms every 5 s
        told = cluster.fetch(workload.client_name(ARM), envoy.ADMIN, "/stats?filter=http.outbound.downstream_rq_time$")
        if b"P99" in told:
            return
        time.sleep(0.25)
    pytest.fail(f"no histogram after 15 s: {told.decode()}")


def test_a_misspelt_gate_is_an_error_and_not_a_zero(cluster: LocalCluster) -> None:
    with pytest.raises(Failed, match="outbuond"):
        envoy.requests_seen(cluster, workload.client_name(ARM), envoy.ADMIN, "outbuond")


def test_a_message_changes_no_more_than_is_documented(cluster: LocalCluster) -> None:
    argv = (sys.executable, "-c", ASK, cluster.mesh.pod("mirror").address, str(ECHO))
    ask = cluster.run(workload.client_name(ARM), ARM, ProcessSpec("ask", argv, Part.LOAD))
    assert ask.wait(10) == 0, ask.read("stderr").decode()
    request, answer = ask.read("stdout").decode().splitlines()
    headers = dict(json.loads(request))
    assert set(headers) == {"host", "accept-encoding", "x-request-id", "user-agent", "x-forwarded-proto"}
    assert (headers["x-request-id"], headers["user-agent"]) == ("mine", "lab")
    assert answer == "['content-length', 'date', 'server']"


def test_envoy_runs_as_the_user_whose_traffic_is_let_pass(cluster: LocalCluster) -> None:
    for process in (p for p in cluster.processes if p.spec.name == "envoy"):
        (pid,) = process.pids()
        assert Path(f"/proc/{pid}/status").read_text().split("Uid:")[1].split()[0] == str(envoy.UID)


def test_the_proxy_starts_before_the_application_and_after_the_redirection() -> None:
    pod = Sidecar().shape(workload.server_pod(ARM, 1, [Load(100)]))
    assert [p.name for p in pod.processes] == ["envoy", "nginx"]
    assert [(p.name, p.privileges) for p in pod.init] == [("redirect", frozenset({Privilege.NET_ADMIN}))]


def test_nothing_is_left_when_the_cluster_closes(tmp_path: Path, cluster: LocalCluster) -> None:
    with LocalCluster("test-sidecar-end", state=tmp_path / "state") as brief:
        brief.deploy(Layout((Sidecar().shape(workload.client_pod(ARM, 0)),), ()))
        pids = [pid for process in brief.processes for pid in process.pids()]
    assert pids
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
