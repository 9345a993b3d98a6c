"""Was every arm in the path, and did it answer? What fails here no statistics can mend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lab.plan import BASE
from lab.record import BlockKind
from lab.regression.ruling import Sides
from lab.store import Store

ALWAYS = frozenset({"accounting", "sockets", "parity"})
CARRIED = frozenset(
    {"errors", "connections"}
)  # of blocks that every arm is known to carry; a ladder is to be fallen off
COMPARED = (BlockKind.SLICES, BlockKind.COST, BlockKind.HOLD)


def failed(runs: Sequence[Store], sides: Sides, baseline: Store | None = None) -> tuple[str, ...]:
    """Every proof that the compared arms failed, in words: arm, block, and what was counted."""
    arms = (sides.candidate, BASE) if baseline else (sides.candidate, sides.against)
    found = [line for store in runs for line in _of(store, sides.scenario, arms)]
    if baseline:
        found += _of(baseline, sides.scenario, (sides.against, BASE))
    return tuple(dict.fromkeys(found))


def _of(store: Store, scenario: str, arms: Sequence[str]) -> Iterator[str]:
    compared = {(t.name, b.name) for t in store.plan.trials for b in t.blocks if b.kind in COMPARED}
    for run in store.runs():
        if run.scenario != scenario or run.arm not in arms:
            continue
        for finding in run.findings:
            counts = finding.gate in ALWAYS or (finding.gate in CARRIED and (run.trial, finding.block) in compared)
            if counts and not finding.passed:
                yield f"{run.arm}, {run.trial} {finding.block}".strip() + f": {finding.gate}: {finding.detail}"
