"""The meters of a cluster whose processes are elsewhere: one instrument a node, which is told when and left alone.

Each runs the same meters on what is on its node (`lab.meter.guest`), by its own clock. What they saw comes back as
files once the block is over, and is put together to what one meter would have seen of all of it.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from lab.cluster import Cluster, Line, Node, Part, Privilege, Process, ProcessSpec
from lab.compile import ROOT, cache
from lab.meter import Meter
from lab.meter.guest import FIELDS
from lab.meter.host import Row
from lab.meter.together import together
from lab.meter.view import packed
from lab.meter.wire import Exchanges, Wire
from lab.record import Block, Failed, Reading, Window

ARM = "instruments"  # they belong to no arm; this is whom the cluster books them on
GRACE_S = 30.0  # from the end of a block until an instrument must have written what it saw
AT_ONCE = 8
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
NodeRow = Mapping[str, float | int | str | None]
T = TypeVar("T")
U = TypeVar("U")


class NodeSeries:
    """What `HostSeries` is for one machine, for several: rows of all nodes, times by the driver's clock, `node` added.

    It samples nothing itself; `Nodes` brings what the instruments have sampled during each block.
    """

    def __init__(self) -> None:
        self.rows: list[NodeRow] = []

    def bring(self, node: str, rows: Iterable[Row], ahead_ns: int) -> None:
        """Rows of a node whose clock is so far ahead of the driver's."""
        shifted: list[NodeRow] = [
            {**row, "monotonic_ns": int(row["monotonic_ns"] or 0) - ahead_ns, "node": node} for row in rows
        ]
        self.rows = sorted([*self.rows, *shifted], key=lambda row: int(row["monotonic_ns"] or 0))

    def settle(self) -> None:
        """Nothing to wait for: rows come when their block is over."""

    def worst(self, start_ns: int, end_ns: int) -> float:
        """The highest steal share on any node of the samples that overlap a span of the driver's clock."""
        shares = [float(row["steal_share"] or 0) for row in self.rows if _overlaps(row, start_ns, end_ns)]
        if not shares:
            raise Failed(f"no sample of any node between {start_ns} and {end_ns} ns; did its instrument run?")
        return max(shares)

    def __enter__(self) -> NodeSeries:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to stop."""


@dataclass
class Instrument:
    """One node's, and what it said."""

    node: Node
    process: Process
    machine: str  # the same for nodes that share a kernel
    ahead_ns: int  # of the driver's clock
    seen: Mapping[str, Any] = field(default_factory=dict)


class Nodes(Meter):
    """All meters of a block, on every node that holds a pod or a process of the deployment.

    `awake`: one node of each machine keeps its cores awake meanwhile. Readings are given by `close`, as those of the
    meters that made them.
    """

    name = "nodes"

    def __init__(self, cluster: Cluster, series: NodeSeries, awake: bool = False) -> None:
        self.cluster, self.series, self.awake = cluster, series, awake
        self.lacking: dict[str, str] = {}
        self._block: Block | None = None
        self._running: list[Instrument] = []
        self._own: set[Process] = set()
        self._pids: dict[Process, tuple[int, ...]] = {}
        self._wire = Wire(cluster)
        self._seen: tuple[Reading, ...] = ()

    def open(self, block: Block) -> None:
        super().open(block)
        self._block, self._seen, self.lacking = block, (), {}
        self._wire.block, self._wire.exchanges = block.name, {}
        self._ask_pids()
        self._running = _all(lambda node: self._started(node, block), self._used())

    def meet(self) -> None:
        self._ask_pids()

    def start(self, epoch_ns: int) -> None:
        spinning = {i.machine: i.node for i in reversed(self._running)} if self.awake else {}
        _all(lambda i: i.process.tell(self._word(i, epoch_ns, i.node in spinning.values())), self._running)

    def finish(self) -> None:
        if self._block is None:
            raise Failed("the nodes' instruments are not running; open the meter first")
        _all(self._collect, self._running)
        for instrument in self._running:
            self.lacking |= {f"{name} on {instrument.node.name}": why for name, why in _missing(instrument)}
            self.series.bring(instrument.node.name, instrument.seen["host"], instrument.ahead_ns)
        by_node = {i.node.name: [Reading(**r) for r in i.seen["readings"]] for i in self._running}
        self._seen = together(by_node, {i.node.name: i.machine for i in self._running})

    def judge(self, window: Window, requests: Any, epoch_ns: int) -> tuple[Reading, ...]:
        """The referee's, for windows that a referee has watched."""
        return self._wire.judge(window, requests, epoch_ns) if window.index in self._wire.exchanges else ()

    def close(self) -> tuple[Reading, ...]:
        """Whoever still runs is stopped with its deployment, or ends with its input."""
        self._running = []
        return self._seen

    def _used(self) -> tuple[Node, ...]:
        """Nodes with a pod or a process."""
        mesh = self.cluster.mesh
        places = {pod.node for pod in mesh.pods} | {process.where for process in self.cluster.processes}
        return tuple(node for node in mesh.nodes if node.name in places)

    def _started(self, node: Node, block: Block) -> Instrument:
        plan = {
            "node": node.name,
            "block": {**vars(block), "load": vars(block.load), "windows": [vars(w) for w in block.windows]},
            "mesh": packed(self.cluster.mesh),
            "processes": self._told(node),
        }
        process = self.cluster.run(node.name, ARM, spec(block.name, plan))
        self._own.add(process)
        said = process.read("stdout").decode().split()
        return Instrument(node, process, said[1], self.cluster.clock(node.name))

    def _ask_pids(self) -> None:
        """Of processes that were not asked yet: an ended one is known by having none of its pids left."""
        new = [p for p in self.cluster.processes if p not in self._pids and p not in self._own]
        self._pids |= dict(zip(new, _all(lambda p: p.pids(), new), strict=True))

    def _told(self, node: Node) -> list[dict[str, Any]]:
        homes = {pod.name: pod.node for pod in self.cluster.mesh.pods}
        homes |= {p.where: p.node for p in self._pids if p.node}
        there = (p for p in self._pids if homes.get(p.where, p.where) == node.name and self._pids[p])
        return [told(process, self._pids[process]) for process in there]

    def _word(self, instrument: Instrument, epoch_ns: int, awake: bool) -> str:
        own_epoch_ns = epoch_ns + instrument.ahead_ns
        return json.dumps({"epoch_ns": own_epoch_ns, "processes": self._told(instrument.node), "awake": awake})

    def _collect(self, instrument: Instrument) -> None:
        process = instrument.process
        if process.wait(GRACE_S):
            words = process.read("stderr").decode(errors="replace").strip().splitlines() or [""]
            raise Failed(f"the instrument on {instrument.node.name} could not watch {self.block}: {words[-1]}")
        instrument.seen = json.loads(process.read("seen.json"))
        if self._block is not None and self._block.kind == "referee":
            self._wire.exchanges |= exchanges(process.read("exchanges.npz"))


def spec(name: str, plan: Mapping[str, Any]) -> ProcessSpec:
    """The instrument as a node's process: it reads other pods' processes, so it has the node's and not its own."""
    return ProcessSpec(
        name=f"meters-{name}",
        argv=(sys.executable, "-m", "lab.meter.guest", "{dir}/plan.json"),
        part=Part.INSTRUMENT,
        files={"plan.json": json.dumps(plan)},
        env={"PYTHONPATH": str(ROOT), "MESH_LAB_BUILD": str(cache()), **_ONE_THREAD},
        user=0,
        privileges=frozenset({Privilege.BPF}),
        ready=Line("ready"),
    )


def told(process: Process, pids: Sequence[int]) -> dict[str, Any]:
    """What an instrument must know of a process."""
    found = process.container
    if found is None and process.cgroup is None:
        raise Failed(f"{process.spec.name} in {process.where} has no cgroup and no container: it cannot be found there")
    return {
        "name": process.spec.name,
        "part": process.spec.part,
        "where": process.where,
        "arm": process.arm,
        "cgroup": str(process.cgroup) if process.cgroup else None,
        "container": [found.pod, found.id] if found else None,
        "pids": list(pids),
    }


def exchanges(stored: bytes) -> dict[int, Exchanges]:
    """What an instrument's referee saw, by window index."""
    with np.load(io.BytesIO(stored), allow_pickle=False) as file:
        windows = {int(name.partition(".")[0]) for name in file}
        return {window: Exchanges(*(file[f"{window}.{name}"] for name in FIELDS)) for window in sorted(windows)}


def _missing(instrument: Instrument) -> Iterable[tuple[str, str]]:
    return dict(instrument.seen["missing"]).items()


def _all(work: Callable[[T], U], over: Iterable[T]) -> list[U]:
    """Each is a few round trips to a cluster: side by side."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(work, over))


def _overlaps(row: NodeRow, start_ns: int, end_ns: int) -> bool:
    end = int(row["monotonic_ns"] or 0)
    return end >= start_ns and end - float(row["interval_s"] or 0) * 1e9 <= end_ns
