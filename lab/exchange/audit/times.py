"""What the printed times stand on."""

from __future__ import annotations

import math

from lab.exchange.audit.rule import Rule, Said, per_s, time
from lab.exchange.audit.sample import Sample
from lab.foreign import Severity

SRE = "https://sre.google/sre-book/monitoring-distributed-systems/"
NIST = "https://www.itl.nist.gov/div898/handbook/prc/section2/prc262.htm"
KALIBERA = "https://doi.org/10.1145/2464157.2464160"
H2LOAD = "https://nghttp2.org/documentation/h2load.1.html"
HDR = "https://hdrhistogram.github.io/HdrHistogram/"
COARSE = 0.1  # of the median: steps of this size make differences of this size
BEYOND = ((0.999, 100), (0.99, 5))  # (share, requests beyond): p99.9 of 100,000, p99 of 500
TOGETHER_S = 20e-6
LEAST_DISCARDED = 0.01  # of all requests; the last ones of a run are often cut off
BURSTS = 0.3  # of all requests, and twice what independent users would do


def errors_timed(sample: Sample) -> Said:
    """Times of requests that went wrong are among the times."""
    told = sample.told
    if not told.errors_timed:
        return None
    return (
        f"{told.errors_timed / told.requests:.2%} of the times are those of requests that went wrong: a quick refusal "
        "makes the quantiles better, a timeout makes them worse",
        (f"errors among the times = {told.errors_timed:,}", f"times = {told.requests:,}"),
    )


def errors(sample: Sample) -> Said:
    """Requests went wrong, and are not among the times."""
    told = sample.told
    left = (told.errors or 0) - (told.errors_timed or 0)
    if left <= 0:
        return None
    return (
        "requests without a good answer are in no quantile: the times are those of the lucky ones",
        (f"errors without a time = {left:,}", f"times = {told.requests:,}"),
    )


def thin_tail(sample: Sample) -> Said:
    """A high quantile of few requests is the luck of a handful."""
    told = sample.told
    thin = [share for share, _ in told.quantiles if share < 1 and told.requests < needed(share)]
    if not thin:
        return None
    share, names = thin[0], ", ".join(f"p{q * 100:.6g}" for q in thin[:5])
    return (
        f"p{share * 100:.6g} stands on about {told.requests * (1 - share):.3g} requests beyond it, others on fewer; "
        f"it needs {needed(share):,} requests",
        (f"times = {told.requests:,}", f"quantiles told = {names}"),
    )


def needed(share: float) -> int:
    """How many requests a quantile needs, so that enough are beyond it; 0 below the 99th percentile."""
    least = next((beyond for start, beyond in BEYOND if share >= start), 0)
    return round(least / (1 - share)) if share < 1 else 0


def resolution(sample: Sample) -> Said:
    """The file's steps are coarse against what it measures."""
    told = sample.told
    middle = told.quantile(0.5) or told.mean_s
    if not told.resolution_s or not middle or told.resolution_s <= COARSE * middle:
        return None
    return (
        f"times are told, rounded or sent in steps of {time(told.resolution_s)}: differences below that cannot be seen",
        (f"step = {time(told.resolution_s)}", f"middle of the times = {time(middle)}"),
    )


def discarded(sample: Sample) -> Said:
    """Times that were measured were left out."""
    told = sample.told
    if not told.discarded:
        return None
    share = told.discarded / (told.discarded + told.requests)
    if share < LEAST_DISCARDED:
        return None
    return (
        f"{share:.1%} of the requests were made and their times left out (warm-up, calibration): the times are of the "
        "rest, the rate is of all",
        (f"left out = {told.discarded:,}", f"times = {told.requests:,}"),
    )


def bursts(sample: Sample) -> Said:
    """Many more requests leave together than independent users (Poisson) would send."""
    told, rate = sample.told, sample.told.achieved_per_s
    if told.together is None or rate is None:
        return None
    usual = 1 - math.exp(-rate * TOGETHER_S)
    if told.together < BURSTS or told.together < 2 * usual:
        return None
    return (
        f"requests leave in bursts and queue behind each other: {told.together:.0%} left within 20 µs of another; "
        f"of independent users' it would be {usual:.1%}",
        (f"together = {told.together:.3f}", f"achieved = {per_s(rate)}"),
    )


RULES = (
    Rule("errors_timed", Severity.SERIOUS, SRE, errors_timed),
    Rule("errors", Severity.LIMIT, SRE, errors),
    Rule("thin_tail", Severity.LIMIT, NIST, thin_tail),
    Rule("resolution", Severity.LIMIT, HDR, resolution),
    Rule("discarded", Severity.LIMIT, KALIBERA, discarded),
    Rule("bursts", Severity.LIMIT, H2LOAD, bursts),
)
