"""One instrument a node: on this machine's own cluster it must read what the meters read that run in the lab itself."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

import pytest
from meter_children import PORT, child, stop, two_pods

from lab import workload
from lab.cluster import Container, Mesh, Node, Part, Pod
from lab.cluster.local import LocalCluster
from lab.load import steady
from lab.meter import Watch, meters
from lab.meter.nodes import Nodes, NodeSeries, told
from lab.meter.together import together
from lab.meter.view import View, descendants, outside, packed, unpacked
from lab.record import Arrivals, Block, BlockKind, Failed, Load, Reading, Window

WINDOW = Window(0, 0, "a", 0.2, 0.4)
COUNT = 10


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with two_pods(tmp_path_factory.mktemp("state"), child("serve")) as opened:
        yield opened


def block(kind: BlockKind) -> Block:
    return Block("watched", kind, Load(rate_per_s=100, connections=COUNT), (WINDOW,), guard_s=0.2)


def watched(cluster: LocalCluster, kind: BlockKind) -> tuple[dict[tuple[str, str, str], float], Watch, Watch]:
    """The same block seen by both: readings of the nodes' instruments by (meter, subject, metric), and both watches."""
    asked, nodes = block(kind), Nodes(cluster, NodeSeries())
    with Watch(asked, meters(kind, cluster)) as near, Watch(asked, [nodes]) as far:
        client = cluster.run(
            "a-client", "a", child("dial", cluster.mesh.service("a-server").address, PORT, COUNT, part=Part.LOAD)
        )
        far.meet()
        epoch_ns = time.monotonic_ns() + round(0.6e9)
        for meter in far.meters:
            meter.start(epoch_ns)
        near.walk(epoch_ns)
        for meter in far.meters:
            meter.finish()
            far.missing |= meter.lacking
        stop(client)
    return {(r.meter, r.subject, r.metric): r.value for r in far.readings}, near, far


def test_the_nodes_instruments_read_what_the_labs_own_meters_read(cluster: LocalCluster) -> None:
    far, near, _ = watched(cluster, BlockKind.COST)
    own = {(r.meter, r.subject, r.metric): r.value for r in near.readings}
    counts = [key for key in own if key[0] == "connections" and not key[2].endswith("_bytes")]
    assert {key: far[key] for key in counts} == {key: own[key] for key in counts}
    assert far["connections", "path", "connections"] == COUNT
    assert far["connections", "path", "connections_per_app_connection"] == 1
    assert far.keys() >= own.keys() - {key for key in own if key[1].startswith("node")}
    there = "memory", "a-server/serve", "rss_bytes"
    assert far[there] == pytest.approx(own[there], rel=0.1)
    # two nodes share this machine: its time is counted once, and all parts of it add up
    parts = sum(far[key] for key in far if key[0] == "cpu" and key[2] == "cpu_s")
    assert parts == pytest.approx(far["cpu", "all", "busy_s"], abs=1e-6)
    assert far["cpu", "all", "cores"] == own["cpu", "all", "cores"]
    assert 0 <= far["host", "all", "steal_share"] <= 1


def test_the_series_comes_back_by_node_and_by_the_drivers_clock(cluster: LocalCluster) -> None:
    series, before = NodeSeries(), time.monotonic_ns()
    with Watch(block(BlockKind.SLICES), [Nodes(cluster, series)]) as watch:
        epoch_ns = time.monotonic_ns() + round(0.3e9)
        watch.walk(epoch_ns)
    assert {row["node"] for row in series.rows} == {"node0", "node1"}
    assert all(before < int(row["monotonic_ns"] or 0) < time.monotonic_ns() for row in series.rows)
    assert 0 <= series.worst(epoch_ns, epoch_ns + round(0.5e9)) <= 1
    with pytest.raises(Failed, match="no sample"):
        series.worst(0, 1)
    moved = NodeSeries()
    moved.bring("x", [{"monotonic_ns": 5_000, "interval_s": 1.0, "steal_share": 0.1}], 4_000)
    assert moved.rows[0]["monotonic_ns"] == 1_000


def test_the_referee_judges_a_real_engine_from_its_own_node(cluster: LocalCluster) -> None:
    if shutil.which("clang") is None or shutil.which("nginx") is None:
        pytest.skip("clang and nginx are needed")
    (server,) = workload.server(8090)
    cluster.run("a-server", "a", server)
    asked = Block("refereed", BlockKind.REFEREE, Load(100, COUNT, Arrivals.UNIFORM), (WINDOW,), guard_s=0.2)
    with Watch(asked, [Nodes(cluster, NodeSeries())]) as watch:
        engine = cluster.run(
            "a-client", "a", steady.process("engine", cluster.mesh.pod("a-server").address, 8090, asked, "a", 1)
        )
        watch.meet()
        epoch_ns = time.monotonic_ns() + round(0.6e9)
        steady.start(engine, epoch_ns)
        watch.walk(epoch_ns)
        report = steady.collect(engine, 10)
        watch.judge("a", report.requests, epoch_ns)
    if watch.missing:
        pytest.skip(str(watch.missing))
    seen = {(r.subject, r.metric): r.value for r in watch.readings if r.meter == "wire"}
    assert seen["a-client/engine", "requests"] == seen["engine", "requests_engine"] == len(report.requests)


def test_an_instrument_that_cannot_watch_says_why(cluster: LocalCluster) -> None:
    nodes = Nodes(cluster, NodeSeries())
    nodes.open(block(BlockKind.COST))
    for running in nodes._running:
        running.process.tell("no JSON")
    with pytest.raises(Failed, match="could not watch watched"):
        nodes.finish()


def test_a_mesh_survives_the_way_to_a_node(cluster: LocalCluster) -> None:
    assert unpacked(packed(cluster.mesh)) == cluster.mesh
    elsewhere = Mesh((Node("n", 0, "10.0.0.1"),), (Pod("p", "n", "a", "x", "10.1.0.1", None, "u-1"),), (), {"a": 0})
    assert unpacked(packed(elsewhere)) == elsewhere


def test_a_process_that_is_told_again_stays_the_same(cluster: LocalCluster) -> None:
    process = next(p for p in cluster.processes if p.spec.name == "serve")
    view = View(packed(cluster.mesh), None)
    view.learn([told(process, process.pids())])
    first = view.processes[0]
    view.learn([told(process, process.pids())])
    assert view.processes == [first]
    assert first.pids() == process.pids()
    assert outside(process.pids(), process.pids()) == process.pids()
    assert descendants(process.pids()[:1], process.pids()) == process.pids()


def _cpu(node: str, busy: float, own: float, remainder: float, **processes: float) -> list[Reading]:
    readings = {("host", "all", "busy_s"): busy, ("host", "all", "cores"): 4.0, ("host", "all", "wall_s"): 1.0}
    readings |= {("host", "lab", "cpu_s"): own, ("kernel", "remainder", "cpu_s"): remainder}
    readings |= {("app", f"{node}/{name}", "cpu_s"): value for name, value in processes.items()}
    return [Reading("cpu", "b", 0, "a", *key, value) for key, value in readings.items()]


@pytest.mark.parametrize(
    ("machines", "busy", "cores", "remainder"), [(("m", "m"), 3.0, 4.0, 0.7), (("m", "o"), 6.0, 8.0, 3.7)]
)
def test_what_nodes_say_of_the_whole_is_added_up_by_machine(
    machines: tuple[str, str], busy: float, cores: float, remainder: float
) -> None:
    by_node = {
        "one": _cpu("one", 3.0, 0.1, 1.9, x=1.0),
        "two": _cpu("two", 3.0, 0.2, 1.8, y=1.0),
    }
    found = {(r.subject, r.metric): r.value for r in together(by_node, dict(zip(by_node, machines, strict=True)))}
    assert found["all", "busy_s"] == busy
    assert found["all", "cores"] == cores
    assert found["all", "wall_s"] == 1.0
    assert found["lab", "cpu_s"] == pytest.approx(0.3)
    assert found["remainder", "cpu_s"] == pytest.approx(remainder)
    assert found["one/x", "cpu_s"] == found["two/y", "cpu_s"] == 1.0


def test_steal_is_the_worst_of_the_nodes_and_ratios_are_made_anew() -> None:
    def reading(part: str, subject: str, metric: str, value: float, meter: str = "connections") -> Reading:
        return Reading(meter, "b", 0, "a", part, subject, metric, value)

    client = [
        reading("kernel", "path", "connections", 10.0),
        reading("kernel", "path", "connections_per_app_connection", 1.0),
        reading("load", "c/engine", "sockets", 10.0),
        reading("host", "all", "steal_share", 0.1, "host"),
    ]
    server = [reading("kernel", "path", "connections", 20.0), reading("host", "all", "steal_share", 0.3, "host")]
    found = {r.metric: r.value for r in together({"x": client, "y": server}, {"x": "m", "y": "o"})}
    assert (found["connections"], found["connections_per_app_connection"]) == (30.0, 3.0)
    assert found["steal_share"] == 0.3


def test_a_container_is_what_a_process_is_told_by_where_there_is_one(cluster: LocalCluster) -> None:
    process = cluster.processes[0]
    process.container = Container("uid", "id")
    try:
        assert told(process, (7,))["container"] == ["uid", "id"]
    finally:
        process.container = None
