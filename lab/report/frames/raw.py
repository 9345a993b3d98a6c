"""Raw requests as a frame: one row a request, nothing left out."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lab import gates
from lab.record import OUTCOMES, Mistake
from lab.report import selection
from lab.report.frames.naming import framed
from lab.store import Store

TIMES = ("scheduled_ns", "sent_ns", "first_byte_ns", "done_ns")


def requests(store: Store, arm: str, block: str) -> pd.DataFrame:
    """One row a request of every stored trial of that arm and block. `Mistake` where there is no such block.

    Columns:
        trial, deployment: where
        window, connection: index of the window in the block, and of the connection
        status: of the answer; 0: no answer
        outcome: how it ended, a word
        scheduled_ns, sent_ns, first_byte_ns, done_ns: since the block's epoch, empty where it never happened, ns
        response_s: done - scheduled, s
        service_s: done - sent, s
        lag_s: sent - scheduled, s
        judged: after the dropped first part of its window
        valid: no gate made the block void
    """
    frames, words = [], pd.Index([str(o) for o in OUTCOMES])
    for run, found, rows in selection.blocks(store, arm, block):
        frame = pd.DataFrame({name: rows[name] for name in rows.dtype.names or ()})
        frame.insert(0, "trial", run.trial)
        frame.insert(1, "deployment", run.deployment)
        frame["outcome"] = pd.Categorical.from_codes(rows["outcome"].astype(np.int64), words)
        frames.append(frame.assign(judged=gates.judged(found, rows), valid=gates.valid(run.findings, block)))
    if not frames:
        raise Mistake(f"no requests of arm {arm!r} in block {block!r}; there are {_blocks(store)}")
    return _timed(pd.concat(frames, ignore_index=True))[list(framed(requests, ()).columns)]


def _timed(frame: pd.DataFrame) -> pd.DataFrame:
    for name in TIMES:
        frame[name] = frame[name].astype("Int64").mask(frame[name] < 0)
    for name, (end, start) in {
        "response_s": ("done_ns", "scheduled_ns"),
        "service_s": ("done_ns", "sent_ns"),
        "lag_s": ("sent_ns", "scheduled_ns"),
    }.items():
        frame[name] = (frame[end] - frame[start]).astype("Float64") / 1e9
    return frame


def _blocks(store: Store) -> str:
    arms = sorted({run.arm for run in store.runs()})
    names = dict.fromkeys(b.name for trial in store.trials() for b in trial.blocks)
    return f"arms {', '.join(arms) or 'none'}; blocks {', '.join(names) or 'none'}"
