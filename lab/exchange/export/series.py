"""Raw requests of one arm in one block over all deployments, as every export of times wants them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lab import gates
from lab.exchange.export.asked import Asked
from lab.record import OUTCOMES, Block, Mistake, Outcome, Run
from lab.store import Store
from lab.store.table import Rows

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """One deployment of it. `rows` are its judged, answered requests; `offered` counts all judged ones."""

    run: Run
    block: Block
    rows: Rows
    offered: int

    def times_ns(self, times: str) -> Ints:
        """Nanoseconds to the answer: from schedule (response), or from the send (service)."""
        start = self.rows["sent_ns"] if times == "service" else self.rows["scheduled_ns"]
        return np.asarray(self.rows["done_ns"] - start, dtype=np.int64)

    @property
    def judged_s(self) -> float:
        """Seconds of its windows in which requests were judged."""
        return sum(max(0.0, w.duration_s - self.block.drop_s) for w in self.block.only(self.run.arm))


@dataclass(frozen=True)
class Series:
    """One arm in one block: every deployment that its gates left valid."""

    scenario: str
    block: Block
    arm: str
    parts: tuple[Part, ...]
    void: int  # deployments that a gate left out

    @property
    def name(self) -> str:
        """Unique in its run, and fit for a file."""
        return f"{self.scenario}.{self.block.name}.{self.arm}"

    def times_ns(self, times: str) -> Ints:
        """All deployments, end to end."""
        return np.concatenate([part.times_ns(times) for part in self.parts])

    @property
    def offered(self) -> int:
        return sum(part.offered for part in self.parts)

    @property
    def judged_s(self) -> float:
        return sum(part.judged_s for part in self.parts)

    @property
    def statuses(self) -> dict[int, int]:
        """Requests by the status of their answer."""
        seen, counts = np.unique(np.concatenate([part.rows["status"] for part in self.parts]), return_counts=True)
        return {int(s): int(n) for s, n in zip(seen, counts, strict=True)}


def series(store: Store, asked: Asked) -> tuple[Series, ...]:
    """What was asked, in the order it was measured. `Mistake` where the run has no such thing, or only void blocks."""
    found: dict[tuple[str, str, str], list[tuple[Run, Block]]] = {}
    trials = {trial.name: trial for trial in store.trials()}
    for run in store.runs():
        for block in trials[run.trial].blocks:
            if block.only(run.arm):
                found.setdefault((run.scenario, block.name, run.arm), []).append((run, block))
    if not found:
        raise Mistake(f"{store.folder} has no trials, so no raw requests to export; --format csv takes any run")
    wanted = {key: members for key, members in found.items() if _wanted(key, asked)}
    if not wanted:
        raise Mistake(f"nothing of that kind in {store.folder}; {_there(found)}")
    made = tuple(s for s in _loaded(store, wanted) if s.parts)
    if not made:
        raise Mistake(f"gates left out every block that was asked for; see `mesh-lab report {store.folder}`")
    return made


def _wanted(key: tuple[str, str, str], asked: Asked) -> bool:
    return all(want in ("", have) for want, have in zip((asked.scenario, asked.block, asked.arm), key, strict=True))


def _there(found: dict[tuple[str, str, str], list[tuple[Run, Block]]]) -> str:
    scenarios, blocks, arms = (", ".join(dict.fromkeys(column)) for column in zip(*found, strict=True))
    return f"there are scenarios {scenarios}; blocks {blocks}; arms {arms}"


def _loaded(store: Store, wanted: dict[tuple[str, str, str], list[tuple[Run, Block]]]) -> Iterator[Series]:
    """Requests of one arm's file are read once for all its blocks."""
    parts: dict[tuple[str, str, str], list[Part]] = {key: [] for key in wanted}
    needed: dict[tuple[str, str], list[tuple[tuple[str, str, str], Run, Block]]] = {}
    for key, members in wanted.items():
        for run, block in members:
            if gates.valid(run.findings, block.name):
                needed.setdefault((run.trial, run.arm), []).append((key, run, block))
    for these in needed.values():
        requests = store.requests(these[0][1])
        for key, run, block in these:
            parts[key].append(_part(run, block, requests[block.name]))
    for (scenario, _, arm), key in ((key, key) for key in wanted):
        block = wanted[key][0][1]
        there = tuple(p for p in parts[key] if len(p.rows))
        yield Series(scenario, block, arm, there, len(wanted[key]) - len(there))


def _part(run: Run, block: Block, requests: Rows) -> Part:
    judged = gates.judged(block, requests)
    answered = requests["outcome"] == OUTCOMES.index(Outcome.OK)
    return Part(run, block, requests[judged & answered], int(judged.sum()))
