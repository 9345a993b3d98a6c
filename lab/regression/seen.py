"""One stored run, cut to pieces, and what can be asked of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lab.record import BlockKind
from lab.store import Store
from lab.summary import latency
from lab.summary.pieces import Piece, of_kind, pieces


@dataclass(frozen=True)
class Seen:
    """One stored run, cut to pieces, of one scenario."""

    store: Store
    scenario: str
    found: tuple[Piece, ...]

    @classmethod
    def of(cls, store: Store, scenario: str) -> Seen:
        """Reads all raw requests of the run."""
        return cls(store, scenario, tuple(p for p in pieces(store) if p.run.scenario == scenario))

    def loads(self, kind: BlockKind, rate: float | None) -> dict[str, float]:
        """Blocks of a kind, at one rate where one is given, by name; with their rates."""
        planned = [b for t in self.store.plan.trials if t.scenario == self.scenario for b in t.blocks]
        return {b.name: b.load.rate_per_s for b in planned if b.kind is kind and rate in (None, b.load.rate_per_s)}

    def planned(self, load: str) -> int:
        """In how many deployments a block was planned."""
        trials = [t for t in self.store.plan.trials if t.scenario == self.scenario]
        return sum(any(b.name == load for b in t.blocks) for t in trials)

    def of_arm(self, load: str, arm: str) -> list[Piece]:
        """What an arm did under a load, one piece a deployment."""
        return [p for p in self.found if (p.block.name, p.run.arm) == (load, arm)]

    def knee(self, arm: str) -> float:
        """The lowest rate that an arm could not keep, in any deployment; infinite where it kept all."""
        limits = [p.run.saturated_at for p in self.found if p.run.arm == arm and p.run.saturated_at is not None]
        return min(limits, default=math.inf)

    def kept(self, arm: str) -> float | None:
        """The highest rate of the ladder that an arm kept in every deployment."""
        every = latency.capacities(list(of_kind(self.found, BlockKind.LADDER)))
        return next((c.kept_per_s for c in every if c.arm == arm), None)
