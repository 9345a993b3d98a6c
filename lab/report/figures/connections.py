"""TCP connections that one connection of the application becomes: counted against the arm's formula."""

from __future__ import annotations

from lab.report import drawing, looks, units
from lab.report.figures.bars import Bars, Chart, draw
from lab.summary import Sockets, Summary


def panels(summary: Summary) -> list[drawing.Drawing]:
    """One drawing a number of connections; a tick marks the formula."""
    loads: dict[tuple[str, int], list[Sockets]] = {}
    for one in summary.sockets:
        loads.setdefault((one.scenario, one.connections), []).append(one)
    groups = sorted(loads.items())
    return [_panel(f"sockets{number}", summary, group) for number, (_, group) in enumerate(groups)]


def _panel(name: str, summary: Summary, group: list[Sockets]) -> drawing.Drawing:
    place = {a: i for i, a in enumerate(looks.order(summary))}
    arms = sorted(group, key=lambda s: place[s.arm])
    bars = [Bars(s.arm, {"observed": s.observed_per_connection}, _words(s), s.expected_per_connection) for s in arms]
    opened = units.count(group[0].connections)
    title = f"{group[0].scenario}, {opened} app connection{'' if group[0].connections == 1 else 's'}"
    label = "TCP connections on the path of each connection of the application: " + "; ".join(
        f"{s.arm} {units.count(s.observed_per_connection)}, formula {s.expected_per_connection}" for s in arms
    )
    return draw(name, label, Chart(title, "TCP connections per app connection", bars, "the arm's formula", whole=True))


def _words(one: Sockets) -> str:
    return f"{units.count(one.observed_per_connection)}, {units.size(one.memory_bytes_per_connection)}"
