"""Fortio's JSON, one file an arm and block, for `fortio report` and what reads it.

Fields: periodic.RunnerResults, fhttp.HTTPRunnerResults of fortio 1.75.2 (https://github.com/fortio/fortio). Times are
of complete answers, from schedule unless asked otherwise; requests without one are counted under status -1 and timed
nowhere. Percentiles are of the raw requests; the buckets are 2.2 % wide.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import numpy as np

from lab.exchange.export.asked import Asked
from lab.exchange.export.series import Ints, Series, series
from lab.record import Arrivals
from lab.store import Store

PERCENTILES = (50.0, 75.0, 90.0, 99.0)
RARE = (99.9, 100_000)  # a percentile, and how many requests it needs
PER_OCTAVE = 32
NOTHING: Mapping[str, Any] = {"Count": 0, "Min": 0, "Max": 0, "Sum": 0, "Avg": 0, "StdDev": 0, "Data": None}


def files(store: Store, asked: Asked) -> Mapping[str, bytes]:
    """One JSON file a series."""
    times = asked.times or "response"
    return {
        f"{one.name}.json": json.dumps(_result(store, one, times), indent=1).encode() + b"\n"
        for one in series(store, asked)
    }


def _result(store: Store, one: Series, times: str) -> dict[str, Any]:
    load, values = one.block.load, one.times_ns(times)
    since = "from schedule" if times == "response" else "from send"
    return {
        "RunType": "HTTP",
        "Labels": f"{store.plan.run} {one.name}, open loop, times {since}, {len(one.parts)} deployments",
        "StartTime": store.plan.created,
        "RequestedQPS": f"{load.rate_per_s:.9g}",
        "RequestedDuration": f"{one.judged_s:.9g}s",
        "ActualQPS": len(values) / one.judged_s,
        "ActualDuration": round(one.judged_s * 1e9),
        "NumThreads": load.connections,
        "Version": f"mesh-datapath-lab {metadata.version('mesh-datapath-lab')}",
        "DurationHistogram": histogram(values),
        "ErrorsDurationHistogram": dict(NOTHING),
        "Exactly": 0,
        "Jitter": load.arrivals is Arrivals.POISSON,
        "Uniform": False,
        "NoCatchUp": False,
        "RunID": 0,
        "AccessLoggerInfo": "",
        "ID": f"{store.plan.run}_{one.name}",
        "RetCodes": {**{str(s): n for s, n in one.statuses.items()}, **_lost(one)},
        "URL": f"http://server{load.path}",
        "NumConnections": load.connections,
        "DisableKeepAlive": False,
    }


def _lost(one: Series) -> dict[str, int]:
    lost = one.offered - sum(len(part.rows) for part in one.parts)
    return {"-1": lost} if lost else {}


def histogram(values: Ints) -> dict[str, Any]:
    """stats.HistogramData: seconds, intervals that are open to the right but for the last, percentages cumulated."""
    seconds = values / 1e9
    low, high = float(seconds.min()), float(seconds.max())
    edges = _edges(low, high)
    counts, _ = np.histogram(seconds, edges)
    there = np.flatnonzero(counts)
    data = [
        {
            "Start": float(edges[n]),
            "End": float(edges[n + 1]),
            "Percent": float(100 * counts[: n + 1].sum() / len(values)),
            "Count": int(counts[n]),
        }
        for n in there
    ]
    shares = (*PERCENTILES, *(RARE[:1] if len(values) >= RARE[1] else ()))
    return {
        "Count": len(values),
        "Min": low,
        "Max": high,
        "Sum": float(seconds.sum()),
        "Avg": float(seconds.mean()),
        "StdDev": float(seconds.std()),
        "Data": data,
        "Percentiles": [{"Percentile": p, "Value": float(np.quantile(seconds, p / 100))} for p in shares],
    }


def _edges(low: float, high: float) -> Any:
    """From the least time to the longest, rising by 2^(1/32); two at least."""
    if not 0 < low < high:
        return np.array([low, max(high, math.nextafter(low, math.inf))])
    inner = 2.0 ** (np.arange(math.floor(PER_OCTAVE * math.log2(low)) + 1, PER_OCTAVE * math.log2(high)) / PER_OCTAVE)
    return np.unique(np.concatenate([[low], inner[(inner > low) & (inner < high)], [high]]))
