"""Raw requests of one arm under one load, chosen as the summary chooses them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from lab import gates
from lab.record import Block, BlockKind, Run
from lab.store import Store

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[Any]


def blocks(store: Store, arm: str, load: str) -> Iterator[tuple[Run, Block, Rows]]:
    """(run, block, its raw requests) of every stored trial in which the arm ran that block."""
    for run in store.runs():
        if run.arm == arm:
            block = next((b for b in store.trial(run.trial).blocks if b.name == load), None)
            rows = store.requests(run).get(load) if block else None
            if block is not None and rows is not None and len(rows):
                yield run, block, rows


def responses(store: Store) -> dict[tuple[str, str, str], Floats]:
    """Response times in seconds by (scenario, load, arm): answered, judged requests of slices no gate made void."""
    trials = {trial.name: trial for trial in store.trials()}
    found: dict[tuple[str, str, str], list[Floats]] = {}
    for run in store.runs():
        requests = store.requests(run)
        for block in trials[run.trial].blocks:
            if block.kind is BlockKind.SLICES and block.name in requests and gates.valid(run.findings, block.name):
                rows = requests[block.name]
                kept = gates.response_s(rows[gates.judged(block, rows) & gates.answered(rows)])
                found.setdefault((run.scenario, block.name, run.arm), []).append(kept)
    return {key: np.concatenate(arrays) for key, arrays in found.items()}
