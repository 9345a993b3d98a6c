"""Tables and figures: the only home of pandas, matplotlib and HTML. What is heavy is loaded when it is called for.

For notebooks: `run = report.open("results/RUN")`, then `report.latencies(run)` and the other frames of
`lab.report.frames`, all with documented columns and units.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.record import Verdict

if TYPE_CHECKING:
    from lab.report.frames import (
        accounting,
        blocks,
        capacity,
        coefficients,
        columns,
        concerns,
        connections,
        contrasts,
        costs,
        events,
        findings,
        fleet,
        fleet_latency,
        fleet_parts,
        holdout,
        host,
        imported,
        indices,
        latencies,
        memory,
        observations,
        open,
        open_forecast,
        published_footprints,
        readings,
        requests,
        rounds,
        runs,
        sizes,
        step_contrasts,
        steps,
        swings,
        windows,
    )
    from lab.store import Store
    from lab.summary import Summary

__all__ = [
    "accounting", "blocks", "build", "capacity", "coefficients", "columns", "concerns", "connections", "contrasts",
    "costs", "events", "findings", "fleet", "fleet_latency", "fleet_parts", "holdout", "host", "imported", "indices",
    "latencies", "markdown", "memory", "observations", "open", "open_forecast", "published_footprints", "readings",
    "requests", "rounds", "runs", "sizes", "step_contrasts", "steps", "swings", "windows",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Frames, loaded with pandas when the first is asked for."""
    if name.startswith("_") or name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("lab.report.frames"), name)


def build(store: Store, verdicts: Sequence[Verdict]) -> Path:
    """Write `report/index.html` and `report/summary.md` of a run; the page's path. `Mistake` for a changed folder."""
    from lab.report import page  # noqa: PLC0415 - matplotlib takes a second to load

    return page.build(store, verdicts)


def markdown(summary: Summary, verdicts: Sequence[Verdict]) -> str:
    """Verdicts and the table of arms as Markdown, for terminals and CI."""
    from lab.report import text  # noqa: PLC0415 - as above

    return text.markdown(summary, verdicts)
