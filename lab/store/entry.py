"""What the folder of one stored trial holds, as bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lab import codec
from lab.behaviour import Turn, Walk
from lab.foreign import Document, Original, Told
from lab.question import Observation, Repeat
from lab.record import Mistake, Run, Trial
from lab.store import manifest, table
from lab.store.table import Rows

PLAN_HASH = "plan_sha256"
RESERVED = frozenset({"trial", "host"})  # files of a trial that an arm's must not replace
HostRows = Sequence[Mapping[str, Any]] | Rows
Requests = Mapping[str, Mapping[str, Rows]]
"""Arm → block → array of `lab.store.table.REQUEST`."""


def fits(planned: Trial, trial: Trial, runs: Sequence[Run], requests: Requests) -> None:
    """`Mistake` unless `trial` as it was run, its runs and its requests belong to each other and to the plan."""
    arms = [run.arm for run in runs]
    allowed = {arm.name for arm in planned.arms} - RESERVED
    if len(set(arms)) < len(arms) or not set(arms) == set(requests) <= allowed:
        raise Mistake(
            f"trial {trial.name} has runs of {sorted(arms)} and requests of {sorted(requests)};"
            f" allowed are one run, with its requests, for each of {sorted(allowed)}"
        )
    blocks = {block.name for block in trial.blocks}
    strange = {name for of_arm in requests.values() for name in of_arm} - blocks
    if strange:
        raise Mistake(f"trial {trial.name} has requests of {sorted(strange)}; its blocks are {sorted(blocks)}")
    if others := {run.trial for run in runs} - {trial.name}:
        raise Mistake(f"trial {trial.name} was given runs of {sorted(others)}; add each to its own trial")


def contents(plan_sha256: str, trial: Trial, runs: Sequence[Run], requests: Requests) -> Iterator[tuple[str, bytes]]:
    """What was run and measured: each file's path in the trial's folder, and its bytes."""
    yield "trial.json", stamped(plan_sha256, "trial", codec.dump(trial))
    for run in runs:
        kept = replace(run, requests_file=f"{run.arm}.parquet")
        facts = {PLAN_HASH: plan_sha256, "trial": trial.name, "arm": run.arm}
        yield f"{run.arm}.json", stamped(plan_sha256, "run", codec.dump(kept))
        yield kept.requests_file, table.pack(requests[run.arm], facts)


def surroundings(plan_sha256: str, host: HostRows, files: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """What stood around it: the host's series, rendered configurations, logs."""
    yield "host.parquet", table.pack_series(host, {PLAN_HASH: plan_sha256})
    for path, raw in files.items():
        yield manifest.inside(path, ("config", "logs")), raw


def studied(
    plan_sha256: str, repeat: Repeat, observations: Sequence[Observation], facts: Mapping[str, str]
) -> Iterator[tuple[str, bytes]]:
    """One repeat of a study: what was measured in which order, and everything that was seen."""
    strange = {o.case for o in observations} ^ {case.name for case in repeat.cases}
    if strange:
        raise Mistake(
            f"repeat {repeat.name}: {sorted(strange)} are not both cases and observed; measure each case once"
        )
    yield "repeat.json", stamped(plan_sha256, "repeat", codec.dump(repeat))
    yield "facts.json", stamped(plan_sha256, "facts", dict(facts))
    rows = [{"case": o.case, "metric": o.metric, "value": o.value} for o in observations]
    yield "observations.parquet", table.pack_series(rows, {PLAN_HASH: plan_sha256, "repeat": repeat.name})


def walked(plan_sha256: str, turn: Turn, walk: Walk, rows: Rows) -> Iterator[tuple[str, bytes]]:
    """One turn of a journey: what was planned, what was seen, every request event."""
    yield "walk.json", codec.text({PLAN_HASH: plan_sha256, "turn": codec.dump(turn), "walk": codec.dump(walk)})
    yield "requests.parquet", table.pack_series(rows, {PLAN_HASH: plan_sha256, "turn": turn.name})


def imported(
    plan_sha256: str, original: Original, told: Told, documents: Sequence[Document]
) -> Iterator[tuple[str, bytes]]:
    """One imported repetition: what was asked, what was read, and the files themselves."""
    given = tuple((d.name, codec.sha256(d.raw), len(d.raw)) for d in documents)
    if given != original.files:
        raise Mistake(f"import {original.name} has other files than planned; import them into a new folder")
    yield "told.json", codec.text({PLAN_HASH: plan_sha256, "original": codec.dump(original), "told": codec.dump(told)})
    for number, document in enumerate(documents, 1):
        yield kept(number, document.name), document.raw


def kept(number: int, name: str) -> str:
    """Where a given file is kept below its import: its name, with what a path cannot hold replaced."""
    return manifest.inside(f"original/{number}-{re.sub(r'[^A-Za-z0-9_.@+-]', '_', name)[:100]}", ("original",))


def stamped(plan_sha256: str, key: str, data: object) -> bytes:
    """A JSON file that names the plan it belongs to."""
    return codec.text({PLAN_HASH: plan_sha256, key: data})
