"""Whose turn it was, and when: the order in which arms were measured."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from lab.record import Mistake
from lab.report import drawing
from lab.report.looks import BASE, HATCHES, INK, MUTED, PALETTE, TWIN

WIDTH, ROW, EDGES = 6.4, 0.34, 0.95
GREYS = {"none": BASE, "none_again": TWIN}


def panel(windows: pd.DataFrame, block: str, rounds: int = 6) -> drawing.Drawing:
    """The first rounds of a block in its first trial, from `lab.report.frames.windows`; a line ends each round."""
    seen = windows[windows.block == block]
    if seen.empty:
        raise Mistake(f"no block {block!r}; there are {', '.join(windows.block.unique())}")
    first = seen[seen.trial == seen.trial.iloc[0]]
    shown = first[first["round"].isin(sorted(first["round"].unique())[:rounds])]
    arms = list(dict.fromkeys([*(a for a in GREYS if a in set(shown.arm)), *sorted(shown.arm.unique())]))
    words = f"Turns of {', '.join(arms)} in the first {shown['round'].nunique()} rounds of {block}, in random order"
    return drawing.draw("turns", words, (WIDTH, EDGES + ROW * len(arms)), lambda f: _paint(f, shown, arms, block))


def _paint(figure: Figure, shown: pd.DataFrame, arms: list[str], block: str) -> None:
    axes = figure.subplots()
    for place, arm in enumerate(arms):
        mine = shown[shown.arm == arm]
        number = place - sum(a in GREYS for a in arms)
        axes.broken_barh(
            list(zip(mine.start_s, mine.duration_s, strict=True)),
            (place - 0.36, 0.72),
            facecolor=GREYS.get(arm, PALETTE[number % len(PALETTE)]),
            hatch="" if arm in GREYS else HATCHES[(number + 1) % len(HATCHES)],
            edgecolor=INK,
            linewidth=0.4,
        )
    for edge in shown.groupby("round").start_s.min().iloc[1:]:
        axes.axvline(edge - 0.01, color=MUTED, linewidth=0.8, linestyle=(0, (3, 2)))
    axes.set_yticks(range(len(arms)), arms)
    axes.set_ylim(len(arms) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False)
    axes.set_xlabel("time since the block began (s)")
    axes.set_title(f"{block}: whose turn it was")
