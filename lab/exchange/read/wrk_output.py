"""What wrk prints, and wrk2 after it: the lines that both share.

Source: https://github.com/wg/wrk and https://github.com/giltene/wrk2, src/wrk.c and src/units.c. Both print times with
two decimals in the largest unit that fits, so `1.33ms` may be 5 µs off. Both time every answer, whatever its status.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lab.exchange.read import text
from lab.foreign import Document
from lab.record import Mistake

HDR = "Latency Distribution (HdrHistogram - "
CALIBRATION = "Thread calibration: mean lat.:"
PLAIN = re.compile(r"^ *Latency Distribution$", re.MULTILINE)
COUNT = r"(\d{1,15})"
RUNNING = rf"^Running {COUNT}([smh]) test @ (.*)$"
THREADS = rf"^ *{COUNT} threads and {COUNT} connections$"
LATENCY = r"^ *Latency +(\S+) +(\S+) +(\S+) +\S+%$"
TOTAL = rf"^ *{COUNT} requests in (\S+), \S+ read$"
RATE = r"^Requests/sec: +(\d{1,15}\.\d{2})$"
SOCKETS = rf"^ *Socket errors: connect {COUNT}, read {COUNT}, write {COUNT}, timeout {COUNT}$"
STATUS = rf"^ *Non-2xx or 3xx responses: {COUNT}$"
QUANTILE = re.compile(r"^ *(\d{1,3}(?:\.\d{1,3})?)% +(\S+) *$", re.MULTILINE)


def looks_right(body: str) -> bool:
    """Is it what wrk or wrk2 prints?"""
    return body.startswith("Running ") and " test @ " in body and "Thread Stats" in body


def shared(documents: Sequence[Document], tool: str) -> tuple[Document, str, dict[str, Any]]:
    """The file, its text, and the fields of `Told` that both tools print."""
    if len(documents) != 1:
        raise Mistake(f"{tool} prints one text a run; {len(documents)} were joined by +: give each its own repetition")
    (document,) = documents
    body = text.text(document)
    running = text.line(body, RUNNING, document, "Running 30s test @ http://…")
    threads = text.line(body, THREADS, document, "2 threads and 100 connections")
    latency = text.line(body, LATENCY, document, "Latency  6.46ms  1.93ms  12.34ms  67.66%")
    total = text.line(body, TOTAL, document, "60017 requests in 30.01s, 19.81MB read")
    rate = text.line(body, RATE, document, "Requests/sec:   2000.15")
    mean, deviation, most = (text.seconds(word, f"{document.name}: Latency") for word in latency.groups())
    count, wrong, broken = int(total[1]), _status(body), _broken(body)
    if not count:
        raise Mistake(f"{document.name} has no answered request; a run without answers says nothing")
    return document, body, {
        "label": text.said(running[3]),
        "asked_s": float(running[1]) if running[2] == "s" else None,  # minutes and hours are rounded
        "duration_s": text.seconds(total[2], f"{document.name}: requests in"),
        "threads": int(threads[1]),
        "connections": int(threads[2]),
        "achieved_per_s": float(rate[1]),
        "answered": count - wrong,
        "errors": wrong + broken,
        "errors_timed": wrong,
        "statuses": {"not 2xx or 3xx": wrong} if wrong else {},
        "requests": count,
        "mean_s": mean,
        "deviation_s": deviation,
        "most_s": most,
        "resolution_s": text.step(latency[1]),
    }  # fmt: skip


def quantiles(section: str, document: Document) -> tuple[tuple[float, float], ...]:
    """The lines `99.000%   11.18ms` of one distribution: (share, seconds), rising."""
    where = f"{document.name}: Latency Distribution"
    found = tuple((float(m[1]) / 100, text.seconds(m[2], where)) for m in QUANTILE.finditer(section))
    return text.rising(found, where)


def _status(body: str) -> int:
    match = re.search(STATUS, body, re.MULTILINE)
    return int(match[1]) if match else 0


def _broken(body: str) -> int:
    match = re.search(SOCKETS, body, re.MULTILINE)
    return sum(map(int, match.groups())) if match else 0
