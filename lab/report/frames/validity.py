"""What can be believed, as frames: blocks, what gates found, readings of the meters, the host beside them."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd

from lab import gates
from lab.report.frames.naming import framed
from lab.store import Store


def blocks(run: Store) -> pd.DataFrame:
    """One row an arm and block of a trial: what was run, and whether it counts.

    Columns:
        scenario, trial, deployment: the question, the trial, and which deployment it is
        block, kind: its name; ladder, slices, cost, hold or referee
        arm, datapath: whose windows
        rate_per_s, connections, service_time_s: requests/s, connections and the server's sleep (s) of its load
        windows: this arm's windows in the block
        window_s: how long each is, s
        valid: no gate made the block void
        failed: gates that failed, comma-separated; some label and void nothing
    """
    rows = []
    trials = {trial.name: trial for trial in run.trials()}
    for one in run.runs():
        for block in trials[one.trial].blocks:
            mine = block.only(one.arm)
            failed = [f.gate for f in one.findings if f.block == block.name and not f.passed]
            if mine:
                rows.append({
                    "scenario": one.scenario, "trial": one.trial, "deployment": one.deployment,
                    "block": block.name, "kind": str(block.kind), "arm": one.arm, "datapath": one.datapath,
                    "rate_per_s": block.load.rate_per_s, "connections": block.load.connections,
                    "service_time_s": block.load.service_time_s, "windows": len(mine),
                    "window_s": mine[0].duration_s, "valid": gates.valid(one.findings, block.name),
                    "failed": ", ".join(failed),
                })  # fmt: skip
    return framed(blocks, rows)


def windows(run: Store) -> pd.DataFrame:
    """One row a window: whose turn it was, and when.

    Columns:
        trial, block, kind: where; ladder, slices, cost, hold or referee
        round, window: the round it belongs to, and its index in the block
        arm: whose turn
        start_s, duration_s: since the block's epoch, and how long, s
    """
    rows = [
        {"trial": t.name, "block": b.name, "kind": str(b.kind), "round": w.round, "window": w.index, "arm": w.arm,
         "start_s": w.start_s, "duration_s": w.duration_s}
        for t in run.trials() for b in t.blocks for w in b.windows
    ]  # fmt: skip
    return framed(windows, rows)


def findings(run: Store) -> pd.DataFrame:
    """One row a gate, arm and block of a trial: what it found.

    Columns:
        trial, deployment, arm, block: where
        gate: which
        passed: it has nothing to say against the block
        value, limit: what it measured and what it allows, in the gate's own unit; empty where it has none
        detail: in words
    """
    rows = [
        {"trial": one.trial, "deployment": one.deployment, "arm": one.arm, **asdict(found)}
        for one in run.runs()
        for found in one.findings
    ]
    return framed(findings, rows)


def readings(run: Store, meter: str = "") -> pd.DataFrame:
    """One row a number that one meter saw; of all meters, or of one.

    Columns:
        trial, deployment: where
        meter, block, window: who saw it, in which block and window; -1: the whole block
        arm, part, subject: whose, which part (app, datapath, load, kernel, host), and which process or place
        metric: names its unit: `_s` seconds, `_bytes` bytes
        value: what was seen, in the metric's unit
    """
    rows = [
        {"trial": one.trial, "deployment": one.deployment, **vars(reading)}
        for one in run.runs()
        for reading in one.readings
        if not meter or reading.meter == meter
    ]
    return framed(readings, rows)


def host(run: Store) -> pd.DataFrame:
    """One row about a second of a trial: the machine beside the measurement.

    Columns:
        trial: during which
        elapsed_s: since the trial's first row, s
        monotonic_ns: CLOCK_MONOTONIC at the row's end, ns
        interval_s: the time that the row is about, s
        steal_share, idle_share, softirq_share: shares of all cores' time: the hypervisor took it, idle, soft interrupts
        load_1m: the kernel's load average
        context_switches_per_s: of all cores
        cpu_pressure, memory_pressure, io_pressure: shares of time in which somebody waited for it
    """
    series = [run.host(name).to_pandas().assign(trial=name) for name in (t.name for t in run.trials())]
    if not any(len(one) for one in series):
        return framed(host, ())
    frame: pd.DataFrame = pd.concat([one for one in series if len(one)], ignore_index=True)
    first = frame.groupby("trial")["monotonic_ns"].transform("min")
    frame["elapsed_s"] = (frame["monotonic_ns"] - first) / 1e9
    return frame.reindex(columns=list(framed(host, ()).columns))
