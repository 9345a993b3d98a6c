"""A picture with a key of its arms below, for where no page stands around it."""

from __future__ import annotations

from dataclasses import replace

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lab.report import looks
from lab.report.drawing import Drawing
from lab.summary import Summary

ROOM = 0.3  # inches


def keyed(picture: Drawing, summary: Summary) -> Drawing:
    """The same, as a notebook shows and saves it, with colour, line and marker of every arm named."""

    def paint(figure: Figure) -> None:
        if picture.paint:
            picture.paint(figure)
        lines = [
            Line2D([], [], color=look.colour, linestyle=look.line, marker=look.marker, markersize=4.5, label=arm)
            for arm, look in looks.looks(summary).items()
        ]
        figure.legend(handles=lines, loc="outside lower center", ncols=3, fontsize=8, frameon=False)

    rows = -(-len(looks.order(summary)) // 3)
    return replace(picture, inches=(picture.inches[0], picture.inches[1] + ROOM * rows), paint=paint)
