"""Tables of what a result stands on: the accounting proof, the gates, the referee clock, the machine meanwhile."""

from __future__ import annotations

from lab.report import looks, units
from lab.report.table import Table
from lab.report.tables import in_order
from lab.summary import Summary


def accounting(summary: Summary) -> Table:
    """The accounting proof."""
    rows = tuple(
        (
            a.scenario,
            a.arm,
            a.observer,
            "proven" if a.sent == a.seen and not a.not_understood else "NOT PROVEN",
            f"{a.sent:,}",
            f"{a.seen:,}",
            f"{a.seen - a.sent:+,}" if a.seen != a.sent else "0",
            f"{a.not_understood:,}",
        )
        for a in in_order(summary, summary.accounting)
    )
    columns = ("scenario", "arm", "observer", "proof", "requests sent", "requests seen", "difference", "not understood")
    return Table("accounting", columns, rows, 4)


def gates(summary: Summary) -> Table:
    """How often each gate passed and failed."""
    rows = tuple(
        (gate, units.count(tally.get("passed", 0)), units.count(tally.get("failed", 0)))
        for gate, tally in sorted(summary.gates.items())
    )
    return Table("gates", ("gate", "passed", "failed"), rows)


def referee(summary: Summary) -> Table:
    """The engine's clock against the kernel's."""
    place = {arm: number for number, arm in enumerate(looks.order(summary))}
    found = [(*_placed(key), value) for key, value in summary.referee.items()]
    found.sort(key=lambda f: (f[1], place.get(f[0], len(place)), f[2]))
    rows = tuple((arm, units.rate(rate), *_named(metric, value)) for arm, rate, metric, value in found)
    return Table("referee", ("arm", "load", "reading", "value"), rows, 3)


def _placed(key: str) -> tuple[str, float, str]:
    """`arm.rate.metric` in its three parts."""
    place, _, metric = key.rpartition(".")
    arm, _, rate = place.partition(".")
    try:
        return arm, float(rate), metric
    except ValueError:
        return place, float("nan"), metric


def host(summary: Summary) -> Table:
    """What the machine did meanwhile."""
    return Table("host", ("reading", "value"), tuple(_named(k, v) for k, v in sorted(summary.host.items())))


def _named(key: str, value: float) -> tuple[str, str]:
    """A reading whose name carries its unit, as a person writes it."""
    stem, _, last = key.rpartition("_")
    if last == "s":
        return stem.replace("_", " "), units.time(value)
    if last == "bytes":
        return stem.replace("_", " "), units.size(value)
    if last == "share":
        return key.replace("_", " "), units.percent(value, 2)
    return key.replace("_", " "), units.number(value)
