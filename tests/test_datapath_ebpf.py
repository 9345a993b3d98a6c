"""The eBPF and the per-node datapath on two nodes, with real requests."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from bpf_mesh import ARM, BIG_BYTES, CLIENT, PORT, SERVER, needs, script, web_server

from datapaths.bpf import agent
from datapaths.ebpf import Ebpf, identities, port
from datapaths.ebpf_mesh import EbpfMesh
from datapaths.ebpf_policy import EbpfPolicy
from datapaths.pernode import PerNode
from lab.cluster import Layout, Mesh, Node, Part, Pod, PodSpec, ProcessSpec, Service, ServiceSpec
from lab.cluster.home import tag
from lab.cluster.launch import LocalProcess
from lab.cluster.local import LocalCluster, clean
from lab.compile import ROOT
from lab.datapath import Datapath
from lab.record import CannotRun

REQUESTS = 2000
MOST_PRIVATE_KB = 25_000

needs_h2load = pytest.mark.skipif(
    not shutil.which("h2load"), reason="h2load is missing; install it with: apt-get install nghttp2-client"
)


@contextmanager
def deployed(datapath: Datapath, state: Path) -> Iterator[LocalCluster]:
    """Client and server as the lab deploys them, in an arm of this datapath."""
    server = PodSpec(SERVER, 1, ARM, "server", (web_server(PORT),))
    specs = (datapath.shape(PodSpec(CLIENT, 0, ARM, "client")), datapath.shape(server))

    def node_processes(node: Node, mesh: Mesh) -> list[tuple[str, ProcessSpec]]:
        return [(ARM, spec) for spec in datapath.node_processes(node, mesh.only(ARM))]

    with LocalCluster(f"bpf-{os.getpid()}", state=state) as cluster:
        cluster.deploy(Layout(specs, (ServiceSpec(SERVER, ARM, PORT, (SERVER,)),), node_processes))
        yield cluster


def load(cluster: LocalCluster, path: str, number: int) -> None:
    url = f"http://{cluster.mesh.service(SERVER).address}:{PORT}{path}"
    argv = ("h2load", "--h1", "-n", str(number), "-c", "20", url)
    process = cluster.run(CLIENT, ARM, ProcessSpec("h2load", argv, Part.LOAD))
    assert process.wait(40) == 0
    assert f"{number} succeeded" in process.read("stdout").decode()


def the_agent(cluster: LocalCluster, where: str) -> LocalProcess:
    found = [p for p in cluster.processes if p.spec.name == "agent" and p.where == where]
    assert len(found) == 1
    assert isinstance(found[0], LocalProcess)
    return found[0]


@pytest.mark.parametrize("datapath", [pytest.param(d, marks=needs(d.needs)) for d in (Ebpf(), PerNode())])
@needs_h2load
def test_its_own_count_is_the_number_of_requests_sent(datapath: Datapath, tmp_path: Path) -> None:
    with deployed(datapath, tmp_path) as cluster:
        mesh = cluster.mesh.only(ARM)
        before = datapath.seen(cluster, mesh)
        load(cluster, "/count", REQUESTS)
        load(cluster, "/big", REQUESTS // 10)
        after = datapath.seen(cluster, mesh)
        assert [b.observer for b in before] == [a.observer for a in after]
        assert [a.requests - b.requests for a, b in zip(after, before, strict=True)] == [REQUESTS * 11 // 10]
        assert [a.not_understood for a in after] == [0]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with deployed(Ebpf(), tmp_path_factory.mktemp("state")) as opened:
        yield opened


def metrics(cluster: LocalCluster) -> dict[str, float]:
    page = cluster.fetch("node1", port(cluster.mesh.slot), "/metrics").decode()
    pairs = (line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def restarted(cluster: LocalCluster, former: LocalProcess, *flags: str) -> LocalProcess:
    """The same agent again, over the pins of the former one."""
    pins = str(former.folder / "pins")
    spec = former.spec
    argv = (*(word.replace("{dir}/pins", pins) for word in spec.argv), *flags)
    return cluster.run(former.where, ARM, replace(spec, argv=argv))


@needs(Ebpf.needs)
@needs_h2load
def test_an_agent_killed_and_restarted_under_load_loses_no_request(tmp_path: Path) -> None:
    number = 40_000
    with deployed(Ebpf(), tmp_path) as opened:
        url = f"http://{opened.mesh.service(SERVER).address}:{PORT}/"
        argv = ("h2load", "--h1", "-n", str(number), "-c", "20", url)
        running = the_agent(opened, "node1")
        h2load = opened.run(CLIENT, ARM, ProcessSpec("h2load", argv, Part.LOAD))
        kills = 0
        while h2load.code is None and kills < 3:
            os.kill(running.pids()[0], signal.SIGKILL)
            running.wait(10)
            running = restarted(opened, running)
            kills += 1
        assert h2load.wait(60) == 0
        assert f"{number} succeeded" in h2load.read("stdout").decode()
        totals = json.loads(opened.fetch("node1", port(opened.mesh.slot), "/count"))["http"]
        assert (totals["requests"], totals["answered"], totals["not_understood"]) == (number, number, 0)
        page = metrics(opened)
        assert sum(value for name, value in page.items() if "_duration_seconds_count{" in name) == number
        assert kills


@needs(Ebpf.needs)
@needs_h2load
def test_requests_are_told_apart_by_source_destination_method_path_and_status(cluster: LocalCluster) -> None:
    load(cluster, "/big", 100)
    page = metrics(cluster)
    labels = 'source="client",destination="server",http_request_method="GET",http_route="/big",'
    labels += 'http_response_status_code="200",url_scheme="http"'
    assert page[f"http_server_request_duration_seconds_count{{{labels}}}"] == 100
    assert page[f'http_server_request_duration_seconds_bucket{{{labels},le="+Inf"}}'] == 100
    assert page[f"http_server_response_body_size_bytes_sum{{{labels}}}"] == 100 * BIG_BYTES
    assert page["mesh_http_requests_total"] == page["mesh_http_answered_total"] == 100
    assert page["mesh_http_coverage_ratio"] == 1


@needs(Ebpf.needs)
def test_only_the_server_s_node_counts(cluster: LocalCluster) -> None:
    counts = [
        json.loads(cluster.fetch(n, port(cluster.mesh.slot), "/count"))["http"]["connections"]
        for n in ("node0", "node1")
    ]
    assert counts[0] == 0


@needs(Ebpf.needs)
def test_an_agent_is_small(cluster: LocalCluster) -> None:
    (pid,) = the_agent(cluster, "node1").pids()
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    private = sum(int(kb) for kb in re.findall(r"Private_\w+: +(\d+) kB", rollup))
    assert private <= MOST_PRIVATE_KB


def programs(pid: int) -> set[int]:
    """The kernel's numbers of the BPF programs that a process holds."""
    infos = (f.read_text() for f in Path(f"/proc/{pid}/fdinfo").iterdir())
    return {int(found) for info in infos for found in re.findall(r"^prog_id:\s+(\d+)", info, re.MULTILINE)}


needs_bpftool = pytest.mark.skipif(
    not shutil.which("bpftool"), reason="bpftool is missing; install it with: apt-get install bpftool"
)


@needs(Ebpf.needs)
@needs_bpftool
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_programs_outlive_an_agent_and_nothing_outlives_the_deployment(how: signal.Signals, tmp_path: Path) -> None:
    with deployed(Ebpf(), tmp_path) as opened:
        running = the_agent(opened, "node1")
        (pid,) = running.pids()
        held = programs(pid)
        os.kill(pid, how)
        assert running.wait(10) == (0 if how is signal.SIGTERM else -how)
        assert held <= existing()
        opened.undeploy()
        assert gone(held)
        assert str(running.folder) not in Path("/proc/self/mountinfo").read_text()


HELD = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_datapath_ebpf import deployed, the_agent
from datapaths.ebpf import Ebpf
with deployed(Ebpf(), Path({state!r})) as cluster:
    print(the_agent(cluster, "node1").pids()[0], flush=True)
    time.sleep(600)
"""


@needs(Ebpf.needs)
@needs_bpftool
def test_after_kill_9_of_the_lab_the_cleaner_removes_the_pins(tmp_path: Path) -> None:
    state = tmp_path / "state"
    script = HELD.format(tests=str(Path(__file__).parent), state=str(state))
    words = [sys.executable, "-c", script]
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)}) as lab:
        assert lab.stdout is not None
        held = programs(int(lab.stdout.readline()))
        lab.kill()
    assert held
    assert held <= existing()  # the agents have died with the lab, what they pinned has not
    removed = clean(state=state)
    assert sum(line.startswith("BPF pins") for line in removed) == 2
    assert gone(held)
    assert tag(state) not in Path("/proc/self/mountinfo").read_text()


def gone(held: set[int]) -> bool:
    """The kernel frees programs a moment after the last reference has gone."""
    deadline = time.monotonic() + 10
    while held & existing() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not held & existing()


def existing() -> set[int]:
    done = subprocess.run(["bpftool", "-j", "prog", "list"], capture_output=True, text=True, check=True)
    return {entry["id"] for entry in json.loads(done.stdout)}


def test_an_agent_that_cannot_start_says_why_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mesh.json"
    file.write_text("{")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        assert agent.main(["--parts", "http", "--port", "0", "--mesh", str(file)]) == 1
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert capsys.readouterr().err.count("\n") == 1


def mesh(change: Callable[[Pod], Pod] = lambda pod: pod) -> Mesh:
    pods = tuple(
        change(Pod(f"a-{app}", f"node{i}", "a", app, f"10.78.{i}.2", Path(f"/cgroup/{app}")))
        for i, app in enumerate(("client", "server"))
    )
    service = Service("a-server", "a", "10.79.0.1", 8080, ("10.78.1.2",))
    return Mesh((Node("node0", 0, "10.77.0.1"), Node("node1", 1, "10.77.0.2")), pods, (service,), {"a": 3})


def test_a_service_has_the_identity_of_the_pods_behind_it() -> None:
    assert identities(mesh()) == {"10.78.0.2": "client", "10.78.1.2": "server", "10.79.0.1": "server"}


def test_arms_side_by_side_have_ports_of_their_own() -> None:
    (spec,) = Ebpf().node_processes(mesh().nodes[0], mesh())
    assert spec.argv[spec.argv.index("--port") + 1] == "17030"
    assert json.loads(spec.files["mesh.json"])["cgroups"] == ["/cgroup/client"]


def test_a_pod_whose_cgroup_is_not_known_cannot_be_watched() -> None:
    unknown = mesh(lambda pod: replace(pod, cgroup=None))
    with pytest.raises(CannotRun, match="a-client"):
        Ebpf().node_processes(unknown.nodes[0], unknown)


ASKING = """
import http.client, sys
connection = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=10)
for method, path in (word.split(" ") for word in sys.argv[3:]):
    connection.request(method, path)
    answer = connection.getresponse()
    answer.read()
    print(answer.status)
"""


@pytest.mark.parametrize("datapath", [pytest.param(d, marks=needs(d.needs)) for d in (EbpfPolicy(), EbpfMesh())])
def test_only_the_workload_s_own_requests_reach_the_server(datapath: Datapath, tmp_path: Path) -> None:
    words = ("GET /", "GET /secret", "GET /bytes/1", "POST /bytes/1", "GET /api/1/2", "GET /")
    with deployed(datapath, tmp_path) as opened:
        service = opened.mesh.service(SERVER)
        asked = script("asking", "-c", ASKING, service.address, str(service.port), *words)
        client = opened.run(CLIENT, ARM, asked)
        assert client.wait(20) == 0, client.read("stderr").decode()
        assert client.read("stdout").decode().split() == ["200", "403", "200", "403", "403", "200"]
        (seen,) = datapath.seen(opened, opened.mesh.only(ARM))
        assert seen.requests == 3
