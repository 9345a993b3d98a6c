"""The steady engine as a process of a client pod: what to start, when to start it, what it did.

Its plan is in `plan.json`. It opens and warms its connections, prints `ready`, waits for the line `start <epoch_ns>`
(CLOCK_MONOTONIC, which all processes of one machine share), follows its windows, and leaves `requests.npy` and
`report.json` beside its plan. Where several share a load, each is told its number, and `merged` puts together what they
did: their times are all ns after the one epoch, each by its own machine's clock.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lab.cluster import Line, Part, Process, ProcessSpec
from lab.compile import ROOT, shared, shared_name
from lab.load.engine import SOURCE, Engine, Target
from lab.load.report import REQUEST, EngineReport
from lab.load.schedule import give_up, offsets, owners
from lab.record import Arrivals, Block, CannotRun, Failed, LabError, Mistake, Window

__all__ = ["REQUEST", "EngineReport", "collect", "merged", "process", "start"]

ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def process(
    name: str, address: str, port: int, block: Block, arm: str, seed: int, user: int | None = None, engine: int = 0
) -> ProcessSpec:
    """The engine that offers `block`'s load, or as number `engine` its share, to `address`:`port` in `arm`'s windows.

    It runs as the owner of the project's folder unless `user` says otherwise: below a private home no one else can read
    the engine's code. Nothing it does asks for more than opening connections.
    """
    plan = {
        "address": address,
        "port": port,
        "path": block.load.path,
        "connections": block.load.shares[engine],
        "engine": engine,
        "engines": block.load.engines,
        "timeout_s": block.load.timeout_s,
        "spin": block.load.spin,
        "rate_per_s": block.load.rate_per_s,
        "arrivals": block.load.arrivals,
        "seed": seed,
        "guard_s": block.guard_s,
        "windows": [vars(w) for w in block.only(arm)],
        "library": str(_library()),  # compiled here, where clang and a writable folder are
    }
    return ProcessSpec(
        name=name,
        argv=(sys.executable, "-m", "lab.load.steady", "{dir}/plan.json"),
        part=Part.LOAD,
        files={"plan.json": json.dumps(plan)},
        env={"PYTHONPATH": str(ROOT), **ONE_THREAD},
        user=ROOT.stat().st_uid if user is None else user,
        ready=Line("ready"),
    )


def _library() -> Path:
    """Without a compiler here only an image, which has one, can run it."""
    return shared(SOURCE) if shutil.which("clang") else shared_name(SOURCE)


def start(process: Process, epoch_ns: int) -> None:
    """Tell a ready engine when its block begins; all engines of a block get the same epoch."""
    process.tell(f"start {epoch_ns}")


def collect(process: Process, timeout_s: float) -> EngineReport:
    """Wait until an engine has drained, and read what it did; `Failed` with its last words if it broke off."""
    process.tell("stop")
    code = process.wait(timeout_s)
    if code:
        words = process.read("stderr").decode(errors="replace").strip().splitlines()
        raise Failed(
            f"load engine {process.spec.name} in {process.where} ended with {code}: {words[-1] if words else ''}"
        )
    requests = np.load(io.BytesIO(process.read("requests.npy")), allow_pickle=False)
    return EngineReport(requests=requests, **json.loads(process.read("report.json")))


def merged(reports: Sequence[EngineReport], shares: Sequence[int]) -> EngineReport:
    """What the engines of one load did together: the whole schedule in its order, every request as it was recorded.

    `shares` are the engines' connections; those of each engine follow on those of the one before.
    """
    if len(reports) == 1:
        return reports[0]
    tables = []
    for number, report in enumerate(reports):
        rows = report.requests.copy()
        rows["connection"][rows["connection"] >= 0] += sum(shares[:number])
        tables.append(rows)
    every = np.concatenate(tables)
    sums: dict[str, Any] = {name: sum(r.counts()[name] for r in reports) for name in reports[0].counts()}
    return EngineReport(every[np.argsort(every["scheduled_ns"], kind="stable")], **sums)


def follow(file: Path) -> None:
    """Be the process: do what the plan in `file` says."""
    plan: dict[str, Any] = json.loads(file.read_text())
    windows = [Window(**w) for w in plan["windows"]]
    scheduled, window = offsets(windows, plan["rate_per_s"], Arrivals(plan["arrivals"]), plan["seed"])
    target = Target(*(plan[k] for k in ("address", "port", "path", "connections", "timeout_s", "spin")))
    mine = owners(windows, window, Arrivals(plan["arrivals"]), plan["seed"], plan["engines"]) == plan["engine"]
    scheduled, window = scheduled[mine], window[mine]
    with Engine(target, scheduled, window, give_up(windows, window, plan["guard_s"]), Path(plan["library"])) as engine:
        engine.open()
        print("ready", flush=True)
        report = engine.run(_epoch(sys.stdin.readline()))
        np.save(file.with_name("requests.npy"), report.requests)
        file.with_name("report.json").write_text(json.dumps(report.counts()))
        sys.stdin.readline()  # connections stay open until `collect`: meters count them after the last window


def _epoch(line: str) -> int:
    word, _, epoch = line.strip().partition(" ")
    if word != "start" or not epoch.isdecimal():
        raise Mistake(f"read {line.strip()!r}; the engine waits for the line: start <epoch_ns>")
    return int(epoch)


def main() -> int:
    """Exit code 0, 1 when the load could not be offered, 2 when it was not possible as asked."""
    try:
        follow(Path(sys.argv[1]))
    except LabError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, Mistake | CannotRun) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
