"""A table of words, and how it is printed as Markdown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Rows of formatted cells: the first `words` columns are text, then numbers, then `notes` columns of long text.

    `hints` explain columns.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    hints: tuple[tuple[str, str], ...] = ()
    notes: int = 0

    def numeric(self, column: int) -> bool:
        """Does that column hold numbers?"""
        return self.words <= column < len(self.columns) - self.notes

    def markdown(self) -> str:
        """As a GitHub-flavoured table, padded so that it reads well as plain text too."""
        cells = [[inert(cell) for cell in row] for row in (self.columns, *self.rows)]
        widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(self.columns))]
        rule = ["-" * (w - 1) + ":" if self.numeric(i) else "-" * w for i, w in enumerate(widths)]
        lines = ["| " + " | ".join(self._padded(row, widths)) + " |" for row in (cells[0], rule, *cells[1:])]
        return "\n".join([*lines, *(["", f"{inert(self.hint)}."] if self.hints else [])])

    @property
    def hint(self) -> str:
        """What the columns mean, as one sentence."""
        return "; ".join(f"{word}: {meaning}" for word, meaning in self.hints)

    def _padded(self, row: list[str], widths: list[int]) -> list[str]:
        pairs = enumerate(zip(row, widths, strict=True))
        return [c.rjust(w) if self.numeric(i) else c.ljust(w) for i, (c, w) in pairs]


def inert(cell: str) -> str:
    """Neither a column's end, a line's end, nor HTML."""
    return " ".join(cell.split()).replace("|", "\\|").replace("<", "&lt;")
