"""A matplotlib figure becomes SVG that can stand in a page: no ids that clash, colours that follow the page's theme."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from lab.record import Mistake
from lab.report import units
from lab.report.looks import DARK, GRID, INK, MUTED

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: smaller, selectable, read aloud
    "svg.hashsalt": "mesh-lab",  # the same input draws the same bytes
    "text.parse_math": False,  # names are names, whatever signs are in them
    "path.simplify": True,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "hatch.color": INK,
    "hatch.linewidth": 0.5,
}

STEPS = ((300, (1.0,)), (30, (1.0, 3.0)), (8, (1.0, 2.0, 5.0)), (0, (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
"""Labels within a decade, for an axis that spans more than that ratio."""


DPI, SCREEN = 220, 120  # dots an inch: of a saved picture, and of the screen that a notebook is read on
MARGIN = 0.1  # inches around a picture that stands alone


@dataclass(frozen=True)
class Drawing:
    """One picture, ready for the page. `svg` is safe to embed: every word in it was escaped when it was written."""

    name: str
    label: str  # what it shows, in words, for those who cannot see it
    svg: str
    inches: tuple[float, float] = field(default=(0.0, 0.0), repr=False)
    paint: Callable[[Figure], object] | None = field(default=None, repr=False, compare=False)

    def save(self, file: Path | str, dpi: int = DPI) -> None:
        """The picture on white for a slide or a paper: PNG, PDF or SVG, as the file's name ends."""
        Path(file).write_bytes(self._raw(Path(file).suffix[1:] or "png", dpi))

    def _repr_png_(self) -> tuple[bytes, dict[str, object]]:
        """What a notebook shows: fine enough for a large screen, at the size it was drawn for."""
        size = {"width": round(self.inches[0] * SCREEN), "height": round(self.inches[1] * SCREEN)}
        return self._raw("png", DPI), {**size, "alt": self.label}

    def _raw(self, kind: str, dpi: int) -> bytes:
        if self.paint is None:
            raise Mistake(f"the picture {self.name!r} was not made by `draw`; draw it again")
        kept = io.BytesIO()
        with mpl.rc_context({**STYLE, "svg.fonttype": "path"}):
            layout = ConstrainedLayoutEngine(w_pad=MARGIN, h_pad=MARGIN)
            figure = Figure(figsize=self.inches, layout=layout, facecolor="white")
            self.paint(figure)
            figure.savefig(kept, format=kind, dpi=dpi)
        return kept.getvalue()


def draw(name: str, label: str, inches: tuple[float, float], paint: Callable[[Figure], object]) -> Drawing:
    """Paint a figure of that many inches (width, height) and make it fit for a page."""
    return Drawing(name, label, _embed(_plain(inches, paint), name, label), inches, paint)


def alone(label: str, inches: tuple[float, float], paint: Callable[[Figure], object]) -> str:
    """The same as a file of its own, on a light card, for a README."""
    text = _plain(inches, paint)
    text = re.sub(r"<metadata>.*?</metadata>\s*|<!--.*?-->\s*", "", text, flags=re.S)
    card = '<rect width="100%" height="100%" rx="4" fill="#ffffff"/>'
    return re.sub(
        r"(<svg [^>]*>)", lambda m: f'{m[1][:-1]} role="img" aria-label="{escape(label)}">\n {card}', text, count=1
    )


def _plain(inches: tuple[float, float], paint: Callable[[Figure], object]) -> str:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=inches, layout="constrained")
        figure.patch.set_alpha(0.0)
        FigureCanvasSVG(figure)
        paint(figure)
        for axes in figure.axes:
            axes.patch.set_alpha(0.0)
        kept = io.StringIO()
        figure.savefig(kept, format="svg", metadata={"Date": None, "Creator": None})
    return kept.getvalue()


def _embed(text: str, name: str, label: str) -> str:
    """Only the `svg` element, with ids of its own, no links, theme colours and a description."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<(metadata|style)\b.*?</\1>\s*", "", text, flags=re.S)
    text = re.sub(r"<defs>\s*</defs>\s*", "", text)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.S)
    text = _own_ids(text.replace("xlink:href", "href"), name)
    text = re.sub(r"(?<=: )#[0-9a-f]{6}\b", lambda m: _themed(m[0]), text)
    text = re.sub(r"font-family: [^;\"]*; ", "", text)  # the page's own
    box = re.search(r'viewBox="[^"]*"', text)
    head = f'<svg {box[0] if box else ""} role="img" aria-label="{escape(label)}">'
    text = re.sub(r"<svg [^>]*>", lambda _: head, text, count=1)
    return _small(text)


def _small(text: str) -> str:
    """A hundredth of a point is fine enough; the style of a row of equal markers is written once."""
    text = re.sub(r"\n\s*", "\n", text).strip()
    text = re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda m: re.sub(r"(\d\.\d{2})\d+", r"\1", m[0]), text)
    row = re.compile(r'(?:<use href="[^"]*" x="[^"]*" y="[^"]*" style="([^"]*)"/>\n)(?:<use [^>]*style="\1"/>\n)+')
    return row.sub(lambda m: f'<g style="{m[1]}">\n' + m[0].replace(f' style="{m[1]}"', "") + "</g>\n", text)


def _own_ids(text: str, name: str) -> str:
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", text)
    return re.sub(r'(href="#|url\(#)([^")]+)', lambda m: f"{m[1]}{name}-{m[2]}", text)


def _themed(colour: str) -> str:
    return f"var(--c{colour[1:]})" if colour in DARK else colour


def time_axis(axes: Axes, which: str, label: str) -> None:
    """A logarithmic axis of seconds, labelled in µs, ms, s."""
    _log_axis(axes, which, label, units.tick)


def rate_axis(axes: Axes, which: str, label: str) -> None:
    """A logarithmic axis of requests per second."""
    _log_axis(axes, which, label, lambda v: units.count(round(v, 6)))


def ratio_axis(axes: Axes, which: str, label: str) -> None:
    """A logarithmic axis of ratios: twice and half are as far from one."""
    _log_axis(axes, which, label, lambda v: f"{v:g}×")


def amount_axis(axes: Axes, which: str, label: str, words: Callable[[float], str]) -> None:
    """A logarithmic axis of anything that `words` can name."""
    _log_axis(axes, which, label, words)


def _log_axis(axes: Axes, which: str, label: str, words: Callable[[float], str]) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    (axes.set_xlabel if which == "x" else axes.set_ylabel)(label)
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    spread = high / low if low > 0 else 10.0
    steps = next(s for least, s in STEPS if spread > least)
    if spread < 2.5:  # no place for decades: count evenly
        axis.set_major_locator(mpl.ticker.MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    else:
        axis.set_major_locator(LogLocator(base=10, subs=steps, numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda v, _: words(v)))
    axis.set_minor_formatter(NullFormatter())
