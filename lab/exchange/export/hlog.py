"""An HdrHistogram log: one line a window of each arm, tagged with it.

Format: the log of HistogramLogWriter 1.3 (https://github.com/HdrHistogram/HdrHistogram); histograms of hdrhistogram,
3 significant digits, up to an hour. Times of day of single windows are not stored, so windows stand at the time since
the run's beginning at which they would have been, had block followed block at once; a comment says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import numpy as np
from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped, unused-ignore]

from lab.exchange.export.asked import UNITS_NS, Asked
from lab.exchange.export.series import Ints, Part, Series, series
from lab.record import Mistake
from lab.store import Store

VERSION = "1.3"
LONGEST_NS = 3_600_000_000_000
DIGITS = 3
MS_NS = 1_000_000
LEGEND = '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"'
BASE_OF = {"response": "", "service": ".service"}


def files(store: Store, asked: Asked) -> Mapping[str, bytes]:
    """The log."""
    unit, times = asked.unit or "ns", asked.times or "response"
    found = series(store, asked)
    began = datetime.fromisoformat(store.plan.created).astimezone(UTC)
    kinds = ("response", "service") if times == "both" else (times,)
    body = sorted(line for kind in kinds for line in _lines(store, found, kind, unit))
    head = _head(store, found, began, unit, kinds)
    return {f"{store.plan.run}.hlog": "\n".join((*head, LEGEND, *(text for *_, text in body), "")).encode()}


def _head(store: Store, found: tuple[Series, ...], began: datetime, unit: str, kinds: tuple[str, ...]) -> Iterator[str]:
    when = f"{began.timestamp():.3f} (seconds since epoch)"
    yield f"#[Histogram log format version {VERSION}]"
    yield f"#[StartTime: {when}, {began:%a %b %d %H:%M:%S UTC %Y}]"
    yield f"#[BaseTime: {when}]"
    yield f"#[Values in {unit}; Interval_Max in ms; {DIGITS} significant digits]"
    yield f"#[Run {store.plan.run}, plan {store.manifest.plan_sha256}, origin {', '.join(_origins(found))}]"
    yield f"#[Times: {', '.join('done - scheduled' if k == 'response' else 'done - sent' for k in kinds)}]"
    yield "#[Windows stand where they would be, had block followed block at once: their time of day is not stored]"
    void = sum(s.void for s in found)
    yield f"#[Blocks of single deployments that gates left out: {void}]"


def _origins(found: tuple[Series, ...]) -> list[str]:
    return sorted({part.run.origin for s in found for part in s.parts})


def _lines(store: Store, found: tuple[Series, ...], kind: str, unit: str) -> Iterator[tuple[float, str, str]]:
    """(seconds since the beginning, tag, line) of every window with an answer."""
    starts = _starts(store)
    alone = len({(s.scenario, s.block.name) for s in found}) == 1
    for one in found:
        tag = (one.arm if alone else one.name) + BASE_OF[kind]
        for part in one.parts:
            begins = starts[part.run.trial, part.block.name]
            for start_s, length_s, values in _windows(part, kind):
                yield begins + start_s, tag, _line(tag, begins + start_s, length_s, values // UNITS_NS[unit], unit)


def _starts(store: Store) -> dict[tuple[str, str], float]:
    """When each block of each trial began, had one followed the other at once."""
    starts, clock = {}, 0.0
    for trial in store.trials():
        for block in trial.blocks:
            starts[trial.name, block.name] = clock
            clock += block.duration_s
    return starts


def _windows(part: Part, kind: str) -> Iterator[tuple[float, float, Ints]]:
    """(start, length, values in ns) of each of the part's windows that has an answer; starts after the dropped part."""
    values, owner = part.times_ns(kind), part.rows["window"]
    for window in part.block.only(part.run.arm):
        own = values[owner == window.index]
        if len(own):
            drop = min(part.block.drop_s, window.duration_s)
            yield window.start_s + drop, window.duration_s - drop, own


def _line(tag: str, start_s: float, length_s: float, values: Ints, unit: str) -> str:
    histogram = HdrHistogram(1, LONGEST_NS // UNITS_NS[unit], DIGITS)
    for value, count in zip(*np.unique(values, return_counts=True), strict=True):
        if not histogram.record_value(int(value), int(count)):
            raise Mistake(f"a time of {value} {unit} does not fit an hour; use --format csv --frame requests")
    most_ms = float(values.max()) * UNITS_NS[unit] / MS_NS
    return f"Tag={tag},{start_s:.3f},{length_s:.3f},{most_ms:.3f},{histogram.encode().decode()}"
