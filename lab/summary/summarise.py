"""From the stored trials of one run to its summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from lab.foreign import ORIGIN
from lab.store import Store
from lab.summary import advice, contrasts, costs, foreign, holdout, journeys, latency, laws
from lab.summary.pieces import Piece, pieces
from lab.summary.results import Summary


def summarise(store: Store) -> Summary:
    """Everything that the stored trials say; the same trials always give the same summary."""
    found, studied, walked = pieces(store), laws.fits(store), journeys.stages(store)
    imported = foreign.imported(store)
    summed = Summary(
        run=store.plan.run,
        profile=store.plan.profile,
        origin=", ".join(sorted(_origins(store, found))) or "nothing measured",
        latencies=tuple(latency.latencies(found)),
        contrasts=tuple(contrasts.contrasts(found)),
        capacities=tuple(latency.capacities(found)),
        costs=tuple(costs.costs(found)),
        memories=tuple(costs.memories(found)),
        sockets=tuple(costs.sockets(found)),
        accounting=tuple(costs.accounting(found)),
        referee=costs.referee(found),
        host=_host(store, found),
        gates=_gates(store),
        warnings=(),
        coefficients=tuple(laws.coefficients(studied)),
        sizes=tuple(laws.sizes(studied)),
        foretold=tuple(holdout.foretold(store)),
        steps=tuple(journeys.steps(walked)),
        step_contrasts=tuple(journeys.contrasts(walked)),
        walk_counts=tuple(journeys.counts(store)),
        imported=imported,
        concerns=foreign.concerns(imported),
    )
    return replace(summed, warnings=tuple(advice.warnings(summed, found)))


def _origins(store: Store, found: Sequence[Piece]) -> set[str]:
    """Where the data comes from, in words."""
    return (
        {p.run.origin for p in found}
        | {walk.origin for _, walk in store.turns()}
        | ({"measured"} if store.repeats() else set())
        | ({ORIGIN} if store.imports() else set())
    )


def _host(store: Store, found: Sequence[Piece]) -> dict[str, float]:
    """Steal and pressure over all trials, and the share of windows that the hypervisor disturbed."""
    tables = [store.host(trial.name) for trial in store.trials()]
    tables += [store.host_meanwhile(turn.name) for turn, _ in store.turns()]
    figures: dict[str, float] = {}
    for column in ("steal_share", "cpu_pressure", "memory_pressure", "io_pressure"):
        values = [v for t in tables if column in t.column_names for v in t[column].to_pylist() if v is not None]
        if values:
            name = f"{column.removesuffix('_share')}_share"
            figures |= {f"mean_{name}": float(np.mean(values)), f"worst_{name}": float(np.max(values))}
    windows = sum(p.windows for p in found)
    if windows:
        disturbed = sum(len(p.stolen & {w.index for w in p.block.only(p.run.arm)}) for p in found)
        figures["disturbed_windows_share"] = disturbed / windows
    return figures


def _gates(store: Store) -> dict[str, dict[str, int]]:
    """How often each gate passed and failed."""
    tally: dict[str, dict[str, int]] = {}
    walked = (f for _, walk in store.turns() for f in walk.findings)
    for finding in chain((f for run in store.runs() for f in run.findings), walked):
        counts = tally.setdefault(finding.gate, {"passed": 0, "failed": 0})
        counts["passed" if finding.passed else "failed"] += 1
    return tally
