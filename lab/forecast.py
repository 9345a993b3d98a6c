"""A forecast becomes a results folder: what was asked, the calibration, the answer, and a report of it.

    results/<run>/forecast.json      what was asked (the graph and the seed included), the calibration's hash
                  calibration.json   a copy of what it was answered from
                  answer.json        every number, with origin "simulated"
                  report/index.html  with the outcome of the shipped calibration's holdout
                  manifest.json      every file with its hash

A forecast has no trials, no raw requests and no gates, so it is no `Run`: a folder of its own kind says so from the
start, and cannot be taken for a measurement. `check --strict` answers it again from the copy and compares.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed, parallel_config  # type: ignore[import-untyped, unused-ignore]

from lab import codec
from lab.check import Problem, difference
from lab.question import Forecast
from lab.record import Mistake
from lab.report import forecast as page
from lab.sim import validation
from lab.sim.answer import Answer, Point, answer, make, memories, visibility
from lab.sim.calibration import SHIPPED, Calibration, load
from lab.sim.coefficients import adopt
from lab.sim.graph import Graph
from lab.sim.memory import Habits
from lab.sim.validation import Outcome

SCHEMA = 1
ASKED, CALIBRATION, ANSWER, REPORT, MANIFEST = (
    "forecast.json", "calibration.json", "answer.json", "report/index.html", "manifest.json"
)  # fmt: skip
BACKENDS = ("loky", "dask", "ray")
SWEPT = ("nodes", "pods_per_node", "services", "rate_per_s")


def run(
    asked: Forecast,
    out: Path,
    *,
    calibration: Path = SHIPPED,
    graph: Graph | None = None,
    seed: int = 1,
    sweep: tuple[str, Sequence[float]] | None = None,
    backend: str = "loky",
    machine: str | None = None,
) -> Answer:
    """Answer it and keep everything in the new folder `out`."""
    if out.exists():
        raise Mistake(f"{out} exists; choose another with --out")
    known = load(calibration, machine)
    found = answer(asked, known, graph, seed)
    points = swept(asked, known, graph, seed, sweep, backend) if sweep else ()
    told = {"schema": SCHEMA, "run": out.name, "asked": codec.plain(asked), "seed": seed,
            "graph": codec.plain(graph), "sweep": codec.plain(points)}  # fmt: skip
    raw, outcome = calibration.read_bytes(), _outcome(calibration, known)
    told["calibration_sha256"] = codec.sha256(raw)
    _write(out, {
        ASKED: codec.text(told),
        CALIBRATION: raw,
        ANSWER: codec.text(codec.plain(found)),
        REPORT: page.render(found, out.name, points, outcome).encode(),
    })  # fmt: skip
    return found


def _outcome(calibration: Path, known: Calibration) -> Outcome | None:
    """How predictions from the shipped calibration came true; nothing is known of another machine's class."""
    if calibration != SHIPPED and known.machine != load(SHIPPED).machine:
        return None
    return validation.load() if validation.SHIPPED.is_file() else None


def _write(out: Path, files: Mapping[str, bytes]) -> None:
    scratch = out.with_name(f".{out.name}.new")
    shutil.rmtree(scratch, ignore_errors=True)
    for name, raw in files.items():
        (scratch / name).parent.mkdir(parents=True, exist_ok=True)
        (scratch / name).write_bytes(raw)
    hashes = {name: codec.sha256(raw) for name, raw in files.items()}
    (scratch / MANIFEST).write_bytes(codec.text({"schema": SCHEMA, "kind": "forecast", "files": hashes}))
    scratch.rename(out)


def swept(
    asked: Forecast,
    calibration: Calibration,
    graph: Graph | None,
    seed: int,
    sweep: tuple[str, Sequence[float]],
    backend: str,
) -> tuple[Point, ...]:
    """Memory of the same forecast with one number set to each value, on as many processors or machines as there are."""
    if backend not in BACKENDS:
        raise Mistake(f"--backend {backend!r} is unknown; allowed: {', '.join(BACKENDS)}")
    name, values = sweep
    if backend == "ray":
        _register_ray()
    try:
        with parallel_config(backend=backend):
            jobs = (delayed(_point)(asked, calibration, graph, seed, name, value) for value in values)
            return tuple(Parallel(n_jobs=-1)(jobs))
    except (ImportError, ValueError) as wrong:
        raise Mistake(f"--backend {backend} does not work here: {wrong}; use loky") from None


def _register_ray() -> None:
    try:
        from ray.util.joblib import register_ray  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415
    except ImportError:
        raise Mistake("--backend ray needs the package ray; pip install ray, or use loky") from None
    register_ray()


def _point(asked: Forecast, calibration: Calibration, graph: Graph | None, seed: int, name: str, value: float) -> Point:
    changed = replace(asked, **{name: value if name == "rate_per_s" else int(value)})  # type: ignore[arg-type]
    habits = Habits(visibility(changed.visibility), changed.connections_per_callee)
    found = memories(make(changed, graph, seed), habits, adopt(calibration))
    kept = {m.arm: m.full if changed.visibility == "full" else m.scoped for m in found}
    return Point(name, value, {arm: (e.value, e.low, e.high) for arm, e in kept.items()})


def sweep_of(text: str) -> tuple[str, tuple[float, ...]]:
    """`nodes=100,500,5000` in parts."""
    name, _, values = text.partition("=")
    try:
        numbers = tuple(float(v) for v in values.split(","))
    except ValueError:
        numbers = ()
    if name not in SWEPT or not numbers:
        raise Mistake(f"--sweep {text!r}; it must be one of {', '.join(SWEPT)}, then = and numbers: nodes=100,500")
    return name, numbers


def is_forecast(folder: Path) -> bool:
    """Does the folder hold a forecast, and not a measured run?"""
    return (folder / ASKED).is_file()


def check(folder: Path, strict: bool = False) -> tuple[Problem, ...]:
    """Every problem of a forecast's folder; strict answers it again from its own calibration."""
    try:
        files: dict[str, str] = json.loads((folder / MANIFEST).read_bytes())["files"]
    except (OSError, ValueError, KeyError, TypeError) as wrong:
        return (Problem(MANIFEST, f"cannot be read: {wrong}", "without it nothing here can be trusted"),)
    changed = [name for name, sha in files.items() if _sha(folder / name) != sha]
    if strict:
        there = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
        changed += sorted(there - {*files, MANIFEST})
    if changed or not strict:
        return tuple(
            Problem(name, "is not what was written", "it was changed afterwards; do not use it") for name in changed
        )
    told: Mapping[str, Any] = codec.parse((folder / ASKED).read_bytes())
    graph = None if told["graph"] is None else codec.load(Graph, told["graph"])
    again = answer(codec.load(Forecast, told["asked"]), load(folder / CALIBRATION), graph, int(told["seed"]))
    other = difference(codec.plain(again), codec.parse((folder / ANSWER).read_bytes()))
    if not other:
        return ()
    return (Problem(ANSWER, f"differs when answered again: {other}", "it does not follow from its calibration"),)


def _sha(path: Path) -> str:
    return codec.sha256(path.read_bytes()) if path.is_file() else ""
