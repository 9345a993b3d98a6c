"""What the simulator answered to a forecast, as frames. All of it is simulated, but what others have published."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd

from lab.report.frames.naming import framed, spread
from lab.sim.answer import Answer


def fleet(answer: Answer) -> pd.DataFrame:
    """One row an architecture: memory and processors of the whole fleet, simulated.

    Columns:
        arm: the architecture
        full_bytes, full_bytes_low, full_bytes_high: every proxy knows the whole cluster; with its 95 % interval, bytes
        scoped_bytes, scoped_bytes_low, scoped_bytes_high: each knows what its pods call; the same, bytes
        cores, cores_low, cores_high: processors that the datapath keeps busy, with the 95 % interval
        per_call_s, per_call_s_low, per_call_s_high: mean time of one call without queueing, s
    """
    work = {one.arm: one for one in answer.work}
    rows = []
    for one in answer.memories:
        busy = asdict(work[one.arm])
        rows.append({
            "arm": one.arm,
            **spread("full_bytes", asdict(one.full)), **spread("scoped_bytes", asdict(one.scoped)),
            **spread("cores", busy["cores"]), **spread("per_call_s", busy["per_call_s"]),
        })  # fmt: skip
    return framed(fleet, rows)


def fleet_parts(answer: Answer) -> pd.DataFrame:
    """One row an architecture and quantity: what the fleet's memory is made of, simulated.

    Columns:
        arm: the architecture
        quantity: a coefficient of the calibration, multiplied by how often it is there
        memory_bytes: in the whole fleet, with tables as the forecast asked, bytes
    """
    rows = [{"arm": m.arm, "quantity": k, "memory_bytes": v} for m in answer.memories for k, v in m.parts.items()]
    return framed(fleet_parts, rows)


def fleet_latency(answer: Answer) -> pd.DataFrame:
    """One row an architecture and engine: requests from outside, with all calls they cause; simulated.

    Columns:
        arm: the architecture
        engine: closed (a formula) or requests (one by one)
        mean_s, p50_s, p99_s, p999_s: of whole requests, s
        covered: share of the graph's calls that the paths make
        requests: requests that were simulated; 0 for the formula
    """
    return framed(fleet_latency, map(asdict, answer.latencies))


def published_footprints(answer: Answer) -> pd.DataFrame:
    """One row a footprint that others have published, multiplied by this fleet: not ours, not simulated.

    Columns:
        name, per: what it is, and what one of it serves (pod or node)
        each_bytes, memory_bytes: of one, and of all in this fleet, bytes
        cores: processors at the forecast's calls; empty: not published
        conditions, source, date: under which load, where and when it was published
    """
    return framed(published_footprints, map(asdict, answer.published))


def swings(answer: Answer) -> pd.DataFrame:
    """One row an architecture and input: one input at the ends of its range, all others as they are; simulated.

    Columns:
        arm, name: the architecture, and the input
        low, high: memory of the fleet with the input at its low and at its high end, bytes
    """
    return framed(swings, ({"arm": arm, **asdict(one)} for arm, found in answer.swings.items() for one in found))


def indices(answer: Answer) -> pd.DataFrame:
    """One row an architecture and input: Sobol indices, the share of the variance of its memory; simulated.

    Columns:
        arm, name: the architecture, and the input
        first, total: share by this input alone; and with all others together
        width: half width of the 95 % interval of `total`
    """
    return framed(indices, ({"arm": arm, **asdict(one)} for arm, found in answer.indices.items() for one in found))
