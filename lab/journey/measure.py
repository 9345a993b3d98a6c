"""One turn of a journey: one arm deployed alone, walked by Locust, counted, taken down again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import metadata

from lab import datapath, workload
from lab.behaviour import Journey, Turn, Walk
from lab.cluster import Cluster, Layout, Mesh, Node, Part, Process, ProcessSpec
from lab.datapath import Datapath
from lab.gates import walk as gates
from lab.journey import crowd
from lab.journey.doorway import Doorway
from lab.meter.host import HostSeries
from lab.meter.nodes import NodeRow, NodeSeries
from lab.record import CannotRun, Feature, Placement, RequestCount

Say = Callable[[str], None]


@dataclass(frozen=True)
class Measured:
    """What one turn gave; `rows` are its raw requests (`lab.behaviour.COLUMNS`), `files` configurations and logs.

    `host` is the series of this machine meanwhile, 1 Hz (`lab.meter.host.HostSeries`); empty where Locust is elsewhere.
    """

    turn: Turn
    walk: Walk
    rows: crowd.Rows
    host: Sequence[NodeRow]
    files: Mapping[str, bytes]


def measure(turn: Turn, journey: Journey, cluster: Cluster, say: Say, web_ui: int | None = None) -> Measured:
    """Walk `turn` on an open, empty `cluster`. `web_ui` is the port of this machine's loopback for Locust's pages."""
    check(turn)
    found = datapath.find(turn.arm.datapath)
    installed = found.found(cluster)
    say(f"{turn.name}: {turn.users} users for {turn.seconds:g} s")
    try:
        mesh = cluster.deploy(_layout(turn, journey, found, cluster.size)).only(turn.arm.name)
        before = _seen(found, cluster, mesh)
        with HostSeries() if cluster.here else NodeSeries() as series:
            report = _walked(turn, journey, cluster, mesh, say, web_ui)
        seen = tuple(_meanwhile(before, _seen(found, cluster, mesh)))
        files = _files(cluster)
    finally:
        cluster.undeploy()
    walk = Walk(
        turn=turn.name,
        journey=journey.name,
        repeat=turn.repeat,
        arm=turn.arm.name,
        datapath=turn.arm.datapath,
        features=tuple(sorted(found.features)),
        steps=report.steps,
        tallies=report.tallies,
        seen=seen,
        lasted_s=report.lasted_s,
        connections=report.connections,
        cpu_share=report.cpu_share,
        errors=report.errors,
        facts={**cluster.facts(), **installed, **_facts(journey, turn, web_ui)},
    )
    judged = replace(walk, findings=gates.judge(walk, report.rows, journey.parity))
    return Measured(turn, judged, report.rows, series.rows, files)


def check(turn: Turn) -> None:
    """`CannotRun` where a datapath would not let Locust's processes of several pods talk to each other."""
    if turn.engines > 1 and Feature.L7_POLICY in datapath.find(turn.arm.datapath).features:
        raise CannotRun(
            f"{turn.arm.name} lets nothing pass between pods but the requests it allows, so Locust's workers cannot"
            " meet their master: leave --engines out, or this arm"
        )


def _layout(turn: Turn, journey: Journey, found: Datapath, nodes: int) -> Layout:
    """The clients' pods and a server's, on two nodes (or one, or more), and what the arm puts beside them."""
    arm, far = turn.arm.name, 0 if turn.placement is Placement.SAME_NODE else 1
    server = workload.server(sizes=journey.sizes, sleeps=journey.sleeps, closes=journey.closes)
    near = workload.client_nodes(turn.engines, far, nodes)
    clients = [workload.client_pod(arm, node, number) for number, node in enumerate(near)]
    if turn.engines > 1:
        clients = [replace(pod, apart=(crowd.MASTER_PORT,)) for pod in clients]
    pods = (*clients, replace(workload.server_pod(arm, far, ()), processes=server))

    def on_node(node: Node, mesh: Mesh) -> tuple[tuple[str, ProcessSpec], ...]:
        return tuple((arm, spec) for spec in found.node_processes(node, mesh.only(arm)))

    service = workload.service(arm)
    return Layout(
        tuple(map(found.shape, pods)),
        (service,),
        on_node,
        objects=tuple(found.objects(arm, [service])),
        residents=tuple((arm, selector) for selector in found.residents),
    )


def _walked(turn: Turn, journey: Journey, cluster: Cluster, mesh: Mesh, say: Say, web_ui: int | None) -> crowd.Report:
    arm, service = turn.arm.name, mesh.services[0]
    where = workload.client_name(arm)
    meeting = mesh.pod(where).address if turn.engines > 1 else crowd.LOOPBACK
    target = f"http://{service.address}:{service.port}"
    specs = crowd.processes(turn, journey, target, web_ui=web_ui is not None, meeting=meeting)
    with _shown(cluster, where, say, web_ui):
        started: list[Process] = [
            cluster.run(workload.client_name(arm, number), arm, spec)
            for number, spec in zip(crowd.homes(turn), specs, strict=True)
        ]
        return crowd.collect(started, turn, [cluster.clock(process.where) for process in started])


@contextmanager
def _shown(cluster: Cluster, where: str, say: Say, port: int | None) -> Iterator[None]:
    """Locust's pages on this machine's loopback, where they are asked for."""
    if port is None:
        yield
        return
    with Doorway(cluster, where, port, crowd.WEB_PORT):
        say(f"Locust's pages: http://127.0.0.1:{port}")
        yield


def _seen(found: Datapath, cluster: Cluster, mesh: Mesh) -> tuple[RequestCount, ...]:
    return tuple(found.seen(cluster, mesh))


def _meanwhile(before: tuple[RequestCount, ...], after: tuple[RequestCount, ...]) -> Iterator[RequestCount]:
    """What each observer counted between two readings."""
    first = {count.observer: count for count in before}
    for count in after:
        then = first[count.observer]
        yield RequestCount(count.observer, count.requests - then.requests, count.not_understood - then.not_understood)


def _facts(journey: Journey, turn: Turn, web_ui: int | None) -> dict[str, str]:
    text = crowd.locustfile(journey).encode()
    shown = {"web_ui": "its users may have been changed by hand"} if web_ui is not None else {}
    return {
        "placement": str(turn.placement),
        "locust": metadata.version("locust"),
        "locustfile_sha256": hashlib.sha256(text).hexdigest(),
        **shown,
    }


def _files(cluster: Cluster) -> dict[str, bytes]:
    """What every process was given and said: `config/place.process/file`, `logs/place.process/stdout`."""
    files: dict[str, bytes] = {}
    for process in cluster.processes:
        place = f"{process.where}.{process.spec.name}"
        files |= {f"config/{place}/{name}": process.read(name) for name in process.spec.files}
        files |= {f"logs/{place}/{name}": process.read(name) for name in ("stdout", "stderr")}
        if process.spec.name == "locust" and process.spec.part is Part.LOAD:
            files[f"logs/{place}/{crowd.STATS}"] = process.read(crowd.STATS)
    return {name: text for name, text in files.items() if text}
