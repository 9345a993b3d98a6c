"""Is one walk of a journey valid? From its record and its raw requests only, so that a checker can judge again.

| gate | passes where |
|---|---|
| recorded | there are as many raw requests of each step, and as many failures, as Locust itself counted |
| accounting | each observer of the datapath counted as many requests as Locust's clients put on the wire |
| generator | the busiest of Locust's processes left some of its core unused |
| users | no task of a user broke off by an exception of its own: the locustfile is right |
| parity | the datapath has the features that make it comparable |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from lab.behaviour import Walk
from lab.gates import parity
from lab.record import OUTCOMES, Feature, Finding, Outcome

MOST_CPU = 0.8  # of one core; above, Locust measures itself

Rows = npt.NDArray[Any]
"""Raw requests of one walk: columns `lab.behaviour.COLUMNS`."""


def judge(walk: Walk, rows: Rows, asked: Iterable[Feature]) -> tuple[Finding, ...]:
    """Every gate of one walk (its own findings are ignored). `asked` are the features that arms must share."""
    return (
        _recorded(walk, rows),
        *_accounting(walk, rows),
        _generator(walk),
        _users(walk),
        parity(walk.features, asked, walk.datapath),
    )


def valid(walk: Walk) -> bool:
    """May it be compared?"""
    return all(finding.passed for finding in walk.findings)


def contradiction(walk: Walk, rows: Rows) -> str:
    """In what the raw requests contradict themselves or the walk's record; empty: in nothing."""
    if len(rows) and int(rows["step"].max()) >= len(walk.steps):
        return "it has requests of steps that have no name"
    if len(rows) and not 0 <= rows["outcome"].min() <= rows["outcome"].max() < len(OUTCOMES):
        return "it has outcomes that do not exist"
    if wrong := int((answered(rows) & (rows["sends"] == 0)).sum()):
        return f"it has {wrong} requests that were answered and never sent"
    return ""


def answered(rows: Rows) -> npt.NDArray[np.bool_]:
    """Requests with a complete answer and a time, whatever its status."""
    return np.asarray((rows["outcome"] == OUTCOMES.index(Outcome.OK)) & (rows["duration_ns"] >= 0))


def judged(rows: Rows, settle_s: float, lasted_s: float) -> npt.NDArray[np.bool_]:
    """Requests that began after the users had settled and before they were asked to leave."""
    start_s = rows["start_ns"] / 1e9
    return np.asarray((start_s >= settle_s) & (start_s < lasted_s))


def _recorded(walk: Walk, rows: Rows) -> Finding:
    counts = np.bincount(rows["step"], minlength=len(walk.steps)).tolist()
    failures = np.bincount(rows["step"][rows["failed"] == 1], minlength=len(walk.steps)).tolist()
    ours = {step: (counts[n], failures[n]) for n, step in enumerate(walk.steps)}
    theirs = {tally.step: (tally.requests, tally.failures) for tally in walk.tallies}
    total = sum(tally.requests for tally in walk.tallies)
    wrong = sorted(step for step in ours.keys() | theirs.keys() if ours.get(step) != theirs.get(step))
    detail = f"{len(rows)} requests are recorded, Locust counted {total}"
    if wrong:
        detail += f"; they differ in {', '.join(wrong)}"
    return Finding("recorded", "", not wrong and total > 0, detail, len(rows), total)


def _accounting(walk: Walk, rows: Rows) -> Iterator[Finding]:
    sent = int(rows["sends"].sum())
    if not walk.seen and Feature.HTTP_METRICS in walk.features:
        yield Finding("accounting", "", False, "the datapath counts requests, but no count was read")
    for count in walk.seen:
        detail = f"{count.observer} saw {count.requests} of {sent} requests"
        yield Finding("accounting", "", count.requests == sent, detail, count.requests, sent)


def _generator(walk: Walk) -> Finding:
    detail = f"Locust's busiest process used {walk.cpu_share:.0%} of one core"
    return Finding("generator", "", walk.cpu_share <= MOST_CPU, detail, walk.cpu_share, MOST_CPU)


def _users(walk: Walk) -> Finding:
    detail = f"{walk.errors} tasks of users broke off by an exception of their own; Locust's log has it"
    return Finding("users", "", walk.errors == 0, detail, walk.errors, 0)
