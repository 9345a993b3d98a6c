"""What studies found, as tables: the coefficients of their laws, and every case beside what its law says."""

from __future__ import annotations

from lab.report import units
from lab.report.table import Table
from lab.summary import Coefficient, Size, Summary


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


def amount(value: float, unit: str) -> str:
    """A value of a metric with its unit: bytes and seconds in the unit that fits."""
    if unit == "bytes":
        return units.size(value)
    return units.time(value) if unit == "s" else f"{units.number(value)} {unit}"


def named(found: tuple[Coefficient, ...], law: str) -> tuple[Coefficient, ...]:
    """The coefficients of one law, in its order."""
    return tuple(c for c in found if c.law == law)
