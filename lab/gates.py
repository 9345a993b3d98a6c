"""Is one block of one arm valid? Each gate gives one finding, from stored data only, so that a checker can judge again.

What a gate reads, beside the raw requests (columns of `lab.record`'s raw table; times in ns since the block's epoch):

| meter | part | subject | metric | meaning |
|---|---|---|---|---|
| engine | load | any | `on_wire_requests` | requests put on the wire in the block, warm-ups included |
| engine | load | any | `connects`, `reconnects` | connections opened before the start; opened again after it |
| datapath | datapath | observer | `seen_requests`, `not_understood_requests` | what it counted in the block |
| datapath | datapath | `formula` | `connections_per_connection` | connections the arm makes of one of the application |
| engine | load | any | `cpu_user_s`, `cpu_system_s` | CPU time of following the schedule |
| host | host | any | `steal_share` | share of all cores' time taken by the hypervisor, per window |
| connections | kernel | `path` | `connections` | TCP connections counted on the arm's path while they were held |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lab.record import OUTCOMES, Block, Feature, Finding, Outcome, Reading, Window

Requests = npt.NDArray[Any]  # structured: one row a request
Floats = npt.NDArray[np.float64]

BASELINE = "none"  # the arm without a mesh, against which every other is compared
LEAST_ACHIEVED = 0.999
MOST_LAG_S = 0.001
MOST_LAG_OF_P99 = 0.1
MOST_GENERATOR = 0.8  # of one core
MOST_STEAL = 0.02  # of all cores' time in one window
MOST_GROWTH_S = 0.005  # of the median response time, from the first to the last third of a window
LEAST_FOR_GROWTH_S = 0.5  # shorter windows say nothing of growth

OVERLOAD = frozenset({"achieved", "errors", "backlog"})
"""Gates that fail where an arm cannot carry the load: an outcome (saturated), never a discarded run."""
LABELS = frozenset({"steal"})
"""Gates that only label: their windows are analysed both with and without."""


def judge(
    block: Block, arm: str, requests: Requests, readings: Iterable[Reading], features: Iterable[Feature] = ()
) -> tuple[Finding, ...]:
    """Every gate that applies to `arm` in `block`. `requests` are that block's; `readings` may hold more.

    A reading that a gate needs and does not find fails the gate: silence is never a pass.
    """
    mine = [r for r in readings if r.block == block.name and r.arm in (arm, "")]
    return (
        _achieved(block, arm, requests, stolen(block, mine)),
        _errors(block, requests),
        *_backlog(block, arm, requests),
        _lag(block, requests),
        _connections(block, mine),
        *_generator(block, arm, mine),
        *_steal(block, arm, mine),
        *_accounting(block, mine, frozenset(features)),
        *_sockets(block, mine),
    )


def kept(block: Block, arm: str, requests: Requests) -> bool:
    """Can the arm keep this block's rate? Asked after each step of the ladder, before any reading is there."""
    findings = (_achieved(block, arm, requests, frozenset()), _errors(block, requests), *_backlog(block, arm, requests))
    return all(f.passed for f in findings)


def valid(findings: Iterable[Finding], block: str) -> bool:
    """May this block's data be compared? Failed gates that only label do not count."""
    return all(f.passed for f in findings if f.block in (block, "") and f.gate not in LABELS)


def overloaded(findings: Iterable[Finding], block: str) -> bool:
    """Did the arm fail to carry this block's load?"""
    return any(not f.passed for f in findings if f.block == block and f.gate in OVERLOAD)


def parity(features: Iterable[Feature], asked: Iterable[Feature], datapath: str) -> Finding:
    """Has the datapath every feature that makes it comparable? The baseline is excused: others are measured by it."""
    missing = sorted(set(asked) - set(features)) if datapath != BASELINE else []
    detail = f"{datapath} lacks {', '.join(missing)}" if missing else "features are as asked"
    return Finding("parity", "", not missing, detail)


def answered(requests: Requests) -> npt.NDArray[np.bool_]:
    """Requests that got a complete answer with a status of 2xx."""
    ok = requests["outcome"] == OUTCOMES.index(Outcome.OK)
    return np.asarray(ok & (requests["status"] >= 200) & (requests["status"] < 300))


def judged(block: Block, requests: Requests) -> npt.NDArray[np.bool_]:
    """Requests that count for latency: scheduled after the dropped first part of their window."""
    opens = _by_window(block, {w.index: round((w.start_s + block.drop_s) * 1e9) for w in block.windows})
    return np.asarray(requests["scheduled_ns"] >= opens[requests["window"]])


def response_s(requests: Requests) -> Floats:
    """Answer complete minus scheduled: the headline. Only for answered requests."""
    return np.asarray((requests["done_ns"] - requests["scheduled_ns"]) / 1e9)


def own_lag_s(requests: Requests) -> Floats:
    """How late the engine itself was: sent minus the moment it could have sent, for every request sent.

    That moment is the schedule or, where every connection was busy, the end of the answer before on the connection
    it got: waiting for a connection is the datapath's doing (it is part of the response time), not the engine's.
    """
    sent = requests[requests["sent_ns"] >= 0]
    sent = sent[np.lexsort((sent["sent_ns"], sent["connection"]))]
    free = np.full(len(sent), -1, dtype=np.int64)
    same = sent["connection"][1:] == sent["connection"][:-1]
    free[1:] = np.where(same, sent["done_ns"][:-1], -1)
    return np.asarray((sent["sent_ns"] - np.maximum(sent["scheduled_ns"], free)) / 1e9)


def stolen(block: Block, readings: Iterable[Reading]) -> frozenset[int]:
    """Windows in which the hypervisor took more than `MOST_STEAL` of the machine."""
    return frozenset(
        r.window for r in readings if r.block == block.name and r.metric == "steal_share" and r.value > MOST_STEAL
    )


def _achieved(block: Block, arm: str, requests: Requests, excused: frozenset[int]) -> Finding:
    """Answered before its window and guard were over; windows that the hypervisor took are excused."""
    windows = block.only(arm)
    judged_windows = [w.index for w in windows if w.index not in excused]
    if len(judged_windows) * 2 < len(windows):
        judged_windows = [w.index for w in windows]  # too few are clean: judge them all
    counted = np.isin(requests["window"], judged_windows)
    ends = _by_window(block, {w.index: _end_ns(block, w) for w in block.windows})
    in_time = answered(requests) & (requests["done_ns"] <= ends[requests["window"]])
    offered = int(counted.sum())
    share = int((in_time & counted).sum()) / offered if offered else 0.0
    detail = f"{share:.4%} of {offered} requests were answered in time"
    return Finding("achieved", block.name, share >= LEAST_ACHIEVED, detail, share, LEAST_ACHIEVED)


def _errors(block: Block, requests: Requests) -> Finding:
    waited = requests["outcome"] == OUTCOMES.index(Outcome.NOT_SENT)  # counted by `achieved`
    wrong = int((~answered(requests) & ~waited).sum())
    return Finding("errors", block.name, wrong == 0, f"{wrong} of {len(requests)} requests failed", wrong, 0)


def _backlog(block: Block, arm: str, requests: Requests) -> Iterator[Finding]:
    """Is the line growing? A small overload answers everything in a short window, only later and later."""
    long = [w for w in block.only(arm) if w.duration_s >= LEAST_FOR_GROWTH_S]
    growths = [_growth_s(w, requests[(requests["window"] == w.index) & answered(requests)]) for w in long]
    if growths:
        worst = max(growths)
        detail = f"the median response time grew by {worst * 1e3:.2f} ms from the first to the last third of a window"
        yield Finding("backlog", block.name, worst <= MOST_GROWTH_S, detail, worst, MOST_GROWTH_S)


def _growth_s(window: Window, requests: Requests) -> float:
    place = (requests["scheduled_ns"] / 1e9 - window.start_s) / window.duration_s
    early, late = response_s(requests[place < 1 / 3]), response_s(requests[place >= 2 / 3])
    if not len(early) or not len(late):
        return float("inf")
    return float(np.median(late) - np.median(early))


def _lag(block: Block, requests: Requests) -> Finding:
    done = requests[answered(requests)]
    if not len(done):
        return Finding("lag", block.name, False, "no request was answered")
    late = float(np.quantile(own_lag_s(requests), 0.99))
    limit = max(MOST_LAG_S, MOST_LAG_OF_P99 * float(np.quantile(response_s(done), 0.99)))
    detail = f"the engine's own lateness has a p99 of {late * 1e3:.3f} ms; allowed are {limit * 1e3:.3f} ms"
    return Finding("lag", block.name, late <= limit, detail, late, limit)


def _connections(block: Block, readings: Sequence[Reading]) -> Finding:
    opened, again = _total(readings, "engine", "connects"), _total(readings, "engine", "reconnects")
    if opened is None or again is None:
        return Finding("connections", block.name, False, "the engine did not say how many connections it opened")
    planned = block.load.connections
    detail = f"{opened:.0f} connections of {planned} planned, {again:.0f} opened again"
    return Finding("connections", block.name, opened == planned and again == 0, detail, opened + again, planned)


def _generator(block: Block, arm: str, readings: Sequence[Reading]) -> Iterator[Finding]:
    """The engine's share of its core while it was its turn. A spinning engine takes all of it on purpose."""
    user, system = (_total(readings, "engine", f"cpu_{kind}_s") for kind in ("user", "system"))
    if block.load.spin:
        return
    if user is None or system is None:
        yield Finding("generator", block.name, False, "the engine's CPU time was not read")
        return
    share = (user + system) / sum(w.duration_s for w in block.only(arm))
    detail = f"the engine used {share:.0%} of one core"
    yield Finding("generator", block.name, share <= MOST_GENERATOR, detail, share, MOST_GENERATOR)


def _steal(block: Block, arm: str, readings: Sequence[Reading]) -> Iterator[Finding]:
    mine = {w.index for w in block.only(arm)} | {-1}
    shares = [r.value for r in readings if r.metric == "steal_share" and r.window in mine]
    if shares:
        over = sum(s > MOST_STEAL for s in shares)
        worst = max(shares)
        detail = f"the hypervisor took over {MOST_STEAL:.0%} in {over} of {len(shares)} windows, {worst:.1%} at most"
        yield Finding("steal", block.name, over == 0, detail, worst, MOST_STEAL)


def _accounting(block: Block, readings: Sequence[Reading], features: frozenset[Feature]) -> Iterator[Finding]:
    """The accounting proof: every observer saw exactly what the engine put on the wire."""
    sent = _total(readings, "engine", "on_wire_requests")
    seen = {r.subject: r.value for r in readings if r.metric == "seen_requests"}
    if not seen and Feature.HTTP_METRICS in features:
        yield Finding("accounting", block.name, False, "the datapath counts requests, but no count was read")
    for observer, count in sorted(seen.items()):
        if sent is None:
            yield Finding(
                "accounting", block.name, False, "the engine did not say how many requests it put on the wire"
            )
        else:
            detail = f"{observer} saw {count:.0f} of {sent:.0f} requests"
            yield Finding("accounting", block.name, count == sent, detail, count, sent)


def _sockets(block: Block, readings: Sequence[Reading]) -> Iterator[Finding]:
    """Each application connection became as many as the arm's formula says."""
    counted = [r.value for r in readings if (r.meter, r.subject, r.metric) == ("connections", "path", "connections")]
    factor = _total(readings, "datapath", "connections_per_connection")
    if not counted:
        return
    if factor is None:
        yield Finding("sockets", block.name, False, "the datapath's formula is not among the readings")
        return
    expected = factor * block.load.connections
    detail = f"{counted[0]:.0f} connections on the path; the formula says {expected:.0f}"
    yield Finding("sockets", block.name, counted[0] == expected, detail, counted[0], expected)


def _total(readings: Sequence[Reading], meter: str, metric: str) -> float | None:
    values = [r.value for r in readings if r.meter == meter and r.metric == metric]
    return sum(values) if values else None


def _end_ns(block: Block, window: Window) -> int:
    return round((window.start_s + window.duration_s + block.guard_s) * 1e9)


def _by_window(block: Block, values: Mapping[int, int]) -> npt.NDArray[np.int64]:
    """The values as an array that window indices can look up."""
    table = np.zeros(max((w.index for w in block.windows), default=-1) + 1, dtype=np.int64)
    for index, value in values.items():
        table[index] = value
    return table
