"""Locust's CSV files of one run: `NAME_stats.csv`, and beside it `NAME_stats_history.csv`, joined by `+`.

Source: https://docs.locust.io/en/stable/retrieving-stats.html, and locust/stats.py: quantiles are of times rounded to
1 ms below 100 ms, to 10 ms below 1 s, to 100 ms below 10 s. Users wait for their answers: a closed loop, timed from the
send. Failed requests are counted among the requests and their times among the times.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import replace

from lab.exchange.read import text
from lab.foreign import Document, Loop, Since, Told
from lab.record import Mistake

STATS = ("Type", "Name", "Request Count", "Failure Count", "Median Response Time", "Average Response Time",
         "Min Response Time", "Max Response Time", "Average Content Size", "Requests/s", "Failures/s")  # fmt: skip
HISTORY = ("Timestamp", "User Count", "Type", "Name", "Requests/s", "Failures/s")
WHOLE = "Aggregated"
PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)%")
MOST_ROWS = 1_000_000
Row = dict[str, str]


def recognises(body: str) -> bool:
    """Has it the columns of one of the two files?"""
    head = body.partition("\n")[0].replace('"', "")
    return head.startswith((",".join(STATS), ",".join(HISTORY)))


def read(documents: Sequence[Document]) -> Told:
    """One run, all its requests together."""
    tables = {document.name: _rows(document) for document in documents}
    stats = [name for name, rows in tables.items() if "Request Count" in rows[0]]
    histories = [name for name in tables if name not in stats]
    if len(stats) != 1 or len(histories) > 1:
        raise Mistake(
            f"a run of Locust has one *_stats.csv and at most one *_stats_history.csv; found {len(stats)} and "
            f"{len(histories)}: join those of one run by +"
        )
    told = _told(tables[stats[0]], stats[0])
    return _with_history(told, tables[histories[0]], histories[0]) if histories else told


def _rows(document: Document) -> list[Row]:
    body = text.text(document)
    try:
        reader = csv.DictReader(io.StringIO(body), strict=True)
        head = tuple(reader.fieldnames or ())
        rows = [row for _, row in zip(range(MOST_ROWS + 1), reader, strict=False)]
    except csv.Error as wrong:
        raise Mistake(f"{document.name} is not CSV ({wrong}); give the file that Locust's --csv wrote") from None
    if head[: len(STATS)] != STATS and head[: len(HISTORY)] != HISTORY:
        raise Mistake(f"{document.name} must have the columns {', '.join(STATS)}; found {', '.join(head)!r:.120}")
    if len(rows) > MOST_ROWS:
        raise Mistake(f"{document.name} has more than {MOST_ROWS:,} rows; cut it shorter")
    if not rows or any(None in row or None in row.values() for row in rows):
        raise Mistake(f"{document.name} has no rows, or a row of another length than its head; give the whole file")
    return rows


def _told(rows: Sequence[Row], name: str) -> Told:
    whole = [row for row in rows if row["Name"] == WHOLE and not row["Type"]]
    if len(whole) != 1:
        raise Mistake(f"{name} must have one row {WHOLE!r}; found {len(whole)}")
    (row,) = whole
    count, failed = (text.whole(row[key], f"{name}: {key}") for key in ("Request Count", "Failure Count"))
    if not count or failed > count:
        raise Mistake(
            f"{name}: {WHOLE} has {count} requests and {failed} failures; a run without requests says nothing"
        )
    quantiles = text.rising([_quantile(head, row[head], name) for head in row if PERCENT.fullmatch(head)], name)
    middle = text.number(row["Median Response Time"], f"{name}: Median Response Time") / 1e3
    return Told(
        tool="Locust",
        loop=Loop.CLOSED,
        since=Since.SEND,
        achieved_per_s=text.number(row["Requests/s"], f"{name}: Requests/s"),
        answered=count - failed,
        errors=failed,
        errors_timed=failed,
        resolution_s=rounding(middle),
        requests=count,
        least_s=text.number(row["Min Response Time"], f"{name}: Min Response Time") / 1e3,
        mean_s=text.number(row["Average Response Time"], f"{name}: Average Response Time") / 1e3,
        most_s=text.number(row["Max Response Time"], f"{name}: Max Response Time") / 1e3,
        quantiles=quantiles,
        parts=_parts(rows, name),
        notes=("users and duration stand in *_stats_history.csv; join it by +",),
    )


def rounding(middle_s: float) -> float:
    """To what Locust rounds times of that size, in seconds."""
    return next((step for below, step in ((0.1, 1e-3), (1.0, 1e-2), (10.0, 0.1)) if middle_s < below), 1.0)


def _quantile(head: str, cell: str, name: str) -> tuple[float, float]:
    return float(head.removesuffix("%")) / 100, text.number(cell, f"{name}: {head}") / 1e3


def _parts(rows: Sequence[Row], name: str) -> dict[str, int]:
    """Requests by method and name."""
    parts: dict[str, int] = {}
    for row in rows:
        if row["Type"] or row["Name"] != WHOLE:
            key = text.said(f"{row['Type']} {row['Name']}")
            parts[key] = parts.get(key, 0) + text.whole(row["Request Count"], f"{name}: Request Count")
    return parts


def _with_history(told: Told, rows: Sequence[Row], name: str) -> Told:
    """Users and duration, from the rows of all requests together."""
    whole = [row for row in rows if row["Name"] == WHOLE and not row["Type"]]
    users = [text.whole(row["User Count"], f"{name}: User Count") for row in whole]
    times = [text.number(row["Timestamp"], f"{name}: Timestamp") for row in whole]
    if not times:
        raise Mistake(f"{name} must have rows {WHOLE!r}; found none")
    return replace(
        told,
        started=f"{times[0]:.0f} s since 1970",
        duration_s=times[-1] - times[0] if times[-1] > times[0] else None,
        connections=max(users) or None,
        notes=("users stand for connections: each waits for its answers",),
    )
