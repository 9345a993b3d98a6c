"""What a table of raw requests says of one block: which count, how long they took, how late the engine was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lab.record import OUTCOMES, Block, Outcome

Requests = npt.NDArray[Any]  # structured: one row a request
Floats = npt.NDArray[np.float64]


def answered(requests: Requests) -> npt.NDArray[np.bool_]:
    """Requests that got a complete answer with a status of 2xx."""
    ok = requests["outcome"] == OUTCOMES.index(Outcome.OK)
    return np.asarray(ok & (requests["status"] >= 200) & (requests["status"] < 300))


def judged(block: Block, requests: Requests) -> npt.NDArray[np.bool_]:
    """Requests that count for latency: scheduled after the dropped first part of their window."""
    opens = by_window(block, {w.index: round((w.start_s + block.drop_s) * 1e9) for w in block.windows})
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


def of_engines(block: Block, requests: Requests) -> tuple[Requests, ...]:
    """What each of the load's engines sent, told by its connections (`Load.shares`)."""
    if block.load.engines == 1:
        return (requests,)
    last = np.cumsum(block.load.shares)
    sent = requests[requests["connection"] >= 0]
    number = np.searchsorted(last, sent["connection"], side="right")
    return tuple(sent[number == engine] for engine in range(block.load.engines))


def by_window(block: Block, values: Mapping[int, int]) -> npt.NDArray[np.int64]:
    """The values as an array that window indices can look up."""
    table = np.zeros(max((w.index for w in block.windows), default=-1) + 1, dtype=np.int64)
    for index, value in values.items():
        table[index] = value
    return table
