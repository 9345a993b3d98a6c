"""Readings of several nodes put together to what one meter would have said of all of them.

Readings of a process stand in one node's list only and stay as they are. What nodes say of the whole (busy time, the
kernel's remainder, the path's sockets) is added up, with care where nodes share a machine, as those of kind do: each of
them then sees the whole machine's time, and none the others' processes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from lab.record import Reading

Key = tuple[str, str, int, str, str, str, str]
ByNode = Mapping[str, float]

_OF_ONE_MACHINE = ("all",)  # subjects of part host that each node of a machine reads alike


def together(readings: Mapping[str, Iterable[Reading]], machines: Mapping[str, str]) -> tuple[Reading, ...]:
    """Readings by node, and which machine each node is on; the first node of a machine speaks for it."""
    found: dict[Key, dict[str, Reading]] = defaultdict(dict)
    for node, seen in readings.items():
        for reading in seen:
            found[_key(reading)][node] = reading
    firsts: dict[str, str] = {}
    for node, machine in machines.items():
        firsts.setdefault(machine, node)
    one = {key: _one(list(by.values()), _value(by, set(firsts.values()), found)) for key, by in found.items()}
    return tuple(_ratio(reading, one) for reading in one.values())


def _key(reading: Reading) -> Key:
    r = reading
    return r.meter, r.block, r.window, r.arm, r.part, r.subject, r.metric


def _one(seen: Sequence[Reading], value: float) -> Reading:
    return replace(seen[0], value=value)


def _value(by: Mapping[str, Reading], firsts: set[str], found: Mapping[Key, Mapping[str, Reading]]) -> float:
    values = {node: reading.value for node, reading in by.items()}
    first = next(iter(by.values()))
    if len(by) == 1 and first.part not in ("host", "kernel"):
        return first.value
    if first.meter == "cpu" and first.subject == "remainder":
        return _remainder(first, values, firsts, found)
    return _rule(first)([v for node, v in values.items() if node in firsts or first.subject not in _OF_ONE_MACHINE])


def _rule(reading: Reading) -> Callable[[Sequence[float]], float]:
    """Shares and spans of time do not add up: the worst of them is said."""
    return max if reading.metric in ("steal_share", "wall_s") else sum


def _remainder(reading: Reading, values: ByNode, firsts: set[str], found: Mapping[Key, Mapping[str, Reading]]) -> float:
    """Busy machines − all processes of the lab − its instruments. A node has its processes = busy − own − remainder."""

    def of(subject: str, metric: str, node: str) -> float:
        other = replace(reading, part="host", subject=subject, metric=metric)
        return found[_key(other)][node].value

    busy = sum(of("all", "busy_s", node) for node in values if node in firsts)
    used = sum(of("all", "busy_s", node) - remainder for node, remainder in values.items())  # own included
    return busy - used


def _ratio(reading: Reading, one: Mapping[Key, Reading]) -> Reading:
    """Connections for each of the application's: of all nodes together, by the sockets of the load."""
    if reading.metric != "connections_per_app_connection":
        return reading
    connections = one[_key(replace(reading, metric="connections"))].value
    of_app = sum(
        r.value
        for r in one.values()
        if (r.meter, r.block, r.window, r.arm, r.part, r.metric)
        == (reading.meter, reading.block, reading.window, reading.arm, "load", "sockets")
    )
    return replace(reading, value=connections / of_app if of_app else reading.value)
