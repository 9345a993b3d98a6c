"""What studies found, as tables: the coefficients of their laws, and every case beside what its law says."""

from __future__ import annotations

from collections.abc import Sequence

from lab.report import units
from lab.report.table import Table
from lab.summary import Coefficient, Foretold, Size, Summary


def coefficients(summary: Summary) -> Table:
    """Every coefficient with its interval, in its own unit."""
    rows = tuple(_coefficient(c) for c in summary.coefficients)
    hints = (
        (
            "law",
            "subject, delivery or use, and what of its memory: dirty is what a process has written to (never shared)",
        ),
        ("for each", "the product of parameters that it belongs to; 1: what is there without any"),
        ("95 % interval", "wild bootstrap over cases: what repeats differ by and what the law does not explain"),
        ("n", "observations behind the law"),
    )
    return Table("coefficients", ("law", "coefficient", "for each", "value", "95 % interval", "n"), rows, 3, hints)


def _coefficient(c: Coefficient) -> tuple[str, ...]:
    spread = f"{amount(c.low, c.unit)} to {amount(c.high, c.unit)}"
    return (c.law, c.term, c.product, amount(c.value, c.unit), spread, str(c.n))


def sizes(summary: Summary) -> Table:
    """Every case of every law: measured, and what the law says."""
    rows = tuple(_size(one, _unit(summary, one)) for one in summary.sizes)
    columns = ("law", "case", "measured", "least to most", "law says", "off by", "n")
    return Table("sizes", columns, rows, 2, (("off by", "law / measured − 1"),))


def _size(one: Size, unit: str) -> tuple[str, ...]:
    off = units.percent(one.fitted / one.value - 1) if one.value else units.NOTHING
    spread = f"{amount(one.least, unit)} to {amount(one.most, unit)}"
    return (one.law, one.case, amount(one.value, unit), spread, amount(one.fitted, unit), off, str(one.n))


def _unit(summary: Summary, one: Size) -> str:
    return next((c.unit for c in summary.coefficients if c.law == one.law), "")


def foretold(summary: Summary) -> Table:
    """Every prediction that was in the plan beside what was measured, and how its gate judged it."""
    return outcomes(summary.foretold)


def outcomes(found: Sequence[Foretold]) -> Table:
    """Predictions beside what was measured."""
    rows = tuple(_foretold(one) for one in found)
    hints = (
        ("predicted", "by the simulator, before anything of this run was measured; with its 95 % interval"),
        ("off by", "predicted / measured − 1; the gate passes up to the error that is allowed"),
        ("covered", "the interval holds what was measured"),
    )
    columns = ("case", "metric", "predicted", "95 % interval", "measured", "least to most", "off by", "gate", "covered")
    return Table("foretold", columns, rows, 2, hints)


def foretold_briefly(summary: Summary) -> Table:
    """The same for a terminal: without intervals."""
    whole = foretold(summary)
    kept = [i for i, name in enumerate(whole.columns) if name not in ("95 % interval", "least to most")]
    rows = tuple(tuple(row[i] for i in kept) for row in whole.rows)
    return Table(whole.name, tuple(whole.columns[i] for i in kept), rows, 2, whole.hints)


def _foretold(one: Foretold) -> tuple[str, ...]:
    unit = "bytes" if one.metric.endswith("bytes") else "s"
    return (
        one.case,
        one.metric,
        amount(one.predicted, unit),
        f"{amount(one.low, unit)} to {amount(one.high, unit)}",
        amount(one.observed, unit),
        f"{amount(one.least, unit)} to {amount(one.most, unit)}",
        units.percent(one.error),
        f"{'passed' if one.passed else 'missed'} (±{one.tolerance:.0%})",
        "yes" if one.covered else "no",
    )


def score(found: Sequence[Foretold]) -> str:
    """How many gates were passed and how many intervals held, in a sentence; empty where nothing was foretold."""
    if not found:
        return ""
    passed, covered = sum(one.passed for one in found), sum(one.covered for one in found)
    return f"{passed} of {len(found)} predictions within their gates; {covered} of {len(found)} intervals held"


def amount(value: float, unit: str) -> str:
    """A value of a metric with its unit: bytes and seconds in the unit that fits."""
    if unit == "bytes":
        return units.size(value)
    return units.time(value) if unit == "s" else f"{units.number(value)} {unit}"


def named(found: tuple[Coefficient, ...], law: str) -> tuple[Coefficient, ...]:
    """The coefficients of one law, in its order."""
    return tuple(c for c in found if c.law == law)
