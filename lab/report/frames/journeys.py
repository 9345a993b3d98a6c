"""Journeys as frames. They are closed loops: no time of them may be set beside a response time of an open loop."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd

from lab.gates import walk as walks
from lab.record import OUTCOMES, Mistake
from lab.report.frames.naming import framed, outcomes, spread
from lab.store import Store


def steps(store: Store) -> pd.DataFrame:
    """One row a step of a journey and arm: valid repeats pooled.

    Columns:
        journey, step: which, and method and name, or all of them together
        arm, datapath: who was measured
        loop: `closed`
        users: the most users at once
        repeats, repeats_void: repeats that count, and repeats that a gate left out
        requests, failures: request events, and those that Locust calls failed
        throughput_per_s: complete answers/s
        time_p50_s, time_mean_s, time_p90_s, time_p99_s: until the answer was complete, s
        outcome_ok, outcome_timeout, outcome_reset, outcome_refused, outcome_not_sent, outcome_malformed: requests
            that ended so
    """
    rows = []
    for one in store.summary().steps:
        row = asdict(one)
        ended = outcomes(row.pop("outcomes"))
        rows.append(row | ended)
    return framed(steps, rows)


def step_contrasts(store: Store) -> pd.DataFrame:
    """One row a step, metric and arm of a journey: held against the baseline, repeat by repeat.

    Columns:
        journey, step: which
        arm, base: who is compared, and with whom
        loop: `closed`
        metric: p50, mean, p99 of the time, or throughput (of which less is slower)
        ratio, ratio_low, ratio_high: arm / base with its 95 % interval
        difference, difference_low, difference_high: arm - base with its 95 % interval, s or requests/s
        repeats, parts: of the journey; parts of equal time that all repeats have together
        wilcoxon_p, holm_p: p of Wilcoxon's signed-rank test; corrected for the number of contrasts
        noise_floor: half width of the interval between two arms that are the same, as a ratio - 1
        detectable: the smallest effect that this much data can show, as a ratio - 1
        verdict, because: fixed words, and what they stand on
    """
    rows = []
    for one in store.summary().step_contrasts:
        row = asdict(one)
        del row["parts_ratio"]
        for name in ("ratio", "difference"):
            row |= spread(name, row.pop(name))
        rows.append(row)
    return framed(step_contrasts, rows)


def events(store: Store, journey: str, arm: str) -> pd.DataFrame:
    """One row a request event of every stored turn of that journey and arm, nothing left out.

    `repeat`, `worker`, `user`, `connection`, `step` and `outcome` (words), `status` (0: no answer), `sends`, `failed`,
    `bytes`; `start_s` since the test began, `time_s` until the answer was complete; `judged`: after users had settled
    and before they were asked to leave; `valid`: no gate made the turn void. `Mistake` where there are none.
    """
    frames, words = [], pd.Index([str(o) for o in OUTCOMES])
    for turn, walk in store.turns():
        if (turn.journey, turn.arm.name) == (journey, arm):
            rows = store.events(turn.name)
            frame = pd.DataFrame({name: rows[name] for name in rows.dtype.names or ()})
            frame.insert(0, "repeat", turn.repeat)
            frame["step"] = pd.Categorical.from_codes(rows["step"].astype(np.int64), pd.Index(walk.steps))
            frame["outcome"] = pd.Categorical.from_codes(rows["outcome"].astype(np.int64), words)
            frame["start_s"], frame["time_s"] = rows["start_ns"] / 1e9, rows["duration_ns"] / 1e9
            frames.append(
                frame.assign(judged=walks.judged(rows, turn.settle_s, walk.lasted_s), valid=walks.valid(walk))
            )
    if not frames:
        there = ", ".join(sorted({f"{t.journey} on {t.arm.name}" for t, _ in store.turns()})) or "none"
        raise Mistake(f"no events of journey {journey!r} on arm {arm!r}; there are {there}")
    return pd.concat(frames, ignore_index=True)
