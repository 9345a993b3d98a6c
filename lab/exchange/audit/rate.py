"""Was the rate kept, and by whom was it limited?"""

from __future__ import annotations

from lab.exchange.audit.rule import Rule, Said, per_s, time
from lab.exchange.audit.sample import Sample
from lab.foreign import Loop, Severity

GREGG = "https://www.brendangregg.com/activebenchmarking.html"
LITTLE = "https://doi.org/10.1287/opre.9.3.383"
NIGHTHAWK = "https://github.com/envoyproxy/nighthawk/blob/main/docs/root/terminology.md"
LEAST_KEPT = 0.99  # of what was asked; tools stop a little early, and Poisson counts vary
BUSY = 0.9  # of all connections, on average, all the time


def rate_not_kept(sample: Sample) -> Said:
    """Less was sent than asked: the client or the server was at its limit."""
    asked, achieved = sample.asked_per_s, sample.told.achieved_per_s
    if asked is None or achieved is None or achieved >= LEAST_KEPT * asked:
        return None
    threads = sample.told.threads
    return (
        "the rate that was asked for was not reached: client or server were at their limit, and times at a limit grow "
        "with the length of the run",
        (
            f"asked = {per_s(asked)}",
            f"achieved = {per_s(achieved)} ({achieved / asked:.2%})",
            *((f"threads of the client = {threads}",) if threads is not None else ()),
        ),
    )


def saturated(sample: Sample) -> Said:
    """By Little's law, requests under way = rate × mean time; where that is all connections, none was ever free.

    Of a closed loop that is no finding: it is what a closed loop does.
    """
    told = sample.told
    without_rate = told.loop is Loop.CLOSED or (told.loop is Loop.UNKNOWN and sample.asked_per_s is None)
    if without_rate or not told.connections or told.mean_s is None or told.achieved_per_s is None:
        return None
    under_way = told.achieved_per_s * told.mean_s
    if under_way < BUSY * told.connections:
        return None
    return (
        f"{under_way:,.4g} requests were under way or in line on average, for {told.connections} connections: hardly "
        "ever was one free, so the client and not the schedule decided when to send",
        (
            f"achieved = {per_s(told.achieved_per_s)}",
            f"mean = {time(told.mean_s)}",
            f"connections = {told.connections}",
        ),
    )


def held_back(sample: Sample) -> Said:
    """The tool itself says that sends were delayed or left out."""
    count = sample.told.held_back
    if not count:
        return None
    return (
        "the client delayed or left out sends for want of a free connection, so what was offered is not what was asked",
        (f"held back = {count:,}", f"requests = {sample.told.requests:,}"),
    )


def rate_untold(sample: Sample) -> Said:
    """A paced tool whose file does not tell the rate."""
    if sample.asked_per_s is not None or sample.told.loop is not Loop.PACED:
        return None
    return (
        f"{sample.told.tool} does not tell the rate that was asked, so whether it was kept is unknown; say it (--rate)",
        ("asked = not told",),
    )


RULES = (
    Rule("rate_not_kept", Severity.SERIOUS, GREGG, rate_not_kept),
    Rule("saturated", Severity.SERIOUS, LITTLE, saturated),
    Rule("held_back", Severity.LIMIT, NIGHTHAWK, held_back),
    Rule("rate_untold", Severity.NOTE, GREGG, rate_untold),
)
