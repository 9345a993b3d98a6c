"""Locust's processes in a client's pod: what to start, and what they leave behind when they have stopped.

One process; or one that forks others (`--processes`); or a master and workers, each started on its own. They talk to
each other on the pod's loopback or, where several client pods share the workers, on the port MASTER_PORT of the first
pod's address, which datapaths leave alone (`PodSpec.apart`). Nothing of Locust is imported here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lab.behaviour import COLUMNS, Journey, Tally, Turn
from lab.cluster import Line, Part, Process, ProcessSpec
from lab.compile import ROOT
from lab.record import Failed, Mistake

ROW = np.dtype(list(COLUMNS))
JOURNAL = Path(__file__).with_name("journal.py")
LOCUSTFILES = ROOT / "scenarios" / "journeys" / "locustfiles"
LOOPBACK, MASTER_PORT, WEB_PORT = "127.0.0.1", 5557, 8089
STOP_S = 10.0  # a user may take as long to finish its step when the time is over
LINGER_S = 1.0  # Locust's pages stay as long after the users have gone
START_S = 60.0  # for Locust to import, connect, start and end
STATS = "locust.json"

Rows = npt.NDArray[Any]


@dataclass(frozen=True)
class Report:
    """What Locust's processes left: every request event in the order they began, and what Locust counted itself."""

    rows: Rows  # of ROW
    steps: tuple[str, ...]
    tallies: tuple[Tally, ...]
    lasted_s: float  # until users were asked to leave
    connections: int
    cpu_share: float
    errors: int


def processes(
    turn: Turn, journey: Journey, host: str, *, web_ui: bool = False, meeting: str = LOOPBACK
) -> tuple[ProcessSpec, ...]:
    """What walks `turn` against `host` (http://ADDRESS:PORT); the first of them leads, and ends by itself.

    `meeting` is the address where workers find their master.
    """
    text = locustfile(journey)
    lead = _lead(turn, web_ui, meeting)
    if not turn.workers:
        return (_process("locust", turn, text, host, lead),)
    master = _process("locust", turn, text, host, (*lead, "--master", "--expect-workers", str(turn.workers)))
    worker = ("--worker", "--master-host", meeting, "--master-port", str(MASTER_PORT))
    return (master, *(_process(f"worker{n}", turn, text, host, worker, n) for n in range(turn.workers)))


def locustfile(journey: Journey) -> str:
    """The text of a journey's locustfile; `Mistake` where there is none."""
    path = LOCUSTFILES / journey.locustfile
    if not path.is_file():
        there = ", ".join(sorted(p.name for p in LOCUSTFILES.glob("[!_]*.py")))
        raise Mistake(f"journey {journey.name} has locustfile {journey.locustfile!r}; there are {there}")
    return path.read_text()


def homes(turn: Turn) -> tuple[int, ...]:
    """The client pod, by number, of each of `processes`: the leader is in the first; pods take the workers in turn."""
    return (0, *(worker % turn.engines for worker in range(turn.workers)))


def _lead(turn: Turn, web_ui: bool, meeting: str) -> tuple[str, ...]:
    """The options of the process that decides when users come and go."""
    shown = ("--web-host", LOOPBACK, "--web-port", str(WEB_PORT), "--autostart", "--autoquit", f"{LINGER_S:.0f}")
    forked = ("--processes", str(turn.processes)) if turn.processes > 1 else ()
    return (
        *(shown if web_ui else ("--headless",)),
        *("--users", str(turn.users), "--spawn-rate", f"{turn.spawn_per_s:g}", "--run-time", _seconds(turn.seconds)),
        *("--stop-timeout", f"{STOP_S:g}", "--only-summary", "--exit-code-on-error", "0"),
        *("--json-file", "{dir}/" + STATS.removesuffix(".json")),
        *("--master-bind-host", meeting, "--master-bind-port", str(MASTER_PORT)),
        *forked,
    )


def _seconds(seconds: float) -> str:
    """Locust's run time: whole seconds."""
    if not float(seconds).is_integer():
        raise Mistake(f"seconds={seconds}; Locust runs for whole seconds: give a whole number")
    return f"{seconds:.0f}s"


def _process(
    name: str, turn: Turn, text: str, host: str, options: Sequence[str], worker: int | None = None
) -> ProcessSpec:
    """Runs as the owner of the project's folder, as the steady engine does: it must read the lab's code."""
    return ProcessSpec(
        name=name,
        argv=(sys.executable, "-m", "locust", "-f", f"{JOURNAL},{{dir}}/journey.py", "--host", host, *options),
        part=Part.LOAD,
        files={"journey.py": text},
        env={
            "PYTHONPATH": str(ROOT),
            "MESH_LAB_JOURNAL": "{dir}",
            "MESH_LAB_SEED": str(turn.seed),
            **({} if worker is None else {"MESH_LAB_WORKER": str(worker)}),
        },
        user=ROOT.stat().st_uid,
        ready=Line("["),  # its log: Locust is imported and starts
    )


def collect(started: Sequence[Process], turn: Turn, ahead_ns: Sequence[int] = ()) -> Report:
    """Wait until all have ended and read what they left; `Failed` with their last words where one broke off.

    `ahead_ns` is how far the clock of each one's machine is ahead of one that all are compared with; none: not at all.
    """
    ahead = {process: ahead_ns[n] if ahead_ns else 0 for n, process in enumerate(started)}
    for process in started:
        if code := process.wait(turn.seconds + 2 * STOP_S + START_S):
            words = process.read("stderr").decode(errors="replace").strip().splitlines()
            raise Failed(f"{process.spec.name} in {process.where} ended with {code}: {words[-1] if words else ''}")
    stats = json.loads(started[0].read(STATS))
    tallies = tuple(Tally(f"{s['method']} {s['name']}", s["num_requests"], s["num_failures"]) for s in stats)
    recorders = [started[1 + n] if turn.workers else started[0] for n in range(turn.recorders)]
    left = [_left(process, n, ahead[process]) for n, process in enumerate(recorders)]
    zero_ns = min(said["zero_ns"] for said, _ in left)
    steps = tuple(sorted({step for said, _ in left for step in said["steps"]}))
    rows = np.concatenate([_together(said, found, steps, zero_ns) for said, found in left])
    return Report(
        rows=rows[np.argsort(rows["start_ns"], kind="stable")],
        steps=steps,
        tallies=tuple(sorted(tallies, key=lambda t: t.step)),
        lasted_s=(min(said["stopped_ns"] for said, _ in left) - zero_ns) / 1e9,
        connections=sum(said["connections"] for said, _ in left),
        cpu_share=max(said["cpu_share"] for said, _ in left),
        errors=sum(said["errors"] for said, _ in left),
    )


def _left(process: Process, worker: int, ahead_ns: int) -> tuple[Mapping[str, Any], Rows]:
    """What one recording process wrote, by the common clock; `Failed` where it did not come to its end."""
    said = json.loads(process.read(f"journal-{worker}.json"))
    said |= {name: said[name] - ahead_ns for name in ("zero_ns", "stopped_ns")}
    raw = process.read(f"requests-{worker}.bin")
    if len(raw) != said["rows"] * ROW.itemsize:
        raise Failed(f"{process.spec.name} in {process.where} wrote {len(raw)} bytes for {said['rows']} requests")
    return said, np.frombuffer(raw, ROW)


def _together(said: Mapping[str, Any], rows: Rows, steps: Sequence[str], zero_ns: int) -> Rows:
    """One process's rows with the steps and the clock of all."""
    moved = rows.copy()
    moved["start_ns"] += said["zero_ns"] - zero_ns
    numbers = np.array([steps.index(step) for step in said["steps"]] or [0], np.uint16)
    moved["step"] = numbers[rows["step"]]
    return moved
