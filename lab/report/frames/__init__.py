"""Results as pandas frames, for notebooks: `run = open("results/RUN")`, then `latencies(run)` and all the others.

What a frame's columns mean, and their units, stands in the docstring of what returns it; `columns(latencies)` gives it
as a frame. Names say units: `_s` seconds, `_ns` nanoseconds, `_bytes` bytes, `_per_s` 1/s, `_share` a part of one.
"""

from __future__ import annotations

from pathlib import Path

from lab import codec
from lab.record import Mistake
from lab.report.frames.arms import accounting, capacity, connections, contrasts, costs, latencies, memory, rounds
from lab.report.frames.forecasts import fleet, fleet_latency, fleet_parts, indices, published_footprints, swings
from lab.report.frames.foreign import concerns, imported
from lab.report.frames.journeys import events, step_contrasts, steps
from lab.report.frames.listed import runs
from lab.report.frames.naming import columns, documented
from lab.report.frames.raw import requests
from lab.report.frames.studies import coefficients, holdout, observations, sizes
from lab.report.frames.validity import blocks, findings, host, readings, windows
from lab.report.stored import verified
from lab.sim.answer import Answer
from lab.store import Store

OF_RUNS = (latencies, contrasts, rounds, capacity, costs, memory, connections, accounting, blocks, windows, findings,
           readings, host, observations, coefficients, sizes, holdout, steps, step_contrasts, imported,
           concerns)  # fmt: skip
OF_FORECASTS = (fleet, fleet_parts, fleet_latency, published_footprints, swings, indices)
ROOT = Path(__file__).resolve().parents[3]

__all__ = [
    "OF_FORECASTS", "OF_RUNS", "accounting", "blocks", "capacity", "coefficients", "columns", "concerns", "connections",
    "contrasts", "costs", "documented", "events", "findings", "fleet", "fleet_latency", "fleet_parts",
    "holdout", "host", "imported", "indices", "latencies", "memory", "observations", "open", "open_forecast",
    "published_footprints", "readings", "requests", "rounds", "runs", "sizes", "step_contrasts", "steps", "swings",
    "windows",
]  # fmt: skip


def open(folder: Path | str) -> Store:
    """A stored run, to read it. A relative path is looked for from here, then from the project's own folder."""
    return Store.open(_there(folder))


def open_forecast(folder: Path | str) -> Answer:
    """The answer of a stored forecast; found as `open` finds a run."""
    place = _there(folder)
    try:
        return codec.load(Answer, codec.parse(verified(place)["answer.json"]))
    except (OSError, KeyError):
        raise Mistake(f"{place} holds no forecast; make one with: mesh-lab simulate fleet_15k") from None


def _there(folder: Path | str) -> Path:
    here = Path(folder)
    return here if here.is_dir() else ROOT / here
