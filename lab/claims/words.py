"""How evidence is worded: loads, ratios, times and sizes as a reader of a verdict wants them."""

from __future__ import annotations

from fractions import Fraction

from lab.summary import Contrast, Estimate
from lab.summary.results import Sockets

DECIMAL = (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3), ("B", 1))
BINARY = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10), ("B", 1))


def load(rate_per_s: float, service_time_s: float) -> str:
    """`at 500/s with a server that answers at once`."""
    server = f"a server that takes {service_time_s * 1e3:g} ms" if service_time_s else "a server that answers at once"
    return f"at {rate_per_s:,.0f}/s with {server}"


def interval(ratio: Estimate) -> str:
    """`1.020 [1.010, 1.030]`."""
    return f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"


def micros(seconds: Estimate) -> str:
    """`12.0 µs [10.0, 14.0]`."""
    return f"{seconds.value * 1e6:.1f} µs [{seconds.low * 1e6:.1f}, {seconds.high * 1e6:.1f}]"


def contrast(c: Contrast) -> str:
    """One contrast in one sentence: ratio, difference, intervals, verdict, and what the interval covers."""
    place = f"{c.arm}/{c.base}, {c.metric}, {load(c.rate_per_s, c.service_time_s)}"
    if not c.rounds:
        return f"{place}: {c.verdict} ({c.because})"
    numbers = f"ratio {interval(c.ratio)}, difference {micros(c.difference_s)}"
    return f"{place}: {numbers}, {c.verdict}; {deployments(c.deployments)}, {c.rounds} paired values"


def deployments(count: int) -> str:
    """How far an interval reaches."""
    return f"{count} deployments" if count >= 3 else f"within {count} deployment{'s' if count > 1 else ''} only"


def sockets(s: Sockets) -> str:
    """What was counted on one arm's path."""
    traced = "" if s.traced_per_connection is None else f" (a tracepoint says {s.traced_per_connection:g})"
    memory = f"{s.memory_bytes_per_connection:,.0f} B of socket memory"
    counted = f"{s.observed_per_connection:g} connections each{traced}, formula {s.expected_per_connection}"
    return f"{s.arm} with {s.connections} app connections: {counted}; {memory} for each"


def size(count: int | Fraction) -> str:
    """`1.05 TB (0.95 TiB)`: decimal and binary, three figures."""
    return f"{_scaled(count, DECIMAL)} ({_scaled(count, BINARY)})"


def _scaled(count: int | Fraction, units: tuple[tuple[str, int], ...]) -> str:
    name, unit = next((u for u in units if count >= u[1]), units[-1])
    number = float(Fraction(count) / unit)
    return (
        f"{number:,.0f} {name}" if number >= 100 else f"{number:.2f} {name}" if number < 10 else f"{number:.1f} {name}"
    )
