"""A datapath that carries load: response times, processor time by part, memory; one pair of pods, many, or a chain.

Each of `pairs` clients (all on one node) asks a service of its own at `rate` per second; the servers are on the other
node, or on the same one (`place` same_node). With `hops` above 1 there are so many services in a row instead, the last
of which answers: the others ask the next one and pass its answer back.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lab import datapath, workload
from lab.cluster import Cluster, Layout, Mesh, Node, Part, PodSpec, ProcessSpec, ServiceSpec
from lab.datapath import Datapath
from lab.gates import raw
from lab.load import steady
from lab.meter import Watch, meters
from lab.meter.awake import Awake, virtual
from lab.question import Case
from lab.record import OUTCOMES, Block, BlockKind, Failed, Load, Outcome, Reading, Window
from lab.study import relay

ARM = "carried"
SECONDS = 4.0  # of load, where the case does not say (`seconds`)
DROP_S = 0.5  # the first part is sent but not judged
HEAD_START_S, GUARD_S, DRAIN_S = 0.5, 0.5, 10.0
SHARES = tuple(range(0, 101, 2))  # of response times, in percent: the quantiles that are kept
MOST_FAILED = 0.001

Requests = npt.NDArray[Any]


def observe(cluster: Cluster, case: Case) -> Iterator[tuple[str, float]]:
    """`response_qNN_s`, `response_mean_s`, `cpu_PART_s` (per request), `pss_bytes` … of the datapath's processes."""
    found, pairs, hops = datapath.find(case.subject), case.number("pairs") or 1, case.number("hops") or 1
    mesh = cluster.deploy(_layout(found, pairs, hops, 0 if case.parameters.get("place") == "same_node" else 1))
    for hop in range(hops - 1, 0, -1):  # the last one first: each is ready when the next one is
        cluster.run(_server(hop - 1), ARM, relay.process(mesh.service(_server(hop)).address))
    load = Load(case.number("rate"), case.number("connections") or 8)
    window = Window(0, 0, ARM, HEAD_START_S, case.number("seconds") or SECONDS)
    block = Block(case.name, BlockKind.COST, load, (window,), DROP_S, GUARD_S)
    clients = [(_client(pair), mesh.service(_server(0 if hops > 1 else pair)).address) for pair in range(pairs)]
    before = _seen(found, cluster, mesh)
    requests, readings, sent = _offered(cluster, block, clients)
    _prove(found, _seen(found, cluster, mesh), before, sent)
    yield from _times(requests, block)
    yield from _costs(readings, len(requests))


def facts(_: Case) -> Mapping[str, str]:
    """Nothing beyond the cluster's facts."""
    return {}


def _client(pair: int) -> str:
    return f"client{pair}"


def _server(number: int) -> str:
    return f"server{number}"


def _layout(found: Datapath, pairs: int, hops: int, far: int) -> Layout:
    """Clients on node 0, servers on node `far`; of a chain, services by turns on either."""
    places = [far if hops == 1 or hop % 2 == 0 else 0 for hop in range(max(pairs, hops))]
    last = hops - 1 if hops > 1 else 0
    servers = [
        PodSpec(_server(n), place, ARM, f"app{n}", workload.server() if hops == 1 or n == last else ())
        for n, place in enumerate(places)
    ]
    pods = [PodSpec(_client(pair), 0, ARM, "client") for pair in range(pairs)] + servers
    services = tuple(ServiceSpec(s.name, ARM, workload.PORT, (s.name,)) for s in servers)

    def on_node(node: Node, mesh: Mesh) -> Sequence[tuple[str, ProcessSpec]]:
        return [(ARM, spec) for spec in found.node_processes(node, mesh.only(ARM))]

    return Layout(tuple(map(found.shape, pods)), services, on_node)


def _offered(
    cluster: Cluster, block: Block, clients: Sequence[tuple[str, str]]
) -> tuple[Requests, Sequence[Reading], int]:
    """Raw requests of all engines together, what the meters saw, and how many requests went over the wire."""
    with (
        Awake(virtual(Path("/proc/cpuinfo").read_text())) as awake,
        Watch(block, meters(block.kind, cluster, awake)) as watch,
    ):
        engines = [cluster.run(where, ARM, _engine(n, address, block)) for n, (where, address) in enumerate(clients)]
        epoch_ns = time.monotonic_ns() + round(HEAD_START_S * 1e9)
        for engine in engines:
            steady.start(engine, epoch_ns)
        watch.walk(epoch_ns)
        reports = [steady.collect(engine, block.load.timeout_s + DRAIN_S) for engine in engines]
    return np.concatenate([r.requests for r in reports]), watch.readings, sum(r.on_wire for r in reports)


def _engine(number: int, address: str, block: Block) -> ProcessSpec:
    return steady.process(f"engine{number}", address, workload.PORT, block, ARM, seed=number)


def _seen(found: Datapath, cluster: Cluster, mesh: Mesh) -> dict[str, int]:
    return {count.observer: count.requests for count in found.seen(cluster, mesh.only(ARM))}


def _prove(found: Datapath, after: Mapping[str, int], before: Mapping[str, int], sent: int) -> None:
    """Every request must have been counted equally often: by one observer or by several, once a hop or more."""
    counted = sum(after.values()) - sum(before.values())
    if after and (counted < sent or counted % sent):
        raise Failed(f"{', '.join(after)} of {type(found).__name__} counted {counted} for {sent} requests in all")


def _times(requests: Requests, block: Block) -> Iterator[tuple[str, float]]:
    failed = float(np.mean(requests["outcome"] != OUTCOMES.index(Outcome.OK)))
    if failed > MOST_FAILED:
        raise Failed(f"{failed:.1%} of the requests failed at {block.load.rate_per_s:g}/s; ask for a lower rate")
    response_s = raw.response_s(requests[raw.judged(block, requests) & (requests["done_ns"] >= 0)])
    for share, value in zip(SHARES, np.percentile(response_s, SHARES), strict=True):
        yield f"response_q{share:02d}_s", float(value)
    yield "response_p99_s", float(np.percentile(response_s, 99))
    yield "response_mean_s", float(response_s.mean())
    yield "requests", float(len(requests))


def _costs(readings: Sequence[Reading], requests: int) -> Iterator[tuple[str, float]]:
    """Seconds of processor time per request by part, `cpu_total_s` together; bytes of the datapath's processes."""

    def total(meter: str, metric: str, part: str | None = None) -> float:
        return sum(r.value for r in readings if (r.meter, r.metric) == (meter, metric) and part in (None, r.part))

    parts = {part: total("cpu", "cpu_s", part) / requests for part in (Part.APP, Part.DATAPATH, Part.LOAD, "kernel")}
    for part, value in parts.items():
        yield f"cpu_{part}_s", value
    yield "cpu_total_s", sum(parts.values())
    yield "bpf_run_s", total("programs", "bpf_run_s") / requests
    for metric in ("pss_bytes", "private_bytes", "rss_bytes", "bpf_map_bytes", "bpf_program_bytes"):
        yield metric, total("memory", metric, Part.DATAPATH)
