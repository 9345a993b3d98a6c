"""The instrument of one node: `python -m lab.meter.guest PLAN` watches one block there with the very same meters.

PLAN is JSON: `node`, `block`, `mesh`, `processes` that live already. It prints `ready MACHINE`, awaits a line of JSON
(`epoch_ns` of its own clock, all `processes`, `awake`), walks the block, and leaves `seen.json` (readings, what is
missing, the host's series) and `exchanges.npz` (the referee's) beside PLAN. Exit code 1, with a line of why, where it
could not.
"""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lab.cluster import Cluster, Part
from lab.cluster.pods import Groups
from lab.meter import Meter, Watch, meters
from lab.meter.awake import Awake
from lab.meter.host import HostSeries
from lab.meter.processes import of_arm
from lab.meter.view import View, machine
from lab.meter.wire import Wire
from lab.record import Arrivals, Block, BlockKind, LabError, Load, Reading, Window

FIELDS = ("port", "sent_ns", "first_ns", "last_ns")  # of lab.meter.wire.Exchanges


class NodeWire(Wire):
    """The referee where some arms' load is on other nodes: those it lets pass."""

    def begin(self, window: Window) -> None:
        self.engine = None
        if any(p.spec.part is Part.LOAD for p in of_arm(self.cluster.processes, window.arm)):
            super().begin(window)

    def end(self, window: Window) -> tuple[Reading, ...]:
        return super().end(window) if self.engine is not None else ()


def watch(plan: dict[str, Any], folder: Path) -> None:
    """Be the instrument."""
    block, in_containers = _block(plan["block"]), any(pod["cgroup"] is None for pod in plan["mesh"]["pods"])
    awake = Awake(wanted=False)
    with Groups() as groups:
        view = View(plan["mesh"], groups if in_containers else None)
        for pod in view.mesh.pods if in_containers else ():
            if pod.node == plan["node"]:
                groups.containers(pod.uid)  # before engines open their sockets
        view.learn(plan["processes"])
        wanted, series = _meters(block.kind, view, awake), HostSeries()
        with Watch(block, wanted) as watching:
            print("ready", machine(), flush=True)
            told = json.loads(sys.stdin.readline())
            view.learn(told["processes"])
            awake.wanted = told["awake"]  # one node of a machine spins: known only once all are ready
            with awake, series:
                watching.walk(told["epoch_ns"])
                series.settle()
    seen = {"readings": [asdict(r) for r in watching.readings], "missing": watching.missing, "host": series.rows}
    (folder / "seen.json").write_text(json.dumps(seen))
    found = {i: e for m in wanted if isinstance(m, Wire) for i, e in m.exchanges.items()}
    times = {f"{i}.{name}": getattr(e, name) for i, e in found.items() for name in FIELDS}
    np.savez_compressed(folder / "exchanges.npz", **times)


def _meters(kind: BlockKind, view: Cluster, awake: Awake) -> list[Meter]:
    return [NodeWire(view) if isinstance(m, Wire) else m for m in meters(kind, view, awake)]


def _block(told: dict[str, Any]) -> Block:
    load = Load(**{**told["load"], "arrivals": Arrivals(told["load"]["arrivals"])})
    windows = tuple(Window(**window) for window in told["windows"])
    return Block(**{**told, "kind": BlockKind(told["kind"]), "load": load, "windows": windows})


def _stop(*_: object) -> None:
    sys.exit(0)


def main() -> int:
    """Exit code 0, or 1 with a line of why. SIGTERM ends it with the pods' processes where they were before."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        watch(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[1]).parent)
    except (LabError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
