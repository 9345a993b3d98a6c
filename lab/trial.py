"""One deployment measured from start to end: place every arm, offer each block's load, watch, judge, hand back Runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy.typing as npt

from lab import datapath, gates, workload
from lab.cluster import Cluster, Layout, Mesh, Node, Part, Process, ProcessSpec
from lab.datapath import Datapath
from lab.load import steady
from lab.meter import Meter, Watch, meters
from lab.meter.awake import Awake
from lab.meter.host import HostSeries
from lab.meter.nodes import NodeRow, Nodes, NodeSeries
from lab.record import Arm, Block, BlockKind, Feature, Finding, Placement, Reading, Run, Trial

Say = Callable[[str], None]
Counts = Mapping[str, tuple[int, int]]  # observer -> (requests, not understood)

AT_ONCE = 8
DRAIN_S = 10.0  # an engine still running this long after its last timeout has failed


@dataclass(frozen=True)
class Measured:
    """What one trial gave. `trial` is as it was run: an arm that could not keep a rate was not offered a higher one."""

    trial: Trial
    runs: tuple[Run, ...]
    requests: Mapping[str, Mapping[str, npt.NDArray[Any]]]  # arm -> block -> raw requests
    host: Sequence[NodeRow]  # 1 Hz; with a column `node` where there are several
    files: Mapping[str, bytes]  # rendered configurations and logs, by a path of their own


@dataclass
class Bench:
    """One arm on the bench: what is known of it so far."""

    arm: Arm
    datapath: Datapath
    mesh: Mesh  # its own part
    limits: dict[str, float]  # shared by all arms: datapath -> the rate it failed at
    kept: float | None = None
    facts: dict[str, str] = field(default_factory=dict)  # what could not be watched, and why
    readings: list[Reading] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    requests: dict[str, npt.NDArray[Any]] = field(default_factory=dict)

    @property
    def saturated_at(self) -> float | None:
        """The lowest rate that its datapath is known to fail at."""
        return self.limits.get(self.arm.datapath)

    def can(self, block: Block) -> bool:
        """Is the block's rate below that?"""
        return self.saturated_at is None or block.load.rate_per_s < self.saturated_at

    def keeps(self, block: Block) -> bool:
        """Did it carry this step of the ladder? Asked twice at most: one stall of the machine is no limit."""
        kept = gates.kept(block, self.arm.name, self.requests[block.name])
        if kept:
            self.kept = max(self.kept or 0.0, block.load.rate_per_s)
        return kept

    def seen(self, cluster: Cluster) -> Counts:
        """What each of its observers has counted so far."""
        return {c.observer: (c.requests, c.not_understood) for c in self.datapath.seen(cluster, self.mesh)}

    def taken(self, cluster: Cluster) -> Mapping[str, int]:
        """Connections that each of its observers has taken so far."""
        return self.datapath.taken(cluster, self.mesh)


@dataclass(frozen=True)
class Setting:
    """Where and how a trial is run."""

    trial: Trial
    cluster: Cluster
    series: HostSeries | NodeSeries
    awake: Awake | None
    say: Say

    def meters(self, kind: BlockKind) -> tuple[Meter, ...]:
        """On this machine, or by an instrument on each node of a cluster that is elsewhere."""
        if isinstance(self.series, NodeSeries):
            return (Nodes(self.cluster, self.series, self.awake is not None and self.awake.wanted),)
        return meters(kind, self.cluster, self.awake)


def measure(
    trial: Trial,
    cluster: Cluster,
    say: Say,
    asked: frozenset[Feature] = frozenset(),
    limits: Mapping[str, float] | None = None,
    awake: Awake | None = None,
) -> Measured:
    """Deploy `trial` on an open `cluster`, run its blocks in order, take everything down again.

    `asked` are the features that arms must share to be comparable; `limits` the rates that datapaths are known to
    fail at; `awake` is who keeps the cores awake meanwhile.
    """
    series = HostSeries() if cluster.here else NodeSeries()
    installed = {a.name: datapath.find(a.datapath).found(cluster) for a in trial.arms}
    try:
        say(f"{trial.name}: placing {', '.join(a.name for a in trial.arms)}")
        mesh = cluster.deploy(layout(trial, cluster.size))
        known = dict(limits or {})
        arms = {a.name: _on_bench(a, mesh, asked, known) for a in trial.arms}
        for name, bench in arms.items():
            bench.facts |= installed[name]
        with series:
            blocks = tuple(_blocks(Setting(trial, cluster, series, awake, say), arms))
        files = _files(cluster)
    finally:
        cluster.undeploy()
    facts = {**cluster.facts(), "placement": str(trial.placement)}
    ran = replace(trial, blocks=blocks)
    return Measured(
        trial=ran,
        runs=tuple(_run(ran, bench, facts) for bench in arms.values()),
        requests={name: bench.requests for name, bench in arms.items()},
        host=series.rows,
        files=files,
    )


def layout(trial: Trial, nodes: int = 2) -> Layout:
    """Every arm's pods and service, in the order of `pairs`, which decides addresses and start order.

    Several client pods of an arm are spread over the nodes that have no server, as far as there are such.
    """
    found = {arm.name: datapath.find(arm.datapath) for arm in trial.arms}
    ordered = [arm.name for _, arm in sorted(zip(trial.pairs, trial.arms, strict=True), key=lambda pair: pair[0])]
    far = 0 if trial.placement is Placement.SAME_NODE else 1
    loads = [block.load for block in trial.blocks]
    near = workload.client_nodes(max((load.engines for load in loads), default=1), far, nodes)
    pods = [
        found[arm].shape(pod)
        for arm in ordered
        for pod in (
            *(workload.client_pod(arm, node, number) for number, node in enumerate(near)),
            workload.server_pod(arm, far, loads),
        )
    ]

    def on_node(node: Node, mesh: Mesh) -> Iterator[tuple[str, ProcessSpec]]:
        for arm in ordered:
            for spec in found[arm].node_processes(node, mesh.only(arm)):
                yield arm, spec

    services = {arm: workload.service(arm) for arm in ordered}
    return Layout(
        tuple(pods),
        tuple(services.values()),
        lambda node, mesh: tuple(on_node(node, mesh)),
        objects=tuple(each for arm in ordered for each in found[arm].objects(arm, [services[arm]])),
        residents=tuple((arm, selector) for arm in ordered for selector in found[arm].residents),
    )


def packed(block: Block, arms: frozenset[str]) -> Block:
    """`block` with the windows of `arms` only, moved together in their order; their indices and rounds stay."""
    starts_s, moved = 0.0, []
    for window in block.windows:
        if window.arm in arms:
            moved.append(replace(window, start_s=round(starts_s, 9)))
            starts_s += window.duration_s + block.guard_s
    return replace(block, windows=tuple(moved))


def _on_bench(arm: Arm, mesh: Mesh, asked: frozenset[Feature], limits: dict[str, float]) -> Bench:
    found = datapath.find(arm.datapath)
    return Bench(arm, found, mesh.only(arm.name), limits, findings=[gates.parity(found.features, asked, arm.datapath)])


def _blocks(setting: Setting, arms: Mapping[str, Bench]) -> Iterator[Block]:
    """Run the blocks in order, each for the arms that can carry it. Yields them as they were run."""
    for planned in setting.trial.blocks:
        live = [bench for bench in arms.values() if bench.can(planned) and planned.only(bench.arm.name)]
        block = packed(planned, frozenset(bench.arm.name for bench in live))
        if not block.windows:
            continue
        _watched(block, setting, live)
        yield block
        if block.kind is BlockKind.LADDER:
            failed = [bench for bench in live if not bench.keeps(block)]
            if failed:
                again = replace(
                    packed(block, frozenset(bench.arm.name for bench in failed)), name=f"{block.name}-again"
                )
                _watched(again, setting, failed)
                yield again
                for bench in failed:
                    if not bench.keeps(again):
                        bench.limits[bench.arm.datapath] = block.load.rate_per_s


def _watched(block: Block, setting: Setting, live: Sequence[Bench]) -> None:
    """Engines, meters and counts around one block; leaves readings, requests and findings with each arm."""
    cluster, series = setting.cluster, setting.series
    setting.say(
        f"{setting.trial.name}: {block.name}, {block.duration_s:.0f} s, {', '.join(bench.arm.name for bench in live)}"
    )
    before = {bench.arm.name: (bench.seen(cluster), bench.taken(cluster)) for bench in live}
    count = block.load.engines
    with Watch(block, setting.meters(block.kind)) as watch, ThreadPoolExecutor(len(live) * count) as pool:
        wanted = [(bench, number) for bench in live for number in range(count)]
        engines = list(pool.map(lambda one: _engine(block, setting, *one), wanted))
        watch.meet()
        ahead_ns = [cluster.clock(engine.where) for engine in engines]
        epoch_ns = time.monotonic_ns() + round(cluster.lead_s * 1e9)
        told_ns = [epoch_ns + ahead for ahead in ahead_ns]
        tuple(pool.map(steady.start, engines, told_ns))
        watch.walk(epoch_ns)
        each = list(pool.map(lambda engine: steady.collect(engine, block.load.timeout_s + DRAIN_S), engines))
        for bench, report, told in zip(live, each[::count], told_ns[::count], strict=True):  # of the first engines
            watch.judge(bench.arm.name, report.requests, told)
    if block.kind is BlockKind.SLICES:
        series.settle()
    for place, bench in enumerate(live):
        name, reports = bench.arm.name, each[place * count : (place + 1) * count]
        requests = steady.merged(reports, block.load.shares).requests
        bench.facts |= {f"no {meter}": reason for meter, reason in watch.missing.items()}
        bench.requests[block.name] = requests
        bench.readings += [r for r in watch.readings if r.arm == name]
        after = bench.seen(cluster), bench.taken(cluster)
        bench.readings += _counted(block, bench, reports, before[name], after)
        bench.readings += _stolen(block, name, epoch_ns, series)
        bench.findings += gates.judge(block, name, requests, bench.readings, bench.datapath.features)


def _engine(block: Block, setting: Setting, bench: Bench, number: int) -> Process:
    """One of the arm's load engines in its client's pod, with its connections open and warm."""
    name, service = bench.arm.name, bench.mesh.services[0]
    spec = steady.process(
        f"engine-{block.name}", service.address, service.port, block, name, setting.trial.seed, engine=number
    )
    return setting.cluster.run(workload.client_name(name, number), name, spec)


def _counted(
    block: Block,
    bench: Bench,
    reports: Sequence[steady.EngineReport],
    before: tuple[Counts, Mapping[str, int]],
    after: tuple[Counts, Mapping[str, int]],
) -> Iterator[Reading]:
    """The engines' own figures, and what each observer of the datapath counted meanwhile."""

    def reading(meter: str, part: Part, subject: str, metric: str, value: float) -> Reading:
        return Reading(meter, block.name, -1, bench.arm.name, part, subject, metric, value)

    for number, report in enumerate(reports):
        engine = f"engine {number}" if number else "engine"
        for metric, value in report.counts().items():
            yield reading("engine", Part.LOAD, engine, "on_wire_requests" if metric == "on_wire" else metric, value)
    factor = bench.datapath.connections
    formula = ("connections_pooled", 1) if factor is None else ("connections_per_connection", factor)
    yield reading("datapath", Part.DATAPATH, "formula", *formula)
    for observer, connections in after[1].items():
        taken = connections - before[1][observer]
        yield reading("datapath", Part.DATAPATH, observer, "taken_connections", taken)
    for observer, (requests, not_understood) in after[0].items():
        requests_before, not_understood_before = before[0][observer]
        yield reading("datapath", Part.DATAPATH, observer, "seen_requests", requests - requests_before)
        yield reading(
            "datapath", Part.DATAPATH, observer, "not_understood_requests", not_understood - not_understood_before
        )


def _stolen(block: Block, arm: str, epoch_ns: int, series: HostSeries | NodeSeries) -> Iterator[Reading]:
    """For slices: the steal of the second that each lay in, since nothing is read at the edges of slices."""
    if block.kind is BlockKind.SLICES:
        for window in block.only(arm):
            start_ns = epoch_ns + round(window.start_s * 1e9)
            worst = series.worst(start_ns, start_ns + round(window.duration_s * 1e9))
            yield Reading("host", block.name, window.index, arm, "host", "all", "steal_share", worst)


def _files(cluster: Cluster) -> dict[str, bytes]:
    """What every process was given and said: `config/arm.place.process/file`, `logs/arm.place.process/stdout`."""
    with ThreadPoolExecutor(AT_ONCE) as pool:  # each is a round trip where the cluster is elsewhere
        found = pool.map(_of_process, (p for p in cluster.processes if p.spec.part is not Part.INSTRUMENT))
    return {name: text for files in found for name, text in files.items() if text}


def _of_process(process: Process) -> dict[str, bytes]:
    place = f"{process.arm}.{process.where}.{process.spec.name}"
    files = {f"logs/{place}/{name}": process.read(name) for name in ("stdout", "stderr")}
    if process.spec.part is not Part.LOAD:
        files |= {f"config/{place}/{name}": process.read(name) for name in process.spec.files}
    return files


def _run(trial: Trial, bench: Bench, facts: Mapping[str, str]) -> Run:
    return Run(
        scenario=trial.scenario,
        trial=trial.name,
        deployment=trial.deployment,
        arm=bench.arm.name,
        datapath=bench.arm.datapath,
        features=tuple(sorted(bench.datapath.features)),
        requests_file=f"{bench.arm.name}.parquet",
        readings=tuple(bench.readings),
        findings=tuple(bench.findings),
        saturated_at=bench.saturated_at,
        kept=bench.kept,
        facts={**facts, **bench.facts},
    )
