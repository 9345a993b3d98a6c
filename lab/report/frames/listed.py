"""What there is to open, as a frame."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lab.compile import ROOT
from lab.report.frames.naming import framed
from lab.report.published import Published, published
from lab.report.published import runs as only_runs

LOOPS = {True: "closed", False: "open"}


def runs(results: Path = ROOT / "results") -> pd.DataFrame:
    """One row a finished run below `results`, the oldest first.

    Columns:
        folder: what `open` takes
        created: when it began, UTC
        asked: its scenarios, studies and journeys, comma-separated
        origin: measured, or imported from another tool's file
        loop: `closed` where users walked it, else `open`
        machine: cores, processor, kernel, kind of cluster
        command: what made it
    """
    return framed(runs, (_row(one) for one in only_runs(published(results))))


def _row(one: Published) -> dict[str, str]:
    return {
        "folder": str(one.folder),
        "created": one.created,
        "asked": ", ".join(name for name, _ in one.asked),
        "origin": one.origin,
        "loop": LOOPS[one.closed],
        "machine": one.machine.words if one.machine else "",
        "command": one.command,
    }
