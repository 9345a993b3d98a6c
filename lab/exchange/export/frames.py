"""CSV: the frames of `lab.report.frames`, one tidy file each, with `columns.csv` that says what columns mean.

Names of columns carry their units. `--frame requests` gives raw requests of one arm and block.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lab.exchange.export.asked import Asked
from lab.record import Mistake
from lab.report import frames
from lab.store import Store

REQUESTS, COLUMNS = "requests", "columns"
FILTERS = (("scenario", "scenario"), ("arm", "arm"), ("block", "block"), ("block", "load"))
Frame = Any  # a pandas.DataFrame; pandas has its home in lab.report
OF_RUNS: Mapping[str, Callable[[Store], Frame]] = {made.__name__: made for made in frames.OF_RUNS}  # type: ignore[attr-defined, unused-ignore]


def files(store: Store, asked: Asked) -> Mapping[str, bytes]:
    """One file a frame that has rows, or the one that was asked for."""
    if asked.frame == REQUESTS:
        return {f"{REQUESTS}.csv": _csv(_requests(store, asked))}
    if asked.frame:
        if asked.frame not in OF_RUNS:
            raise Mistake(f"--frame {asked.frame!r} is unknown; allowed: {', '.join((*OF_RUNS, REQUESTS))}")
        return {f"{asked.frame}.csv": _csv(_narrowed(OF_RUNS[asked.frame](store), asked))}
    made = {name: _narrowed(frame(store), asked) for name, frame in OF_RUNS.items()}
    full = {name: frame for name, frame in made.items() if len(frame)}
    if not full:
        raise Mistake(f"nothing of that kind in {store.folder}; leave out --scenario, --block or --arm")
    told = ((name, *row) for name in full for row in frames.documented(OF_RUNS[name]).items())
    return {**{f"{name}.csv": _csv(frame) for name, frame in full.items()}, f"{COLUMNS}.csv": _meanings(told)}


def _requests(store: Store, asked: Asked) -> Frame:
    if not asked.arm or not asked.block:
        raise Mistake("--frame requests needs --arm and --block; see `mesh-lab export RUN --format csv --frame blocks`")
    return frames.requests(store, asked.arm, asked.block)


def _narrowed(frame: Frame, asked: Asked) -> Frame:
    """Rows of what was asked, where the frame has a column for it."""
    for option, column in FILTERS:
        wanted = getattr(asked, option)
        if wanted and column in frame:
            frame = frame[frame[column] == wanted]
    return frame


def _csv(frame: Frame) -> bytes:
    return str(frame.to_csv(index=False, lineterminator="\n")).encode()


def _meanings(rows: Iterable[tuple[str, ...]]) -> bytes:
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n").writerows([("frame", "column", "meaning"), *rows])
    return sink.getvalue().encode()
