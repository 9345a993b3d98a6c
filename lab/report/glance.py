"""The lab's answer at a glance: one row an arm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from lab.report import looks, units
from lab.report.table import Table
from lab.summary import Capacity, Cost, Latency, Summary

Item = TypeVar("Item", Latency, Cost)


def table(summary: Summary) -> Table:
    """Latency and CPU at the highest load that every arm carries, knee, connections, memory of the datapath."""
    shared, paid = shared_load(summary), _shared_cost(summary)
    offered = looks.offered(summary)  # what users met in a closed loop is not ranked here
    rows = [_row(summary, arm, shared, paid) for arm in looks.order(summary) if arm in offered]
    columns = ("arm", "p50 ms", "p99 ms", "CPU µs", "keeps /s", "connections", "PSS MiB", "BPF MiB")
    hints = (
        (
            "p50, p99",
            f"response time from schedule, at {units.rate(shared.rate_per_s) if shared else 'no common load'}",
        ),
        ("CPU", f"per request, all parts together, at {units.rate(paid.rate_per_s) if paid else 'no common load'}"),
        ("keeps", "highest rate of the ladder that it kept; ≥ where the ladder ended first"),
        ("connections", "TCP connections on the path for each connection of the application"),
        ("PSS, BPF", "memory of the datapath's processes, and of its maps and programs"),
    )
    return Table("glance", columns, tuple(rows), 1, hints)


def shared_load(summary: Summary) -> Latency | None:
    """The load without service time of the highest rate that every arm carries; None where there is none."""
    arms = {x.arm for x in summary.latencies}
    loads: dict[tuple[str, str], list[Latency]] = {}
    for one in summary.latencies:
        if not one.service_time_s and one.windows > 0 and not saturated(summary, one.scenario, one.arm, one.rate_per_s):
            loads.setdefault((one.scenario, one.load), []).append(one)
    common = [group[0] for group in loads.values() if {x.arm for x in group} == arms]
    return max(common, key=lambda x: x.rate_per_s, default=None)


def saturated(summary: Summary, scenario: str, arm: str, rate_per_s: float) -> bool:
    """Is that rate at or above the lowest that the arm could not keep?"""
    knees = [c.saturated_per_s for c in summary.capacities if c.arm == arm and c.scenario == scenario]
    return any(k is not None and rate_per_s >= k for k in knees)


def _shared_cost(summary: Summary) -> Cost | None:
    """The highest load whose cost was measured for every arm below its knee; the scenario of the latencies first."""
    arms = {c.arm for c in summary.costs}
    groups: dict[tuple[str, str], list[Cost]] = {}
    for one in summary.costs:
        if not saturated(summary, one.scenario, one.arm, one.rate_per_s):
            groups.setdefault((one.scenario, one.load), []).append(one)
    common = [g[0] for g in groups.values() if {c.arm for c in g} == arms]
    return max(
        common, key=lambda c: (any(x.scenario == c.scenario for x in summary.latencies), c.rate_per_s), default=None
    )


def _row(summary: Summary, arm: str, shared: Latency | None, paid: Cost | None) -> tuple[str, ...]:
    seen = _find(summary.latencies, arm, shared)
    spent = _find(summary.costs, arm, paid)
    total = spent.per_request_s.get("total") if spent else None
    climbed = next((c for c in summary.capacities if c.arm == arm), None)
    held = max((s for s in summary.sockets if s.arm == arm), key=lambda s: s.connections, default=None)
    return (
        arm,
        units.ms(seen.response_p50_s if seen else None),
        units.ms(seen.response_p99_s if seen else None),
        units.us(total.value if total else None),
        _knee(climbed),
        units.count(held.observed_per_connection if held else None),
        *_memory(summary, arm),
    )


def _find(items: Sequence[Item], arm: str, like: Item | None) -> Item | None:
    return next((x for x in items if like and (x.scenario, x.load, x.arm) == (like.scenario, like.load, arm)), None)


def _knee(climbed: Capacity | None) -> str:
    """The highest rate kept; `≥` where the ladder ended before the arm did."""
    if climbed is None or not climbed.steps:
        return units.NOTHING
    if climbed.kept_per_s is None:
        return f"< {units.count(climbed.saturated_per_s)}"
    return f"{'≥ ' if climbed.saturated_per_s is None else ''}{units.count(climbed.kept_per_s)}"


def _memory(summary: Summary, arm: str) -> tuple[str, str]:
    """PSS and BPF bytes of the arm's datapath, from the first load they were read at."""
    held = next((m for m in summary.memories if m.arm == arm and m.part == "datapath"), None)
    if held is None:
        return units.NOTHING, units.NOTHING
    return units.mib(held.pss_bytes), units.mib(held.bpf_bytes)
