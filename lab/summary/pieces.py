"""The stored trials, cut to what the summary needs: one piece for each block of each arm in each deployment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from lab import gates
from lab.record import OUTCOMES, Block, BlockKind, Reading, Run
from lab.store import Store

METRICS = ("p50", "mean", "p99")

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Key = TypeVar("Key")


@dataclass(frozen=True)
class Piece:
    """What one arm did in one block of one deployment. The arrays hold its judged, answered requests, in seconds."""

    run: Run
    block: Block
    valid: bool  # may be compared at all
    fit: frozenset[str]  # metrics that may be compared
    overloaded: bool
    kept: bool
    offered: int
    answered: int
    achieved: float
    outcomes: tuple[int, ...]  # in the order of OUTCOMES
    stolen: frozenset[int]  # windows that the hypervisor disturbed
    window: Ints
    response_s: Floats
    service_s: Floats
    lag_s: Floats
    readings: tuple[Reading, ...]

    @property
    def windows(self) -> int:
        """How many windows the arm had."""
        return len(self.block.only(self.run.arm))

    def values(self, meter: str, metric: str, *, part: str = "", subject: str = "") -> list[float]:
        """Every reading of a metric, one a window and subject."""
        return [
            r.value
            for r in self.readings
            if r.meter == meter and r.metric == metric and part in ("", r.part) and subject in ("", r.subject)
        ]


def pieces(store: Store) -> tuple[Piece, ...]:
    """Every piece of a run, in the order of trials, arms and blocks. Requests of one arm are read at a time."""
    trials = {trial.name: trial for trial in store.trials()}
    found = []
    for run in store.runs():
        requests = store.requests(run)
        for block in trials[run.trial].blocks:
            if block.only(run.arm) and block.name in requests:
                found.append(piece(run, block, requests[block.name]))
    return tuple(found)


def piece(run: Run, block: Block, requests: npt.NDArray[Any]) -> Piece:
    """One block of one arm, reduced."""
    readings = tuple(r for r in run.readings if r.block == block.name)
    answered = gates.answered(requests)
    rows = requests[answered & gates.judged(block, requests)]
    achieved = next((f.value for f in run.findings if f.block == block.name and f.gate == "achieved"), None)
    return Piece(
        run=run,
        block=block,
        valid=gates.valid(run.findings, block.name),
        fit=frozenset(m for m in METRICS if gates.valid(run.findings, block.name, m)),
        overloaded=gates.overloaded(run.findings, block.name),
        kept=gates.kept(block, run.arm, requests),
        offered=len(requests),
        answered=int(answered.sum()),
        achieved=float("nan") if achieved is None else achieved,
        outcomes=tuple(np.bincount(requests["outcome"], minlength=len(OUTCOMES)).tolist()),
        stolen=gates.stolen(block, readings),
        window=rows["window"].astype(np.int64),
        response_s=gates.response_s(rows),
        service_s=np.asarray((rows["done_ns"] - rows["sent_ns"]) / 1e9),
        lag_s=np.asarray((rows["sent_ns"] - rows["scheduled_ns"]) / 1e9),
        readings=readings,
    )


def of_kind(found: Iterable[Piece], *kinds: BlockKind) -> Iterator[Piece]:
    """Those of some kinds of block."""
    return (p for p in found if p.block.kind in kinds)


def grouped(found: Iterable[Piece], key: Callable[[Piece], Key]) -> dict[Key, list[Piece]]:
    """Pieces put together by a key, in the order of first appearance."""
    groups: dict[Key, list[Piece]] = {}
    for one in found:
        groups.setdefault(key(one), []).append(one)
    return groups


def by_load(one: Piece) -> tuple[str, str]:
    """Scenario and block: what arms share when they are compared."""
    return one.run.scenario, one.block.name


def by_arm(one: Piece) -> tuple[str, str, str]:
    """Scenario, block and arm: what deployments repeat."""
    return one.run.scenario, one.block.name, one.run.arm


def pooled(found: Sequence[Piece], name: str) -> Floats:
    """One of the arrays of several pieces, end to end."""
    return np.concatenate([getattr(p, name) for p in found]) if found else np.empty(0)
