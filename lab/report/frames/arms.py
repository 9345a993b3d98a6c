"""What the summary says of arms, as frames: one row an arm and load."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd

from lab.report.frames.naming import framed, outcomes, spread
from lab.store import Store


def latencies(run: Store) -> pd.DataFrame:
    """One row an arm and load: its valid windows pooled.

    Columns:
        scenario: the question that was asked
        load: name of the block of windows, e.g. `slices-5000`
        rate_per_s: requests/s that were offered
        connections: TCP connections that the client held open
        service_time_s: seconds that the server sleeps in each request
        arm, datapath: who was measured, and which datapath it is
        deployments: how often everything was placed anew
        windows, windows_void: windows that count, and windows that a gate left out
        requests: requests in the windows that count
        achieved: answered in time / offered, a share
        response_p50_s, response_mean_s, response_p90_s, response_p99_s: from the scheduled send to the answer, s
        response_p999_s: the same; empty below 100,000 requests, s
        service_p50_s: from the actual send to the answer, s
        lag_p50_s, lag_p99_s: the actual send after the scheduled one, s
        outcome_ok, outcome_timeout, outcome_reset, outcome_refused, outcome_not_sent, outcome_malformed: requests
            that ended so
    """
    rows = []
    for one in run.summary().latencies:
        row = asdict(one)
        ended = outcomes(row.pop("outcomes"))
        rows.append(row | ended)
    return framed(latencies, rows)


def contrasts(run: Store) -> pd.DataFrame:
    """One row an arm, load and metric: the arm held against the baseline, round by round.

    Columns:
        scenario, load: the question, and the name of the block
        rate_per_s: requests/s that were offered
        service_time_s: seconds that the server sleeps in each request
        arm, base: who is compared, and with whom
        metric: p50, mean or p99 of the response time
        ratio, ratio_low, ratio_high: arm / base, Hodges-Lehmann of the rounds, with its 95 % interval
        geometric_ratio, geometric_ratio_low, geometric_ratio_high: the same by the geometric mean
        difference_s, difference_s_low, difference_s_high: arm - base with its 95 % interval, s
        deployments, rounds: how often placed anew, and rounds in all
        wilcoxon_p, holm_p: p of Wilcoxon's signed-rank test; corrected for the number of contrasts
        noise_floor: half width of the interval between two arms that are the same, as a ratio - 1
        detectable: the smallest effect that this much data can show, as a ratio - 1
        verdict, because: fixed words, and what they stand on
    """
    rows = []
    for one in run.summary().contrasts:
        row = asdict(one)
        del row["rounds_ratio"]
        for name in ("ratio", "geometric_ratio", "difference_s"):
            row |= spread(name, row.pop(name))
        rows.append(row)
    return framed(contrasts, rows)


def rounds(run: Store) -> pd.DataFrame:
    """One row a round of a contrast: what an interval was made from.

    Columns:
        scenario, load: the question, and the name of the block
        arm, metric: who, and p50, mean or p99 of the response time
        deployment, round: which of the deployments, and which round of it
        ratio: arm / base within that round
    """
    names = ("scenario", "load", "arm", "metric", "deployment", "round", "ratio")
    found = [
        (c.scenario, c.load, c.arm, c.metric, deployment, number, ratio)
        for c in run.summary().contrasts
        for deployment, number, ratio in c.rounds_ratio
    ]
    return framed(rounds, (dict(zip(names, row, strict=True)) for row in found))


def capacity(run: Store) -> pd.DataFrame:
    """One row an arm and step of the ladder of rates.

    Columns:
        scenario: the question that was asked
        arm, datapath: who climbed
        rate_per_s: requests/s offered in this step
        achieved: answered in time / offered, a share
        response_p50_s, response_p99_s: from the scheduled send to the answer, s
        kept: the arm carried this rate in every deployment
        kept_per_s: the highest rate that it kept, requests/s; empty: none
        saturated_per_s: the lowest rate that it did not keep, requests/s; empty: the ladder ended first
    """
    names = ("rate_per_s", "achieved", "response_p50_s", "response_p99_s", "kept")
    rows = []
    for one in run.summary().capacities:
        row = asdict(one)
        steps = row.pop("steps")
        rows += [{**row, **dict(zip(names, step, strict=True))} for step in steps]
    return framed(capacity, rows)


def costs(run: Store) -> pd.DataFrame:
    """One row an arm, load and part: CPU time per request. `bpf` lies within the others, `total` is their sum.

    Columns:
        scenario, load: the question, and the name of the block
        rate_per_s: requests/s that were offered
        arm: whose pods, nodes and datapath
        part: app, datapath, load (the engine), instrument, kernel (nobody's: interrupts, idle turns), bpf or total
        kind: user or system; empty where the part is not divided
        per_request_s, per_request_s_low, per_request_s_high: CPU seconds per request, with the 95 % interval
        requests: requests that the time was divided by
    """
    rows = []
    for one in run.summary().costs:
        row = asdict(one)
        for key, estimate in row.pop("per_request_s").items():
            part, _, kind = key.partition(".")
            rows.append({**row, "part": part, "kind": kind, **spread("per_request_s", estimate)})
    return framed(costs, rows)


def memory(run: Store) -> pd.DataFrame:
    """One row an arm, load and part: what its processes hold, mean over deployments.

    Columns:
        scenario, load: the question, and the name of the block
        arm, part: whose, and app, datapath or load
        processes, places: how many processes, in how many pods or nodes
        pss_bytes: resident, pages that are shared split between those who share them, bytes
        private_bytes: resident pages of these processes alone, bytes
        rss_bytes: resident, shared pages counted in full once a process, bytes
        bpf_bytes: maps and programs as the kernel charges them, bytes
    """
    return framed(memory, map(asdict, run.summary().memories))


def connections(run: Store) -> pd.DataFrame:
    """One row an arm, number of connections and place on the path: TCP sockets counted in every namespace.

    Columns:
        scenario, load: the question, and the name of the block
        arm, datapath: whose path
        connections: TCP connections that the application's client held
        place: pod or node, and process
        sockets: sockets counted there
        observed_per_connection: TCP connections on the whole path / connections of the application
        expected_per_connection: what the arm says it makes of one
        memory_bytes_per_connection: structures and buffers of all sockets on the path / connections, bytes
        traced_per_connection: the same number by the tracepoint's count; empty where it did not run
    """
    rows = []
    for one in run.summary().sockets:
        row = asdict(one)
        hops = row.pop("hops")
        rows += [{**row, "place": place, "sockets": count} for place, count in hops.items()]
    return framed(connections, rows)


def accounting(run: Store) -> pd.DataFrame:
    """One row an arm and observer: the proof that the datapath was in the path.

    Columns:
        scenario, arm: the question, and whose count
        observer: who counted
        sent, seen: requests put on the wire by the engine, and requests that the observer counted
        not_understood: messages that it could not read
    """
    return framed(accounting, map(asdict, run.summary().accounting))
