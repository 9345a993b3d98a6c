"""Trace contexts read in the kernel, and the spans that come of them, against real requests between two pods."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bpf_mesh import ARM, CLIENT, PORT, SERVER, needs, pods, script, web_server
from bpf_spans import GOOD, PARENT, TRACE, Collector, ask, cases, plain, read_back, request

from datapaths.bpf.http import HttpWatch
from datapaths.bpf.sampling import Sampling
from datapaths.bpf.tracing import PAUSE_S, Tracer
from datapaths.ebpf import Ebpf, identities, port
from datapaths.ebpf_tracing import EbpfTracing
from lab.cluster import Layout, Line, Mesh, Node, Part, PodSpec, ProcessSpec, ServiceSpec
from lab.cluster.launch import LocalProcess
from lab.cluster.local import LocalCluster

pytestmark = needs(Ebpf.needs)

PLAYER = str(Path(__file__).with_name("bpf_spans.py"))
PATTERNS = ("/users/{id}", "/case/*", "/silence")
ALL = Sampling(every=1)
NONE_BY_CHANCE = Sampling(every=0)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with pods(tmp_path_factory.mktemp("state")) as opened:
        spec = script("server", PLAYER, opened.mesh.pod(SERVER).address, str(PORT))
        opened.run(SERVER, ARM, ProcessSpec(spec.name, spec.argv, spec.part, ready=Line("ready")))
        yield opened


@contextmanager
def traced(
    cluster: LocalCluster, to: str, sample: Sampling, side: str = "server", **how: Any
) -> Iterator[tuple[HttpWatch, Tracer]]:
    """A watch and its tracer, whose exporter is in the server's node."""
    folder = cluster.mesh.pod(SERVER if side == "server" else CLIENT).cgroup
    assert folder is not None
    with HttpWatch([folder], identities(cluster.mesh), side, patterns=PATTERNS, sample=sample) as watch:
        told = {"otlp": to, "linger_s": 0.02, **how}
        tracer = cluster.inside("node1").inside(lambda: Tracer(watch, told, "node1"))
        try:
            yield watch, tracer
        finally:
            tracer.close()


def asked(cluster: LocalCluster, requests: list[bytes], cut: int = 0, at_once: bool = False) -> None:
    address = cluster.mesh.service(SERVER).address
    cluster.inside(CLIENT).inside(lambda: ask(address, PORT, requests, cut, at_once))


def tended(tracer: Tracer, until: Callable[[dict[str, int]], bool]) -> dict[str, int]:
    """What an agent does, until the totals are as wanted; the totals."""
    deadline = time.monotonic() + 15
    while True:
        tracer.tend()
        totals = tracer.totals()
        if until(totals) or time.monotonic() > deadline:
            return totals
        time.sleep(PAUSE_S)


def settled(totals: dict[str, int]) -> bool:
    return totals["spans_sampled"] == totals["spans_exported"] + totals["spans_dropped"]


def spans_of(cluster: LocalCluster, file: Path, requests: list[bytes], *how: Any) -> list[dict[str, Any]]:
    with traced(cluster, f"file:{file}", ALL) as (_, tracer):
        asked(cluster, requests, *how)
        totals = tended(tracer, settled)
    assert totals["spans_dropped"] == 0
    found = read_back(file)
    assert len(found) == totals["spans_exported"] == totals["spans_sampled"]
    return found


@pytest.mark.parametrize("cut", [0, 7, 1])
def test_a_context_is_read_as_w3c_says_however_it_is_cut(cluster: LocalCluster, tmp_path: Path, cut: int) -> None:
    chosen = [c for c in cases() if cut != 1 or sum(map(len, c.fields)) < 500]
    file = tmp_path / "spans"
    with traced(cluster, f"file:{file}", ALL) as (watch, tracer):
        asked(cluster, [request(f"/case/{i}", *c.fields) for i, c in enumerate(chosen)], cut)
        totals = tended(tracer, settled)
        assert watch.totals()["answered"] == len(chosen)
    found = sorted(read_back(file), key=lambda s: int(s["startTimeUnixNano"]))
    recorded = [c for c in chosen if c.recorded]
    assert len(found) == len(recorded) == totals["spans_exported"]
    for case, span in zip(recorded, found, strict=True):
        called = (span["traceId"], span["parentSpanId"]) == (TRACE, PARENT)
        assert called == case.called, case.name
        assert called or span["parentSpanId"] == "", case.name
        assert bool(span["flags"] & 0x200) == case.called, case.name
        assert span["flags"] & 1, case.name
    assert totals["contexts_refused"] == sum(c.refused for c in chosen)
    ids = {s["spanId"] for s in found}
    assert len(ids) == len(found)
    assert all(int(one, 16) for one in ids)


def test_pipelined_requests_keep_their_own_contexts(cluster: LocalCluster, tmp_path: Path) -> None:
    traces = [f"{i:032x}" for i in range(1, 31)]
    requests = [request("/users/1", f"traceparent: 00-{t}-{t[16:]}-01") if i % 3 else request("/users/1")
                for i, t in enumerate(traces)]  # fmt: skip
    found = spans_of(cluster, tmp_path / "spans", requests, 0, True)
    own = [(s["traceId"], s["parentSpanId"]) for s in found if s["parentSpanId"]]
    assert own == [(t, t[16:]) for i, t in enumerate(traces) if i % 3]
    roots = [s["traceId"] for s in found if not s["parentSpanId"]]
    assert len(set(roots)) == 10
    assert not set(roots) & set(traces)


def test_a_span_says_what_the_conventions_ask(cluster: LocalCluster, tmp_path: Path) -> None:
    before = time.time_ns()
    (span,) = spans_of(cluster, tmp_path / "spans", [request("/users/7?x=1", f"traceparent: {GOOD}")])
    assert before - 10**7 <= int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"]) <= time.time_ns() + 10**7
    assert (span["name"], span["kind"], span["status"]) == ("GET /users/{id}", 2, {})
    assert span["resource"] == {"service.name": "server", "host.name": "node1"}
    assert span["attributes"] == {
        "http.request.method": "GET",
        "http.route": "/users/{id}",
        "http.response.status_code": "200",
        "http.response.body.size": "2",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "server.address": "server",
        "client.address": "client",
    }


def test_a_path_without_a_pattern_has_no_route(cluster: LocalCluster, tmp_path: Path) -> None:
    (span,) = spans_of(cluster, tmp_path / "spans", [request("/elsewhere")])
    assert span["name"] == "GET"
    assert "http.route" not in span["attributes"]


def test_a_request_without_an_answer_is_a_span_with_an_error(cluster: LocalCluster, tmp_path: Path) -> None:
    file = tmp_path / "spans"
    with traced(cluster, f"file:{file}", NONE_BY_CHANCE) as (watch, tracer):
        with pytest.raises(AssertionError, match="closed"):
            asked(cluster, [request("/silence", f"traceparent: {GOOD}")])
        tended(tracer, lambda t: t["spans_exported"] == 1)
        assert watch.totals()["unanswered"] == 1
    (span,) = read_back(file)
    assert span["status"] == {"code": 2}
    assert span["attributes"]["error.type"] == "no_answer"
    assert "http.response.status_code" not in span["attributes"]


def test_callers_traces_are_sampled_by_their_ids_and_so_alike_on_every_node(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    chance, sample = random.Random(7), Sampling(every=0, callers_every=10)
    traces = [chance.randbytes(16) for _ in range(1000)]
    file = tmp_path / "spans"
    with traced(cluster, f"file:{file}", sample) as (_, tracer):
        asked(cluster, [request("/users/1", f"traceparent: 00-{t.hex()}-{PARENT}-01") for t in traces])
        asked(cluster, [request("/users/1", f"traceparent: 00-{t.hex()}-{PARENT}-00") for t in traces[:100]])
        tended(tracer, settled)
    wanted = [t.hex() for t in traces if sample.records(t)]
    assert [s["traceId"] for s in read_back(file)] == wanted
    assert 60 <= len(wanted) <= 140


def test_requests_without_a_context_are_sampled_one_in_so_many(cluster: LocalCluster, tmp_path: Path) -> None:
    number, every, file = 6000, 10, tmp_path / "spans"
    with traced(cluster, f"file:{file}", Sampling(every)) as (watch, tracer):
        for _ in range(number // 1000):
            asked(cluster, [request("/users/1")] * 1000)
            tracer.tend()
        totals = tended(tracer, settled)
        assert watch.totals()["answered"] == number
    spread = 6 * (number / every * (1 - 1 / every)) ** 0.5
    assert abs(totals["spans_sampled"] - number / every) <= spread
    found = read_back(file)
    assert len(found) == totals["spans_sampled"]
    assert all(Sampling(callers_every=every).records(bytes.fromhex(s["traceId"])) for s in found)


def test_a_full_ring_drops_spans_and_counts_them(cluster: LocalCluster, tmp_path: Path) -> None:
    file, number = tmp_path / "spans", 200
    with traced(cluster, f"file:{file}", Sampling(1, ring_bytes=4096)) as (_, tracer):
        asked(cluster, [request("/users/1")] * number)
        assert tracer.totals()["spans_dropped_ring"] == number - 4096 // 88
        totals = tended(tracer, settled)
    assert totals["spans_sampled"] == number
    assert totals["spans_exported"] == len(read_back(file)) == 4096 // 88


def test_without_a_sample_there_is_no_tracing_in_the_program(cluster: LocalCluster) -> None:
    folder = cluster.mesh.pod(SERVER).cgroup
    assert folder is not None
    with HttpWatch([folder], identities(cluster.mesh)) as watch, pytest.raises(Exception, match="spans"):
        watch.object.map("spans")


@pytest.fixture
def collector(cluster: LocalCluster) -> Iterator[Collector]:
    """In the server's node, where its exporter is."""
    pytest.importorskip("opentelemetry.proto", reason="install it with: pip install opentelemetry-proto")
    made = cluster.inside("node1").inside(Collector)
    made.start()
    yield made
    made.stop()


def test_an_otlp_receiver_gets_what_the_file_gets(cluster: LocalCluster, collector: Collector) -> None:
    with traced(cluster, f"http://127.0.0.1:{collector.port}", ALL) as (_, tracer):
        asked(cluster, [request("/users/7", f"traceparent: {GOOD}"), request("/users/8")])
        totals = tended(tracer, settled)
    assert (totals["spans_exported"], totals["spans_dropped"]) == (2, 0)
    (resource, first), (_, second) = collector.spans
    assert resource == {"service.name": "server", "host.name": "node1"}
    assert (first.trace_id.hex(), first.parent_span_id.hex()) == (TRACE, PARENT)
    assert (first.name, first.kind, len(first.span_id)) == ("GET /users/{id}", 2, 8)
    assert first.end_time_unix_nano > first.start_time_unix_nano
    assert plain(first.attributes)["http.response.status_code"] == 200
    assert second.parent_span_id == b""
    assert second.trace_id != first.trace_id


def test_a_batch_is_sent_again_when_the_receiver_asks_for_it(cluster: LocalCluster, collector: Collector) -> None:
    collector.answers = [503, 429]
    with traced(cluster, f"http://127.0.0.1:{collector.port}", ALL) as (_, tracer):
        asked(cluster, [request("/users/7")] * 5)
        totals = tended(tracer, settled)
    assert (totals["spans_exported"], totals["spans_dropped"], totals["export_retries"]) == (5, 0, 2)
    assert Counter(span.span_id for _, span in collector.spans).most_common(1)[0][1] == 1


def test_what_the_receiver_refuses_for_good_is_dropped_at_once(cluster: LocalCluster, collector: Collector) -> None:
    collector.answers = [400]
    with traced(cluster, f"http://127.0.0.1:{collector.port}", ALL) as (_, tracer):
        asked(cluster, [request("/users/7")])
        totals = tended(tracer, settled)
        assert (totals["spans_exported"], totals["spans_dropped_export"], totals["export_retries"]) == (0, 1, 0)


def test_a_receiver_that_is_away_costs_retries_then_spans_and_never_requests(cluster: LocalCluster) -> None:
    with traced(cluster, "http://127.0.0.1:9", ALL, patience_s=0.4, queue=20) as (watch, tracer):
        asked(cluster, [request("/users/7")] * 100)
        totals = tended(tracer, settled)
        assert watch.totals()["answered"] == 100
    assert (totals["spans_exported"], totals["spans_dropped_export"], totals["spans_dropped_ring"]) == (0, 100, 0)
    assert totals["export_retries"] >= 1


def test_an_exporter_that_dies_is_replaced_and_what_it_held_is_counted_as_dropped(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    file = tmp_path / "spans"
    with traced(cluster, f"file:{file}", ALL) as (_, tracer):
        asked(cluster, [request("/users/7")] * 10)
        tended(tracer, settled)
        os.kill(tracer.exporter, signal.SIGKILL)
        tended(tracer, lambda t: t["exporter_restarts"] == 1)
        asked(cluster, [request("/users/7")] * 10)
        totals = tended(tracer, settled)
    assert totals["spans_sampled"] == 20 == totals["spans_exported"] == len(read_back(file))


def test_an_exporter_that_hangs_costs_spans_and_never_blocks_the_agent(cluster: LocalCluster, tmp_path: Path) -> None:
    sample = Sampling(1, ring_bytes=4096)
    with traced(cluster, f"file:{tmp_path / 'spans'}", sample) as (watch, tracer):
        os.kill(tracer.exporter, signal.SIGSTOP)
        try:
            for _ in range(110):
                asked(cluster, [request("/users/7")] * 45, 0, False)
                tracer.tend()
            assert watch.totals()["answered"] == 110 * 45
            assert tracer.totals()["spans_dropped_ring"] > 0
        finally:
            os.kill(tracer.exporter, signal.SIGCONT)
        totals = tended(tracer, settled)
        assert settled(totals)
        assert totals["spans_sampled"] == 110 * 45


class EveryRequest(EbpfTracing):
    def told(self, node: Node, mesh: Mesh) -> dict[str, object]:
        tracing = {"every": 1, "otlp": "file:{dir}/spans.jsonl", "linger_s": 0.02}
        return super().told(node, mesh) | {"tracing": tracing}


@pytest.fixture(scope="module")
def arm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """The arm as the lab deploys it, every request a span."""
    datapath = EveryRequest()
    server = PodSpec(SERVER, 1, ARM, "server", (web_server(PORT),))

    def node_processes(node: Node, mesh: Mesh) -> list[tuple[str, ProcessSpec]]:
        return [(ARM, spec) for spec in datapath.node_processes(node, mesh.only(ARM))]

    with LocalCluster(f"bpf-{os.getpid()}", state=tmp_path_factory.mktemp("arm")) as opened:
        pods = (PodSpec(CLIENT, 0, ARM, "client"), server)
        opened.deploy(Layout(pods, (ServiceSpec(SERVER, ARM, PORT, (SERVER,)),), node_processes))
        yield opened


def counted(cluster: LocalCluster) -> dict[str, int]:
    page = cluster.fetch("node1", port(cluster.mesh.slot), "/count")
    found: dict[str, int] = json.loads(page)["tracing"]
    return found


@needs(EbpfTracing.needs)
def test_the_arm_s_agent_makes_a_span_of_each_request_and_stays_small(arm: LocalCluster) -> None:
    url = f"http://{arm.mesh.service(SERVER).address}:{PORT}/x"
    process = arm.run(CLIENT, ARM, ProcessSpec("curl", ("curl", "-s", *[url] * 50), Part.LOAD))
    assert process.wait(20) == 0
    deadline = time.monotonic() + 15
    while counted(arm)["spans_exported"] < 50 and time.monotonic() < deadline:
        time.sleep(0.1)
    totals = counted(arm)
    assert totals["requests"] == totals["spans_sampled"] == totals["spans_exported"] == 50
    page = arm.fetch("node1", port(arm.mesh.slot), "/metrics").decode()
    assert "mesh_tracing_spans_exported_total 50" in page
    (agent,) = (p for p in arm.processes if p.spec.name == "agent" and p.where == "node1")
    assert isinstance(agent, LocalProcess)
    sizes = {pid: private_kb(pid) for pid in agent.pids()}
    assert len(sizes) == 2
    with over_http() as exporter:
        assert max(sizes.values()) + private_kb(exporter) <= 25_000, sizes


@contextmanager
def over_http() -> Iterator[int]:
    """An exporter for a receiver over HTTP, once it has imported what it needs; nobody listens there."""
    argv = (sys.executable, "-m", "datapaths.bpf.exporter", "--to", "http://127.0.0.1:9", "--node", "node1")
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        deadline = time.monotonic() + 30
        while not is_nobody(process.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.2)
        yield process.pid
        process.stdin.close()


def is_nobody(pid: int) -> bool:
    """It gives up root's rights when everything is imported and open."""
    return "Uid:\t65534" in Path(f"/proc/{pid}/status").read_text()


def private_kb(pid: int) -> int:
    """What it wrote itself. Pages of libraries are private too where nobody else maps them: that says who else runs."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_Dirty"))
