"""Is one block of one arm valid? Each gate gives one finding, from stored data only, so that a checker can judge again.

What a gate reads, beside the raw requests (columns of `lab.record`'s raw table; times in ns since the block's epoch):

| meter | part | subject | metric | meaning |
|---|---|---|---|---|
| engine | load | any | `on_wire_requests` | requests put on the wire in the block, warm-ups included |
| engine | load | any | `connects`, `reconnects` | connections opened before the start; opened again after it |
| datapath | datapath | observer | `seen_requests`, `not_understood_requests` | what it counted in the block |
| datapath | datapath | observer | `taken_connections` | connections it took from the clients in the block |
| datapath | datapath | `formula` | `connections_per_connection` | connections the arm makes of one of the application |
| datapath | datapath | `formula` | `connections_pooled` | instead, where it pools them and there is no such number |
| engine | load | any | `cpu_user_s`, `cpu_system_s` | CPU time of following the schedule |
| host | host | any | `steal_share` | share of all cores' time taken by the hypervisor, per window |
| connections | kernel | `path` | `connections` | TCP connections counted on the arm's path while they were held |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from lab.gates.raw import Floats, Requests, answered, by_window, judged, of_engines, own_lag_s, response_s
from lab.record import OUTCOMES, Block, Feature, Finding, Outcome, Reading, Window

__all__ = [
    "BASELINE",
    "answered",
    "judge",
    "judged",
    "kept",
    "overloaded",
    "own_lag_s",
    "parity",
    "response_s",
    "stolen",
    "valid",
]

BASELINE = "none"  # the arm without a mesh, against which every other is compared
LEAST_ACHIEVED = 0.999
MOST_LAG_S = {"p99": 0.001, "mean": 0.0001, "p50": 0.0001}
MOST_LAG = 0.1  # of what is reported
MOST_GENERATOR = 0.8  # of one core
MOST_STEAL = 0.02  # of all cores' time in one window
MOST_GROWTH_S = 0.005  # of the median response time, from the first to the last third of a window
LEAST_FOR_GROWTH_S = 0.5  # shorter windows say nothing of growth

OVERLOAD = frozenset({"achieved", "errors", "backlog"})
"""Gates that fail where an arm cannot carry the load: an outcome (saturated), never a discarded run."""
OF_METRIC = {"lag": "p99", "lag_mean": "mean", "lag_p50": "p50"}
"""Gates that void one metric only: an engine late for one request in a hundred spoils the p99 and not the median."""
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
        *_lag(block, arm, requests, stolen(block, mine)),
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


def valid(findings: Iterable[Finding], block: str, metric: str = "") -> bool:
    """May this block's data be compared, in one metric or (none given) at all? Gates that only label do not count."""
    skipped = LABELS | {gate for gate, voids in OF_METRIC.items() if voids != metric}
    return all(f.passed for f in findings if f.block in (block, "") and f.gate not in skipped)


def overloaded(findings: Iterable[Finding], block: str) -> bool:
    """Did the arm fail to carry this block's load?"""
    return any(not f.passed for f in findings if f.block == block and f.gate in OVERLOAD)


def parity(features: Iterable[Feature], asked: Iterable[Feature], datapath: str) -> Finding:
    """Has the datapath every feature that makes it comparable? The baseline is excused: others are measured by it."""
    missing = sorted(set(asked) - set(features)) if datapath != BASELINE else []
    detail = f"{datapath} lacks {', '.join(missing)}" if missing else "features are as asked"
    return Finding("parity", "", not missing, detail)


def stolen(block: Block, readings: Iterable[Reading]) -> frozenset[int]:
    """Windows in which the hypervisor took more than `MOST_STEAL` of the machine."""
    return frozenset(
        r.window for r in readings if r.block == block.name and r.metric == "steal_share" and r.value > MOST_STEAL
    )


def _achieved(block: Block, arm: str, requests: Requests, excused: frozenset[int]) -> Finding:
    """Answered before its window and guard were over; windows that the hypervisor took are excused."""
    counted = np.isin(requests["window"], _clean(block, arm, excused))
    ends = by_window(block, {w.index: _end_ns(block, w) for w in block.windows})
    in_time = answered(requests) & (requests["done_ns"] <= ends[requests["window"]])
    offered = int(counted.sum())
    share = int((in_time & counted).sum()) / offered if offered else 0.0
    detail = f"{share:.4%} of {offered} requests were answered in time"
    return Finding("achieved", block.name, share >= LEAST_ACHIEVED, detail, share, LEAST_ACHIEVED)


def _clean(block: Block, arm: str, excused: frozenset[int]) -> list[int]:
    """The arm's windows that are not excused; all of them where fewer than half would be left."""
    windows = [w.index for w in block.only(arm)]
    clean = [w for w in windows if w not in excused]
    return clean if len(clean) * 2 >= len(windows) else windows


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


def _lag(block: Block, arm: str, requests: Requests, excused: frozenset[int]) -> Iterator[Finding]:
    """The engine's own lateness against what is reported, metric by metric; windows the hypervisor took are excused.

    The p99 is of all windows together. Median and mean are those of the middle window: rounds are summed up by a
    median, so that what one stalled window shows is not what is reported. Of several engines the latest is judged:
    among the requests of all, one in four that is always late would not move a median.
    """
    windows = _clean(block, arm, excused)
    engines = of_engines(block, requests)
    late = [[own_lag_s(rows[rows["window"] == w]) for w in windows] for rows in engines]
    done = requests[answered(requests)]
    response = [response_s(done[done["window"] == w]) for w in windows]
    for gate, metric in OF_METRIC.items():
        lags_s = [lag_s for each in late if (lag_s := _typical(each, metric)) is not None]
        lag_s, reported_s = max(lags_s, default=None), _typical(response, metric)
        if lag_s is None or reported_s is None:
            yield Finding(gate, block.name, False, "no request was answered")
            continue
        limit = max(MOST_LAG_S[metric], MOST_LAG * reported_s)
        detail = f"the engine's own lateness: {metric} {lag_s * 1e3:.3f} ms; allowed are {limit * 1e3:.3f} ms"
        yield Finding(gate, block.name, lag_s <= limit, detail, lag_s, limit)


def _typical(windows: Sequence[Floats], metric: str) -> float | None:
    """The p99 of all windows together, or the middle window's mean or median; None of nothing."""
    full = [w for w in windows if len(w)]
    if not full:
        return None
    if metric == "p99":
        return float(np.quantile(np.concatenate(full), 0.99))
    return float(np.median([w.mean() if metric == "mean" else np.median(w) for w in full]))


def _connections(block: Block, readings: Sequence[Reading]) -> Finding:
    opened, again = _total(readings, "engine", "connects"), _total(readings, "engine", "reconnects")
    if opened is None or again is None:
        return Finding("connections", block.name, False, "the engine did not say how many connections it opened")
    planned = block.load.connections
    detail = f"{opened:.0f} connections of {planned} planned, {again:.0f} opened again"
    return Finding("connections", block.name, opened == planned and again == 0, detail, opened + again, planned)


def _generator(block: Block, arm: str, readings: Sequence[Reading]) -> Iterator[Finding]:
    """The engine's share of its core while it was its turn. A spinning engine takes all of it on purpose."""
    user, system = (
        {r.subject: r.value for r in readings if (r.meter, r.metric) == ("engine", f"cpu_{kind}_s")}
        for kind in ("user", "system")
    )
    if block.load.spin:
        return
    if user.keys() != system.keys() or len(user) != block.load.engines:
        yield Finding("generator", block.name, False, "the engine's CPU time was not read")
        return
    busiest_s = max(user[engine] + system[engine] for engine in user)  # of several, the busiest is judged
    share = busiest_s / sum(w.duration_s for w in block.only(arm))
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
    """The accounting proof: every observer saw what the engine put on the wire, or took the connections it opened."""
    yield from _taken(block, readings)
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


def _taken(block: Block, readings: Sequence[Reading]) -> Iterator[Finding]:
    """Of observers that only know connections."""
    counts = [_total(readings, "engine", name) for name in ("connects", "reconnects")]
    opened = sum(count for count in counts if count is not None) if None not in counts else None
    for r in sorted(readings, key=lambda r: r.subject):
        if r.metric == "taken_connections":
            detail = f"{r.subject} took {r.value:.0f} of {opened or 0:.0f} connections"
            yield Finding("accounting", block.name, r.value == opened, detail, r.value, opened)


def _sockets(block: Block, readings: Sequence[Reading]) -> Iterator[Finding]:
    """Each application connection became as many as the arm's formula says."""
    counted = [r.value for r in readings if (r.meter, r.subject, r.metric) == ("connections", "path", "connections")]
    factor = _total(readings, "datapath", "connections_per_connection")
    if not counted:
        return
    if _total(readings, "datapath", "connections_pooled"):
        detail = f"{counted[0]:.0f} connections on the path; it pools them, so that no number is expected"
        yield Finding("sockets", block.name, True, detail, counted[0])
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
