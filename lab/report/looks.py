"""Which arm looks how: one order, one colour, one line and one marker in every figure of a report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lab.summary import Summary

# Okabe & Ito, "Color Universal Design" (2008): told apart with every common colour blindness; line and marker tell them
# apart in black and white.
INK, MUTED, GRID, BAND = "#1b1f24", "#5b6470", "#d5dbe1", "#dfe4ea"
BASE, TWIN = "#4d5560", "#8a939e"
PALETTE = ("#0072b2", "#009e73", "#d55e00", "#cc79a7", "#e69f00", "#56b4e9")
DARK = {  # the same hues, lifted so that they read on a dark page
    INK: "#e6e9ed",
    MUTED: "#9aa4b0",
    GRID: "#333a43",
    BAND: "#353d48",
    BASE: "#c3cad2",
    TWIN: "#848e9a",
    "#0072b2": "#4ba3e3",
    "#009e73": "#2cc295",
    "#d55e00": "#f0803c",
    "#cc79a7": "#dc96bd",
    "#e69f00": "#eeb23c",
    "#56b4e9": "#7cc6ef",
}
LINES = ((0, ()), (0, (6, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (9, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P")
HATCHES = ("", "//", "--", "\\\\", "xx", "||")

Dashes = tuple[int, tuple[float, ...]]


@dataclass(frozen=True)
class Look:
    """How one arm is drawn. `line` is an offset and the lengths of dashes and gaps, in line widths."""

    colour: str
    line: Dashes
    marker: str


def order(summary: Summary) -> tuple[str, ...]:
    """Every arm of the summary: those with the baseline's datapath first, then the others as they come."""
    datapaths = dict(_arms(summary))
    bases = {c.base for c in summary.contrasts} | {c.base for c in summary.step_contrasts}
    plain = {datapaths.get(b) for b in bases} or {next(iter(datapaths.values()), None)}
    twins = [a for a in datapaths if datapaths[a] in plain]
    first = [a for a in twins if a in bases]
    return tuple(dict.fromkeys([*first, *twins, *datapaths]))


def offered(summary: Summary) -> frozenset[str]:
    """The arms that an open loop was offered to: not those that only users walked."""
    return frozenset(arm for arm, _ in _open(summary))


def looks(summary: Summary) -> dict[str, Look]:
    """A look for every arm, in order. The baseline and its twin are grey: they are what the others are held against."""
    datapaths = dict(_arms(summary))
    ordered = order(summary)
    plain = datapaths[ordered[0]] if ordered else ""
    grey = iter(_greys())
    coloured = iter(_colours())
    return {a: next(grey) if datapaths[a] == plain else next(coloured) for a in ordered}


def _greys() -> Iterator[Look]:
    yield Look(BASE, (0, ()), "o")
    while True:
        yield Look(TWIN, (0, (2, 2)), "x")


def _colours() -> Iterator[Look]:
    number = 0
    while True:
        which = number % len(PALETTE)
        yield Look(PALETTE[which], LINES[which], MARKERS[(which + 1) % len(MARKERS)])
        number += 1


def _arms(summary: Summary) -> Iterator[tuple[str, str]]:
    """Every arm and its datapath; those of closed loops last."""
    named = dict(_open(summary))
    for s in summary.steps:
        named.setdefault(s.arm, s.datapath)
    yield from named.items()


def _open(summary: Summary) -> Iterator[tuple[str, str]]:
    """Arms of scenarios; where no part of the summary names the datapath, the arm's name stands for it."""
    named: dict[str, str] = {}
    for x in summary.latencies:
        named.setdefault(x.arm, x.datapath)
    for c in summary.capacities:
        named.setdefault(c.arm, c.datapath)
    for s in summary.sockets:
        named.setdefault(s.arm, s.datapath)
    parts = (summary.contrasts, summary.costs, summary.memories, summary.accounting)
    for arm in (one.arm for part in parts for one in part):
        named.setdefault(arm, arm)
    yield from named.items()
