"""A summary on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from lab.record import Verdict, Word
from lab.report import foreign, glance, journeys, studies
from lab.report.table import Table
from lab.report.text import judged, unmeasured, verdict_table
from lab.summary import Summary

MOST_CONDITIONS = 3
LONGEST = 16  # words up to here are never broken over two lines
COLOURS = {
    Word.HOLDS: "green",
    Word.HOLDS_IF: "green",
    Word.DOES_NOT_HOLD: "red",
    Word.UNDECIDED: "yellow",
    Word.NOT_MEASURABLE: "yellow",
}


def show(summary: Summary, verdicts: Sequence[Verdict], screen: Console | None = None) -> None:
    """Print verdicts, the table of arms and the warnings of one run."""
    out = screen or Console()
    out.print(f"[bold]{escape(summary.run)}[/]  {escape(summary.profile)}, {escape(summary.origin)}", highlight=False)
    if judged(verdicts):
        out.print(_verdicts(judged(verdicts)))
    if unmeasured(verdicts):
        out.print(f"Not measured in this run: {escape(unmeasured(verdicts))}.\n", highlight=False)
    if summary.latencies or summary.costs or summary.sockets:
        table = glance.table(summary)
        out.print(grid(table))
        out.print(f"[dim]{escape(table.hint)}.[/]\n", highlight=False)
    if summary.coefficients:
        out.print(grid(studies.coefficients(summary)))
    if summary.foretold:
        out.print(grid(studies.foretold_briefly(summary)))
        out.print(f"[dim]{escape(studies.score(summary.foretold))}.[/]\n", highlight=False)
    if summary.walk_counts:
        for table in journeys.briefly(summary):
            out.print(grid(table))
        out.print(f"[dim]A {escape(journeys.APART)}.[/]\n", highlight=False)
    if summary.imported:
        out.print(grid(foreign.imported(summary)))
        out.print(f"[dim]{escape(foreign.APART)}[/]\n", highlight=False)
    for concern in summary.concerns:
        words = f"{concern.severity}, {concern.rule} of {concern.sample}: {concern.because}"
        out.print(f"[yellow]![/] {escape(words)}", highlight=False)
    for warning in summary.warnings:
        out.print(f"[yellow]![/] {escape(warning)}", highlight=False)


def grid(table: Table, title: str | None = None) -> Grid:
    """A table for a terminal: text left, numbers right, nothing taken for markup."""
    made = Grid(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title=title, title_justify="left")
    for number, name in enumerate(table.columns):
        cells = [name, *(row[number] for row in table.rows)]
        longest = max((len(w) for cell in cells for w in cell.split() if len(w) <= LONGEST), default=1)
        made.add_column(
            escape(name), justify="right" if table.numeric(number) else "left", overflow="fold", min_width=longest
        )
    for row in table.rows:
        made.add_row(*map(escape, row))
    return made


def _verdicts(verdicts: Sequence[Verdict]) -> Grid:
    table = verdict_table(verdicts)
    made = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in table.columns:
        made.add_column(name, no_wrap=name in ("claim", "verdict"))
    for verdict, (claim, word, because, _) in zip(verdicts, table.rows, strict=True):
        more = len(verdict.conditions) - MOST_CONDITIONS
        lines = [*verdict.conditions[:MOST_CONDITIONS], *([f"and {more} more, in the report"] if more > 0 else [])]
        conditions = "\n".join(f"· {line}" for line in lines)
        made.add_row(escape(claim), f"[{COLOURS[verdict.word]}]{escape(word)}[/]", escape(because), escape(conditions))
    return made
