"""CPU time per request, by part, with the time inside BPF programs."""

from __future__ import annotations

from math import isfinite

from lab.report import drawing, looks, units
from lab.report.figures.bars import Bars, Chart, draw
from lab.summary import Cost, Summary

PARTS = ("app", "datapath", "load", "instrument", "kernel")
BPF = "in BPF"


def panels(summary: Summary) -> list[drawing.Drawing]:
    """One drawing a load, one bar an arm, stacked by part; a line below marks the time in BPF."""
    loads: dict[tuple[str, str], list[Cost]] = {}
    for one in summary.costs:
        loads.setdefault((one.scenario, one.load), []).append(one)
    groups = sorted(loads.values(), key=lambda g: (g[0].scenario, g[0].rate_per_s))
    return [_panel(f"cost{number}", summary, group) for number, group in enumerate(groups)]


def by_part(cost: Cost) -> dict[str, float]:
    """Seconds a request by part, user and system of a part together; `bpf` and `total` are not parts."""
    kept: dict[str, float] = {}
    for key, estimate in cost.per_request_s.items():
        part = key.partition(".")[0]
        if part not in ("bpf", "total") and isfinite(estimate.value):
            kept[part] = kept.get(part, 0.0) + estimate.value
    return {p: kept[p] for p in sorted(kept, key=place)}


def _panel(name: str, summary: Summary, group: list[Cost]) -> drawing.Drawing:
    arms = looks.order(summary)
    bars = [_bars(c) for c in sorted(group, key=lambda c: arms.index(c.arm))]
    words = units.rate(group[0].rate_per_s)
    label = f"CPU time per request at {words}: " + "; ".join(f"{b.name} {b.words}" for b in bars)
    return draw(name, label, Chart(f"{group[0].scenario}, {words}", "CPU time per request (µs)", bars, BPF, share=True))


def _bars(cost: Cost) -> Bars:
    bpf = cost.per_request_s.get("bpf")
    mark = bpf.value * 1e6 if bpf and isfinite(bpf.value) and bpf.value > 0 else None
    sizes = {part: max(seconds, 0.0) * 1e6 for part, seconds in by_part(cost).items()}
    total = cost.per_request_s.get("total")
    return Bars(cost.arm, sizes, f"{units.us(total.value)} µs" if total else "", mark)


def place(part: str) -> int:
    """Where a part stands in every stack and table."""
    return PARTS.index(part) if part in PARTS else len(PARTS)
