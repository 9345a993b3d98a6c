"""What gates said: blocks that passed, and blocks that were labelled or left out."""

from __future__ import annotations

from lab.report import drawing
from lab.report.figures.bars import Bars, Chart, draw
from lab.report.looks import PALETTE, TWIN
from lab.summary import Summary


def panel(summary: Summary) -> drawing.Drawing:
    """One bar a gate, those that failed most at the top."""
    found = sorted(summary.gates.items(), key=lambda item: (-item[1].get("failed", 0), item[0]))
    bars = [
        Bars(gate, {"passed": n.get("passed", 0), "failed": n.get("failed", 0)}, f"{n.get('failed', 0)} failed")
        for gate, n in found
    ]
    words = "; ".join(f"{b.name} {b.words}" for b in bars)
    chart = Chart("What gates said", "blocks of windows, of all arms", bars, whole=True, colours=(TWIN, PALETTE[2]))
    return draw("gates", f"Blocks by gate: {words}", chart)
