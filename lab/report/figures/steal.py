"""What the hypervisor took while a trial was measured: noise that no arm is to blame for."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from lab.report import drawing
from lab.report.looks import INK, MUTED, PALETTE


def panel(host: pd.DataFrame, limit: float) -> drawing.Drawing:
    """Every trial in one line, from `lab.report.frames.host`; `limit` is the share from which windows are labelled."""
    over = (host.steal_share > limit).mean()
    worst = host.steal_share.max()
    words = f"Steal, second by second: above {limit:.0%} in {over:.0%} of the seconds, at worst {worst:.0%}"
    return drawing.draw("steal", words, (6.4, 2.4), lambda figure: _paint(figure, host, limit, over))


def _paint(figure: Figure, host: pd.DataFrame, limit: float, over: float) -> None:
    axes = figure.subplots()
    axes.bar(range(len(host)), host.steal_share * 100, width=1.0, color=PALETTE[2])
    for edge in range(1, len(host)):
        if host.trial.iloc[edge] != host.trial.iloc[edge - 1]:
            axes.axvline(edge - 0.5, color=MUTED, linewidth=0.7, linestyle=(0, (3, 2)))
    axes.axhline(limit * 100, color=INK, linewidth=1.1)
    axes.annotate(f"limit {limit:.0%}", (1, limit * 100), (4, 0), xycoords=("axes fraction", "data"),
                  textcoords="offset points", va="center", fontsize=8)  # fmt: skip
    axes.set_xlim(-0.5, len(host) - 0.5)
    axes.set_xlabel("seconds of measuring, trial after trial (dashed: redeployed)")
    axes.set_ylabel("steal (% of all cores)")
    axes.set_title(f"The hypervisor took more than {limit:.0%} in {over:.0%} of the seconds")
