"""Results as pandas frames, for notebooks. Columns are named as in the records: `_s` seconds, `_ns` nanoseconds."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd

from lab import gates
from lab.gates import walk as walks
from lab.record import OUTCOMES, Mistake
from lab.report import selection
from lab.store import Store

TIMES = ("scheduled_ns", "sent_ns", "first_byte_ns", "done_ns")


def latencies(store: Store) -> pd.DataFrame:
    """One row an arm and load: the fields of `lab.summary.Latency`; outcomes as columns `outcome_<name>` (requests)."""
    rows = []
    for one in store.summary().latencies:
        row = asdict(one)
        outcomes = row.pop("outcomes")
        rows.append({**row, **{f"outcome_{o}": outcomes.get(str(o), 0) for o in OUTCOMES}})
    return pd.DataFrame(rows)


def contrasts(store: Store) -> pd.DataFrame:
    """One row a contrast: the fields of `lab.summary.Contrast`.

    Each estimate is three columns: `ratio`, `ratio_low`, `ratio_high` and so on (`difference_s` in seconds).
    `rounds_ratio` is left out: `rounds` has it in long form.
    """
    rows = []
    for one in store.summary().contrasts:
        row = asdict(one)
        del row["rounds_ratio"]
        for name in ("ratio", "geometric_ratio", "difference_s"):
            estimate = row.pop(name)
            row |= {name: estimate["value"], f"{name}_low": estimate["low"], f"{name}_high": estimate["high"]}
        rows.append(row)
    return pd.DataFrame(rows)


def rounds(store: Store) -> pd.DataFrame:
    """One row a round of a contrast: scenario, load, arm, metric, deployment, round, ratio (arm / baseline)."""
    return pd.DataFrame(
        [
            (c.scenario, c.load, c.arm, c.metric, deployment, number, ratio)
            for c in store.summary().contrasts
            for deployment, number, ratio in c.rounds_ratio
        ],
        columns=["scenario", "load", "arm", "metric", "deployment", "round", "ratio"],
    )


def requests(store: Store, arm: str, block: str) -> pd.DataFrame:
    """One row a request of every stored trial of that arm and block, nothing left out.

    `trial`, `deployment`, `window`, `connection`, `status` (0: no answer), `outcome` (a word);
    `scheduled_ns`, `sent_ns`, `first_byte_ns`, `done_ns` since the block's epoch, empty where it never happened;
    `response_s` = done - scheduled, `service_s` = done - sent, `lag_s` = sent - scheduled;
    `judged`: after the dropped first part of its window; `valid`: no gate made the block void.
    `Mistake` where there is no such block.
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
    return _timed(pd.concat(frames, ignore_index=True))


def steps(store: Store) -> pd.DataFrame:
    """One row a step of a journey and arm: the fields of `lab.summary.Step`; outcomes as columns `outcome_<name>`.

    `loop` is `closed`: `time_*_s` are no response times of an open loop, and must not be set beside them.
    """
    rows = []
    for one in store.summary().steps:
        row = asdict(one)
        outcomes = row.pop("outcomes")
        rows.append({**row, **{f"outcome_{o}": outcomes.get(str(o), 0) for o in OUTCOMES}})
    return pd.DataFrame(rows)


def step_contrasts(store: Store) -> pd.DataFrame:
    """One row a step, metric and arm of a journey: the fields of `lab.summary.StepContrast`.

    Each estimate is three columns: `ratio`, `ratio_low`, `ratio_high` and so on; `repeats_ratio` is left out.
    """
    rows = []
    for one in store.summary().step_contrasts:
        row = asdict(one)
        del row["repeats_ratio"]
        for name in ("ratio", "difference"):
            estimate = row.pop(name)
            row |= {name: estimate["value"], f"{name}_low": estimate["low"], f"{name}_high": estimate["high"]}
        rows.append(row)
    return pd.DataFrame(rows)


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
