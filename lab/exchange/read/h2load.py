"""h2load: what it prints, its --log-file, or both of one run joined by `+`.

Source: https://nghttp2.org/documentation/h2load.1.html. The log has a line a request: start (µs since 1970), status
(-1: the stream failed), duration (µs). Times run from the send. It prints neither --rps nor its version; with --rps its
timers tick every 10 ms and let go what has come due since, so requests leave in bursts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lab.exchange.read import text
from lab.foreign import Document, Loop, Since, Told
from lab.record import Mistake

ROW = re.compile(r"\d{10,19}\t-?\d{1,4}\t\d{1,18}\n")
TOGETHER_US = 20
QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
COUNT = r"(\d{1,15})"
CLIENTS = re.compile(rf"^spawning thread #\d+: {COUNT} total client\(s\)\.", re.MULTILINE)
FINISHED = r"^finished in (\S+), (\d{1,15}\.\d{2}) req/s, \S+B/s$"
REQUESTS = (
    rf"^requests: {COUNT} total, {COUNT} started, {COUNT} done, {COUNT} succeeded, {COUNT} failed, {COUNT} errored, "
    rf"{COUNT} timeout$"
)
STATUSES = rf"^status codes: {COUNT} 2xx, {COUNT} 3xx, {COUNT} 4xx, {COUNT} 5xx$"
TIMES = r"^time for request: +(\S+) +(\S+) +(\S+) +(\S+) +\S+%$"


def recognises(body: str) -> bool:
    """Is it what h2load prints, or its log?"""
    return ROW.match(body) is not None or (body.startswith("starting benchmark...") and "spawning thread #" in body)


def read(documents: Sequence[Document]) -> Told:
    """One run: its output, its log, or both."""
    logs = [d for d in documents if ROW.match(text.text(d))]
    printed = [d for d in documents if d not in logs]
    if len(logs) > 1 or len(printed) > 1:
        raise Mistake(f"a run of h2load has one output and one --log-file; found {len(printed)} and {len(logs)}")
    if not logs:
        return _printed(printed[0])
    log = _logged(logs[0])
    return _both(_printed(printed[0]), log, logs[0].name) if printed else log


def _printed(document: Document) -> Told:
    body = text.text(document)
    clients = [int(n) for n in CLIENTS.findall(body)]
    if not clients:
        raise Mistake(f"{document.name} must have a line like 'spawning thread #0: 10 total client(s).'; found none")
    finished = text.line(body, FINISHED, document, "finished in 1.02s, 980.00 req/s, 1.20MB/s")
    counted = text.line(body, REQUESTS, document, "requests: 1000 total, 1000 started, 1000 done, …")
    _, _, done, succeeded, failed, errored, _ = map(int, counted.groups())
    statuses = text.line(body, STATUSES, document, "status codes: 1000 2xx, 0 3xx, 0 4xx, 0 5xx").groups()
    times = text.line(body, TIMES, document, "time for request:  26us  35.37ms  1.43ms  3.07ms  92.40%")
    least, most, mean, deviation = (text.seconds(word, f"{document.name}: time for request") for word in times.groups())
    if not done:
        raise Mistake(f"{document.name} has no request that was done; a run without answers says nothing")
    return Told(
        tool="h2load",
        loop=Loop.UNKNOWN,
        since=Since.SEND,
        achieved_per_s=float(finished[2]),
        duration_s=text.seconds(finished[1], f"{document.name}: finished in"),
        threads=len(clients),
        connections=sum(clients),
        answered=succeeded,
        errors=failed,
        errors_timed=max(0, failed - errored),
        statuses={f"{n}xx": int(count) for n, count in zip("2345", statuses, strict=True) if int(count)},
        resolution_s=text.step(times[3]),
        requests=done,
        least_s=least,
        mean_s=mean,
        deviation_s=deviation,
        most_s=most,
        notes=("h2load does not print --rps; say it with --rate", "it prints no quantiles; its --log-file has them"),
    )


def _logged(document: Document) -> Told:
    body = text.text(document)
    rows = body.splitlines(keepends=True)
    strange = next((n for n, row in enumerate(rows, 1) if not ROW.fullmatch(row)), None)
    if strange is not None:
        raise Mistake(
            f"{document.name}, line {strange}: expected start (µs), status and duration (µs) between tabs; "
            f"found {rows[strange - 1]!r:.60}"
        )
    start, status, took = np.array(body.split(), dtype=np.int64).reshape(-1, 3).T
    lasted = int((start + took).max() - start.min())
    wrong = int(((status < 0) | (status >= 400)).sum())
    gaps = np.diff(np.sort(start))
    seen, counts = np.unique(status, return_counts=True)
    return Told(
        tool="h2load",
        loop=Loop.UNKNOWN,
        since=Since.SEND,
        started=f"{start.min() / 1e6:.6f} s since 1970",
        achieved_per_s=len(start) / lasted * 1e6 if lasted else None,
        duration_s=lasted / 1e6,
        answered=len(start) - wrong,
        errors=wrong,
        errors_timed=wrong,
        statuses={str(s): int(n) for s, n in zip(seen, counts, strict=True)},
        resolution_s=1e-6,
        requests=len(start),
        least_s=float(took.min()) / 1e6,
        mean_s=float(took.mean()) / 1e6,
        deviation_s=float(took.std()) / 1e6,
        most_s=float(took.max()) / 1e6,
        quantiles=tuple((q, float(np.quantile(took, q)) / 1e6) for q in QUANTILES),
        together=float((gaps < TOGETHER_US).sum()) / len(start),
        notes=("the log has neither rate nor connections; join h2load's output to it: output.txt+log.tsv",),
    )


def _both(printed: Told, log: Told, name: str) -> Told:
    if log.requests != printed.requests:
        raise Mistake(
            f"{name} has {log.requests} requests, the output says {printed.requests}; join the two files of one run"
        )
    return replace(
        printed,
        started=log.started,
        statuses=log.statuses,
        resolution_s=log.resolution_s,
        least_s=log.least_s,
        mean_s=log.mean_s,
        deviation_s=log.deviation_s,
        most_s=log.most_s,
        quantiles=log.quantiles,
        together=log.together,
        notes=printed.notes[:1],
    )
