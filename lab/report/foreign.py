"""What other load generators told, as tables of their own: nothing imported is set beside what was measured."""

from __future__ import annotations

from collections.abc import Iterable

from lab.foreign import ORIGIN, Imported
from lab.report import units
from lab.report.table import Table
from lab.summary import Summary

APART = (
    "Imported: another tool's numbers as its files tell them. Nobody here saw the requests, no gate and no proof is "
    "behind them, and they judge no claim."
)
COLUMNS = ("repetition", "arm", "tool", "loop", "times from", "asked /s", "achieved /s", "connections", "requests",
           "errors", "mean ms", "p50 ms", "p99 ms", "most ms")  # fmt: skip
HINTS = (
    ("times from", "what they are counted from"),
    ("–", "the file does not tell it"),
)


def imported(summary: Summary) -> Table:
    """Every imported repetition."""
    rows = tuple(_row(one) for one in summary.imported)
    return Table("imported", COLUMNS, rows, 5, HINTS)


def beside(found: Iterable[tuple[str, Imported]]) -> Table:
    """Imported repetitions of several runs, each with its run."""
    rows = tuple((run, *_row(one)) for run, one in found)
    return Table("imported", ("run", *COLUMNS), rows, 6, HINTS)


def concerns(summary: Summary) -> Table:
    """What the audit found."""
    rows = tuple(
        (str(c.severity), c.rule, c.sample, c.because, "; ".join(c.evidence), c.source) for c in summary.concerns
    )
    return Table("concerns", ("severity", "rule", "of", "because", "evidence", "source"), rows, 6)


def files(summary: Summary) -> Table:
    """The files that it was read from, kept byte for byte."""
    rows = tuple(
        (one.original.name, name, sha, units.size(size))
        for one in summary.imported
        for name, sha, size in one.original.files
    )
    return Table("originals", ("repetition", "file", "SHA-256", "size"), rows, 3)


def markdown(summary: Summary) -> str:
    """Section of the run's Markdown."""
    parts = ("## Imported", APART, imported(summary).markdown())
    found = concerns(summary)
    return "\n\n".join((*parts, "## Audit", found.markdown() if found.rows else "No rule had anything to say."))


def _row(one: Imported) -> tuple[str, ...]:
    told, original = one.told, one.original
    asked = told.asked_per_s if told.asked_per_s is not None else original.stated_per_s
    tool = f"{told.tool} {told.version}".strip()
    return (
        original.name,
        f"{original.arm} ({ORIGIN})",
        tool,
        str(told.loop),
        str(told.since),
        units.number(asked),
        units.number(told.achieved_per_s),
        units.count(told.connections),
        units.count(told.requests),
        units.count(told.errors),
        units.ms(told.mean_s),
        units.ms(told.quantile(0.5)),
        units.ms(told.quantile(0.99)),
        units.ms(told.most_s),
    )
