"""Fortio's JSON: `fortio load -json`. Fields as in fortio 1.75 (periodic.RunnerResults, fhttp.HTTPRunnerResults).

Source: https://github.com/fortio/fortio, periodic/periodic.go, fhttp/httprunner.go, stats/stats.go. Each thread waits
for an answer before its next call, also with -qps; a call is timed from when it is really made. Times are counted in
buckets, of 1 ms and wider unless -r asked otherwise; quantiles are interpolated inside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lab.exchange.read import text
from lab.foreign import Document, Loop, Since, Told
from lab.record import Mistake

OK = ("200", "SERVING")  # what Fortio counts as answered: any 2xx, and gRPC's health


def recognises(body: str) -> bool:
    """Has it Fortio's fields?"""
    head = body.lstrip()[:1]
    return head == "{" and '"DurationHistogram"' in body and '"ActualQPS"' in body


def read(documents: Sequence[Document]) -> Told:
    """One run."""
    if len(documents) != 1:
        raise Mistake(f"Fortio writes one file a run; {len(documents)} were joined by +: give each its own repetition")
    (document,) = documents
    return _told(text.parsed(document), document.name)


def _told(data: Mapping[str, Any], name: str) -> Told:
    spread = text.mapping(data.get("DurationHistogram"), f"{name}: DurationHistogram")
    count = text.whole(spread.get("Count"), f"{name}: DurationHistogram.Count")
    if count < 1:
        raise Mistake(f"{name}: DurationHistogram.Count is 0; a run without calls says nothing")
    asked = _rate(data, name)
    buckets = tuple(_bucket(entry, where) for where, entry in _numbered(spread, "Data", name))
    if sum(c for *_, c in buckets) not in (0, count):
        raise Mistake(f"{name}: DurationHistogram.Data has {sum(c for *_, c in buckets)} calls, Count says {count}")
    statuses = {text.said(k): text.whole(v, f"{name}: RetCodes") for k, v in _optional(data, "RetCodes", name).items()}
    wrong = _errors(data, statuses, name)
    return Told(
        tool="Fortio",
        version=text.said(data.get("Version")),
        label=text.said(data.get("Labels")),
        started=text.said(data.get("StartTime")),
        loop=Loop.CLOSED if asked is None else Loop.PACED,
        since=Since.SEND,
        asked_per_s=asked,
        achieved_per_s=text.number(data.get("ActualQPS"), f"{name}: ActualQPS"),
        duration_s=text.number(data.get("ActualDuration"), f"{name}: ActualDuration") / 1e9,
        threads=text.whole(data.get("NumThreads"), f"{name}: NumThreads"),
        connections=text.whole(data.get("NumThreads"), f"{name}: NumThreads"),
        opened=text.whole(data["SocketCount"], f"{name}: SocketCount") if "SocketCount" in data else None,
        keep_alive=not data["DisableKeepAlive"] if isinstance(data.get("DisableKeepAlive"), bool) else None,
        answered=count if wrong is None else count - wrong,
        errors=wrong,
        errors_timed=wrong,
        statuses=statuses,
        resolution_s=_middle(buckets),
        requests=count,
        least_s=text.number(spread.get("Min"), f"{name}: DurationHistogram.Min"),
        mean_s=text.number(spread.get("Avg"), f"{name}: DurationHistogram.Avg"),
        deviation_s=text.number(spread.get("StdDev"), f"{name}: DurationHistogram.StdDev"),
        most_s=text.number(spread.get("Max"), f"{name}: DurationHistogram.Max"),
        quantiles=text.rising(
            [_percentile(entry, where) for where, entry in _numbered(spread, "Percentiles", name)], name
        ),
        buckets=buckets,
        notes=("calls of one thread use one connection, so threads stand for connections",),
    )


def _rate(data: Mapping[str, Any], name: str) -> float | None:
    """RequestedQPS is a word: a number, or `max`. Nighthawk's own Fortio output writes a number."""
    asked = data.get("RequestedQPS")
    if asked == "max":
        return None
    try:
        found = float(asked) if isinstance(asked, str | int | float) and not isinstance(asked, bool) else -1.0
    except (ValueError, OverflowError):
        found = -1.0
    if not 0 < found < float("inf"):
        raise Mistake(f"{name}: RequestedQPS must be a number above 0, or 'max'; found {asked!r:.60}")
    return found


def _errors(data: Mapping[str, Any], statuses: Mapping[str, int], name: str) -> int | None:
    """Fortio times every call, and those that failed once more in a histogram of their own."""
    failed = _optional(data, "ErrorsDurationHistogram", name)
    if "Count" in failed:
        return text.whole(failed["Count"], f"{name}: ErrorsDurationHistogram.Count")
    if not statuses:
        return None
    return sum(n for status, n in statuses.items() if status not in OK and not (len(status) == 3 and status[0] == "2"))


def _numbered(data: Mapping[str, Any], key: str, name: str) -> list[tuple[str, Any]]:
    """The entries of a list, each with where it stands."""
    where = f"{name}: DurationHistogram.{key}"
    return [(f"{where}[{n}]", entry) for n, entry in enumerate(text.items(data.get(key) or [], where))]


def _optional(data: Mapping[str, Any], key: str, name: str) -> Mapping[str, Any]:
    return text.mapping(data.get(key) or {}, f"{name}: {key}")


def _bucket(entry: object, where: str) -> tuple[float, float, int]:
    found = text.mapping(entry, where)
    low, high = (text.number(found.get(key), f"{where}.{key}") for key in ("Start", "End"))
    if high < low:
        raise Mistake(f"{where} must end after its Start {low:g}; found End {high:g}")
    return low, high, text.whole(found.get("Count"), f"{where}.Count")


def _percentile(entry: object, where: str) -> tuple[float, float]:
    found = text.mapping(entry, where)
    percent = text.number(found.get("Percentile"), where)
    return percent / 100, text.number(found.get("Value"), where)


def _middle(buckets: Sequence[tuple[float, float, int]]) -> float | None:
    """The width of the bucket that holds the median: inside it, Fortio interpolates."""
    left = sum(count for *_, count in buckets) / 2
    for low, high, count in buckets:
        left -= count
        if left <= 0:
            return high - low
    return None
