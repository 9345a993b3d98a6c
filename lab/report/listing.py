"""The ledger on a terminal: a block a claim, then the verdicts of several runs side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from lab import claims
from lab.claims import Claim
from lab.report.console import COLOURS, MOST_CONDITIONS, grid
from lab.report.ledger import Entry, Judgement, machines
from lab.report.table import Table

UNJUDGED = "not judged"
INDENT = (0, 0, 0, 4)


def show(found: Sequence[Entry], screen: Console) -> None:
    """Every claim with its latest verdict, then all verdicts of all runs."""
    letters = machines(found)
    blocks = Grid.grid(padding=(0, 2, 1, 0))
    blocks.add_column(no_wrap=True, style="bold")
    blocks.add_column(no_wrap=True)
    blocks.add_column(ratio=1)
    for entry in found:
        blocks.add_row(entry.claim.id, _word(entry.latest), Group(*_block(entry)))
    screen.print(blocks)
    table = side_by_side(found)
    if table.rows:
        screen.print(grid(table, "Every verdict of every run, the newest first"))
        for machine, letter in letters.items():
            screen.print(f"{letter}: {escape(machine.words)}", highlight=False)
    screen.print(f"The post: {claims.POST}. All of one claim: mesh-lab claims C1", highlight=False)


def detail(entry: Entry, screen: Console) -> None:
    """Everything that is known of one claim: what is asked, and what each run says, with all its evidence."""
    claim = entry.claim
    screen.print(f"[bold]{claim.id}[/]  {escape(claim.statement)}\n", highlight=False)
    facts = Grid.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(ratio=1)
    facts.add_row("source", f"{escape(claim.source)}, {claims.POST}")
    facts.add_row("measured by", f"mesh-lab run {claim.scenario}" if claim.scenario else "no scenario yet")
    facts.add_row("the rule", escape(claim.demands))
    screen.print(facts, highlight=False)
    for judgement in entry.judgements:
        screen.print(Group("", *_whole(judgement)))
    if not entry.judgements:
        screen.print(f"\n{escape(why_open(claim))}", highlight=False)


def why_open(claim: Claim) -> str:
    """Why no run has judged a claim, and what would."""
    if claim.scenario:
        return f"No run here measured what its rule needs; measure it with: mesh-lab run {claim.scenario}"
    return f"No scenario measures it yet. {claim.lacks}"


def side_by_side(found: Sequence[Entry]) -> Table:
    """One row a verdict: claim, verdict, run, and the letter of its machine."""
    letters = machines(found)
    rows = tuple(
        (e.claim.id, str(j.verdict.word), j.run, letters[j.machine] if j.machine else "–")
        for e in found
        for j in e.judgements
    )
    return Table("ledger", ("claim", "verdict", "run", "machine"), rows, 4)


def _block(entry: Entry) -> Iterator[RenderableType]:
    claim, latest = entry.claim, entry.latest
    yield Text(claim.statement, style="bold")
    if latest:
        yield Text(latest.verdict.because)
        yield from _conditions(latest, MOST_CONDITIONS, claim.id)
        yield Text(f"by {latest.run}", style="cyan")
    else:
        yield Text(why_open(claim))
    if entry.others:
        yield Text("; ".join(f"{j.run}: {j.verdict.word}" for j in entry.others), style="cyan")
    if claim.scenario:
        yield Text(f"Rule: {claim.demands}", style="dim")
    yield Text(f"Source: {claim.source}; {claim.scenario or 'no scenario yet'}", style="dim")


def _conditions(judgement: Judgement, most: int, claim: str = "") -> Iterator[RenderableType]:
    conditions = judgement.verdict.conditions
    for line in conditions[:most]:
        yield _point(line)
    if len(conditions) > most:
        yield _point(f"and {len(conditions) - most} more: mesh-lab claims {claim}")


def _whole(judgement: Judgement) -> Iterator[RenderableType]:
    verdict = judgement.verdict
    where = judgement.machine.words if judgement.machine else "unknown machine"
    said = f"  by {judgement.run}, {judgement.created[:10]}: {where}"
    yield Text.assemble((str(verdict.word), f"bold {COLOURS[verdict.word]}"), said)
    yield Padding(Text(verdict.because), INDENT)
    for title, lines in (("Conditions", verdict.conditions), ("It stands on", verdict.evidence)):
        if lines:
            yield Padding(Text(title, style="dim"), INDENT)
            yield from (Padding(_point(line), INDENT) for line in lines)


def _point(line: str) -> RenderableType:
    """One line of a list, whose further lines stand under its words."""
    row = Grid.grid(padding=(0, 1, 0, 0))
    row.add_row("·", Text(line))
    return row


def _word(latest: Judgement | None) -> Text:
    if latest is None:
        return Text(UNJUDGED, style="dim")
    return Text(str(latest.verdict.word), style=COLOURS[latest.verdict.word])
