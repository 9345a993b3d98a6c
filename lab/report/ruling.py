"""What a gate says, for a terminal and for a page of Markdown; both from one record."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape

from lab import codec
from lab.regression import Judgement, Ruling, Word
from lab.report import units
from lab.report.console import grid
from lab.report.table import Table, inert

COLOURS = {Word.PASSED: "green", Word.SLOWER: "red", Word.WORSE: "red"}
MARKS = {
    Word.PASSED: "✅",
    Word.SLOWER: "❌",
    Word.WORSE: "❌",
    Word.UNDECIDED: "❔",
    Word.REFUSED: "⚠️",
    Word.SHOWN: "",
}
HINTS = (
    ("ratio", "candidate / against, of the same rounds or each to none in its own run"),
    ("limit", "the whole interval must lie below it"),
    ("floor", "how far two equal arms seem to be apart here"),
    ("valid", "deployments that the gates let through"),
)


def show(ruling: Ruling, screen: Console | None = None) -> None:
    """Print it on a terminal."""
    out = screen or Console()
    word = f"[bold {COLOURS.get(ruling.word, 'yellow')}]{ruling.word}[/]"
    out.print(f"[bold]{escape(title(ruling))}[/]: {word}", highlight=False)
    made = table(ruling)
    out.print(grid(made))
    out.print(f"[dim]{escape(made.hint)}.[/]\n", highlight=False)
    for line in lines(ruling):
        out.print(escape(line), highlight=False, soft_wrap=True)


def markdown(ruling: Ruling) -> str:
    """As GitHub-flavoured Markdown, e.g. for a job's summary."""
    parts = [
        f"## {MARKS[ruling.word]} {inert(title(ruling))}: {ruling.word}",
        table(ruling).markdown(),
        *(f"- {inert(line)}" for line in lines(ruling)),
    ]
    if ruling.command:
        parts.append(f"```\n{ruling.command}\n```")
    return "\n\n".join(parts[:2]) + "\n\n" + "\n".join(parts[2:]) + "\n"


def example(data: object) -> str:
    """The table of a stored ruling (JSON data), for a document."""
    return table(codec.load(Ruling, data)).markdown()


def title(ruling: Ruling) -> str:
    """Which is held against which."""
    stored = f" of {ruling.baseline}" if ruling.baseline else ""
    return f"{ruling.candidate} against {ruling.against}{stored}, {ruling.scenario}"


def table(ruling: Ruling) -> Table:
    """One row a metric and load."""
    confidence = f"{ruling.confidence * 100:.4g} %"
    head = ("load", "metric", "verdict", "ratio", confidence, "limit", "floor", "valid", "+ms")
    return Table("ruling", head, tuple(map(_row, ruling.judgements)), 3, HINTS)


def _row(j: Judgement) -> tuple[str, ...]:
    return (
        j.load or units.NOTHING,
        j.metric,
        str(j.word),
        units.ratio(j.ratio.value) if j.ratio else units.NOTHING,
        units.interval(j.ratio) if j.ratio else units.NOTHING,
        limit(j),
        units.percent(j.floor),
        f"{j.deployments}/{j.deployments + j.void}" if j.deployments + j.void else units.NOTHING,
        units.difference_ms(j.difference_s.value) if j.difference_s else units.NOTHING,
    )


def limit(j: Judgement) -> str:
    """The threshold as a ratio; of the rate kept, the least."""
    if j.threshold is None:
        return units.NOTHING
    return f"≥ {1 - j.threshold:.4g}" if j.metric == "kept" else f"{1 + j.threshold:.4g}"


def lines(ruling: Ruling) -> Iterator[str]:
    """Why, metric by metric; what is not alike; where the raw data is; what to do."""
    for j in ruling.judgements:
        if j.word not in (Word.PASSED, Word.SHOWN):
            yield f"{' '.join(filter(None, (j.load, j.metric)))}: {j.word}: {j.because}"
    for words in ruling.unlike:
        yield f"not alike: {words}"
    if ruling.looks > 1:
        yield f"looks: {len(ruling.runs)} of {ruling.looks} declared; each at {ruling.confidence * 100:.4g} %"
    if all(j.because not in ruling.because for j in ruling.judgements):
        yield f"{ruling.word}: {ruling.because}"
    if ruling.advice:
        yield f"what to do: {ruling.advice}"
    yield f"raw data: {', '.join(ruling.runs)}" + (f"; baseline: {ruling.baseline}" if ruling.baseline else "")
