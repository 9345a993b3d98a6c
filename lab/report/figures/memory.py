"""What each arm's datapath holds in memory, by every way of counting it."""

from __future__ import annotations

from math import isfinite

from lab.report import drawing, looks, units
from lab.report.figures.bars import Bars, Chart, draw
from lab.summary import Memory, Summary

PART = "datapath"
KINDS = {
    "private_bytes": "private",
    "pss_bytes": "PSS",
    "rss_bytes": "RSS",
    "bpf_bytes": "BPF",
}


def panels(summary: Summary) -> list[drawing.Drawing]:
    """One drawing a load, a group of bars an arm; arms whose datapath holds nothing have none."""
    loads: dict[tuple[str, str], list[Memory]] = {}
    for one in summary.memories:
        if one.part == PART and _sizes(one):
            loads.setdefault((one.scenario, one.load), []).append(one)
    return [_panel(f"memory{number}", summary, group) for number, group in enumerate(loads.values())]


def _panel(name: str, summary: Summary, group: list[Memory]) -> drawing.Drawing:
    place = {a: i for i, a in enumerate(looks.order(summary))}
    bars = [Bars(m.arm, _sizes(m), "") for m in sorted(group, key=lambda m: place[m.arm])]
    words = "; ".join(f"{m.arm} PSS {units.size(m.pss_bytes)}, BPF {units.size(m.bpf_bytes)}" for m in group)
    chart = Chart(f"{group[0].scenario}, {group[0].load}", "held by the datapath (MiB)", bars, stacked=False)
    return draw(name, f"Memory held by each datapath: {words}", chart)


def _sizes(one: Memory) -> dict[str, float]:
    held = {words: getattr(one, field) / 2**20 for field, words in KINDS.items()}
    return {words: size for words, size in held.items() if isfinite(size) and size > 0}
