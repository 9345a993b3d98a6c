"""Numbers as people read them. Formatting lives in the report only; everything stored is seconds and bytes."""

from __future__ import annotations

from math import isfinite

from lab.summary import Estimate

NOTHING = "–"  # what is printed where nothing was measured: never a zero
DIGITS = 3


def number(value: float | None, digits: int = DIGITS) -> str:
    """`digits` significant figures, thousands apart, without exponent."""
    if value is None or not isfinite(value):
        return NOTHING
    if value == 0:
        return "0"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    text = f"{value:#.{digits}g}"  # trailing zeros are digits that were measured
    return f"{value:.{digits + 4}f}".rstrip("0") if "e" in text else text


def count(value: float | None) -> str:
    """A count: whole where it is whole, two places where it is a mean."""
    if value is None or not isfinite(value):
        return NOTHING
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}"


def time(seconds: float | None) -> str:
    """A duration with the unit that fits it."""
    if seconds is None or not isfinite(seconds):
        return NOTHING
    size = abs(seconds)
    if size >= 1:
        return f"{number(seconds)} s"
    if size >= 1e-3:
        return f"{number(seconds * 1e3)} ms"
    if size >= 1e-6 or size == 0:
        return f"{number(seconds * 1e6)} µs"
    return f"{number(seconds * 1e9)} ns"


def tick(seconds: float) -> str:
    """A round duration, as asked for or on an axis: without digits that say nothing."""
    for unit, step in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if abs(seconds) >= step * (1 - 1e-9):
            return f"{seconds / step:g} {unit}"
    return f"{seconds / 1e-9:g} ns"


def ms(seconds: float | None) -> str:
    """Milliseconds without their unit, for a column that names it."""
    return number(None if seconds is None else seconds * 1e3)


def us(seconds: float | None) -> str:
    """Microseconds without their unit, for a column that names it."""
    return number(None if seconds is None else seconds * 1e6)


def mib(size_bytes: float | None) -> str:
    """Mebibytes without their unit, for a column that names it."""
    return number(None if size_bytes is None else size_bytes / 2**20)


def size(size_bytes: float | None) -> str:
    """Bytes with the binary unit that fits."""
    if size_bytes is None or not isfinite(size_bytes):
        return NOTHING
    for unit, step in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if abs(size_bytes) >= step:
            return f"{number(size_bytes / step)} {unit}"
    return f"{number(size_bytes)} B"


def rate(per_s: float | None) -> str:
    """Requests a second."""
    return NOTHING if per_s is None or not isfinite(per_s) else f"{count(per_s)}/s"


def percent(share: float | None, places: int = 1) -> str:
    """A share of one as a percentage."""
    return NOTHING if share is None or not isfinite(share) else f"{share * 100:.{places}f} %"


def ratio(value: float | None) -> str:
    """A ratio: three places near one, fewer where they would pretend."""
    if value is None or not isfinite(value):
        return NOTHING
    return f"{value:.3f}" if value < 2 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def interval(estimate: Estimate) -> str:
    """The 95 % interval of a ratio."""
    return f"{ratio(estimate.low)} to {ratio(estimate.high)}" if isfinite(estimate.value) else NOTHING


def difference_ms(seconds: float | None) -> str:
    """A difference in milliseconds without its unit: signed, to the microsecond."""
    if seconds is None or not isfinite(seconds):
        return NOTHING
    return f"{seconds * 1e3:+z.3f}" if round(seconds * 1e6) else "0.000"


def difference_interval(estimate: Estimate) -> str:
    """The 95 % interval of a difference in milliseconds."""
    if not isfinite(estimate.value):
        return NOTHING
    return f"{difference_ms(estimate.low)} to {difference_ms(estimate.high)}"


def p_value(value: float | None) -> str:
    """A probability; tiny ones as a bound."""
    if value is None or not isfinite(value):
        return NOTHING
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"


def load_words(rate_per_s: float, service_time_s: float) -> str:
    """A load as a heading: its rate, and what the server sleeps in each request."""
    return rate(rate_per_s) if not service_time_s else f"{rate(rate_per_s)}, server takes {tick(service_time_s)}"
