"""Tables and figures: the only home of pandas, matplotlib and HTML. What is heavy is loaded when it is called for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lab.record import Verdict

if TYPE_CHECKING:
    from lab.store import Store
    from lab.summary import Summary

__all__ = ["build", "markdown"]


def build(store: Store, verdicts: Sequence[Verdict]) -> Path:
    """Write `report/index.html` and `report/summary.md` of a run; the page's path. `Mistake` for a changed folder."""
    from lab.report import page  # noqa: PLC0415 - matplotlib takes a second to load

    return page.build(store, verdicts)


def markdown(summary: Summary, verdicts: Sequence[Verdict]) -> str:
    """Verdicts and the table of arms as Markdown, for terminals and CI."""
    from lab.report import text  # noqa: PLC0415 - as above

    return text.markdown(summary, verdicts)
