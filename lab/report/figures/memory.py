"""What each arm's datapath holds in memory, by every way of counting it."""

from __future__ import annotations

import re
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
    chart = Chart(
        f"{group[0].scenario}, {_under(summary, group[0])}", "held by the datapath (MiB)", bars, stacked=False
    )
    return draw(name, f"Memory held by each datapath: {words}", chart)


def _under(summary: Summary, one: Memory) -> str:
    """The load in words: its rate, or how many connections were held."""
    rate = next((c.rate_per_s for c in summary.costs if (c.scenario, c.load) == (one.scenario, one.load)), None)
    held = re.fullmatch(r"hold-c(\d+)", one.load)
    if rate is None and held:
        return f"{int(held[1]):,} connection{'s' * (held[1] != '1')} held"
    return one.load if rate is None else units.rate(rate)


def _sizes(one: Memory) -> dict[str, float]:
    held = {words: getattr(one, field) / 2**20 for field, words in KINDS.items()}
    return {words: size for words, size in held.items() if isfinite(size) and size > 0}
