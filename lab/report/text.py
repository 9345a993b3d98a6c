"""A summary as Markdown: what a terminal or a CI job shows."""

from __future__ import annotations

from collections.abc import Sequence

from lab.record import Verdict, Word
from lab.report import foreign, glance, journeys, proofs, studies, tables
from lab.report.table import Table
from lab.summary import Summary


def markdown(summary: Summary, verdicts: Sequence[Verdict]) -> str:
    """Verdicts, one row an arm, the contrasts, what limits them."""
    parts = [
        f"# Run {summary.run} ({summary.profile}, {summary.origin})",
        "## Verdicts",
        _or(verdict_table(judged(verdicts)), "No claim was judged."),
        *([f"Not measured in this run: {unmeasured(verdicts)}."] if unmeasured(verdicts) else []),
        "## Arms",
        _or(glance.table(summary), "No arm was measured."),
        "## Against the baseline",
        _or(tables.contrasts(summary), "No arms were compared."),
        "## Accounting proof",
        _or(proofs.accounting(summary), "No datapath of this run counts requests."),
        *(["## Coefficients", studies.coefficients(summary).markdown()] if summary.coefficients else []),
        *(
            ["## Foretold", studies.score(summary.foretold), studies.foretold(summary).markdown()]
            if summary.foretold
            else []
        ),
        *([journeys.markdown(summary)] if summary.walk_counts else []),
        *([foreign.markdown(summary)] if summary.imported else []),
        "## What limits these results",
        "\n".join(f"- {' '.join(w.split())}" for w in summary.warnings) or "Nothing was found.",
    ]
    return "\n\n".join(parts) + "\n"


def judged(verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """Those that this run says something of."""
    return tuple(v for v in verdicts if v.measured and v.word is not Word.NOT_MEASURABLE)


def unmeasured(verdicts: Sequence[Verdict]) -> str:
    """The claims that this run says nothing of, by number, those with one reason together."""
    reasons: dict[str, list[str]] = {}
    told = judged(verdicts)
    for v in verdicts:
        if v not in told:
            reasons.setdefault(v.because, []).append(v.claim)
    return "; ".join(f"{', '.join(claims)} ({why})" for why, claims in reasons.items())


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """Claim, verdict, because, conditions."""
    rows = tuple((v.claim, str(v.word), v.because, "; ".join(v.conditions) or "–") for v in verdicts)
    return Table("verdicts", ("claim", "verdict", "because", "conditions"), rows, 4)


def _or(table: Table, sentence: str) -> str:
    return table.markdown() if table.rows else sentence
