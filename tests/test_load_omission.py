"""The proof that the engine is free of coordinated omission: a stall is charged to everyone who came during it."""

import shutil
import threading

import numpy as np
import numpy.typing as npt
import pytest
from load_faults import Exchange, serving, well
from scipy.stats import kstest

from lab.load.engine import Target, offer
from lab.load.report import EngineReport
from lab.load.schedule import offsets
from lab.record import Arrivals, Outcome, Window

STALL_S = 0.6
QUICK_S = 0.03  # an answer slower than this was delayed

pytestmark = pytest.mark.skipif(shutil.which("clang") is None, reason="clang is missing (apt-get install clang)")


def stalled(rate_per_s: float, arrivals: Arrivals, connections: int = 20) -> EngineReport:
    """2 s of load on a server that stands still for STALL_S once, when a quarter of the load has passed."""
    stall_at = connections + rate_per_s * 0.5

    whole = threading.Lock()  # of the server: it stands still as one

    def once(exchange: Exchange) -> None:
        with whole:
            if exchange.number == stall_at:
                exchange.pause(STALL_S)
            well(exchange)

    scheduled, window = offsets([Window(0, 0, "a", 0.0, 2.0)], rate_per_s, arrivals, 5)
    with serving(once) as server:
        report = offer(Target("127.0.0.1", server.port, "/", connections, 5.0), scheduled, window)
    assert report.outcomes()[Outcome.OK] == len(scheduled)
    return report


def seconds(report: EngineReport, since: str) -> npt.NDArray[np.float64]:
    return np.asarray((report.requests["done_ns"] - report.requests[since]) / 1e9, np.float64)


@pytest.mark.parametrize("arrivals", list(Arrivals))
@pytest.mark.parametrize("rate", [500.0, 1000.0])
def test_a_stall_delays_all_that_were_due_in_it_uniformly(rate: float, arrivals: Arrivals) -> None:
    response = seconds(stalled(rate, arrivals), "scheduled_ns")
    delayed = response[response > QUICK_S]
    expected = rate * (STALL_S - QUICK_S)
    assert 0.85 * expected < len(delayed) < 1.35 * expected  # more: the backlog takes a while to clear
    longest = delayed.max()
    assert longest >= STALL_S * 0.98
    spread = kstest((delayed - QUICK_S) / (longest - QUICK_S), "uniform")
    assert spread.statistic < 0.12


def test_measured_from_the_send_the_stall_all_but_disappears() -> None:
    connections, rate = 20, 1000.0
    report = stalled(rate, Arrivals.UNIFORM, connections)
    service, response = seconds(report, "sent_ns"), seconds(report, "scheduled_ns")
    assert (response > QUICK_S).sum() > 400
    # only those that were on a connection when it happened know of it; the p95 would not
    assert (service > STALL_S / 2).sum() <= connections
    assert np.quantile(service, 0.95) < STALL_S / 4 < np.quantile(response, 0.95)


def test_with_a_connection_for_everyone_nobody_waits_in_line() -> None:
    report = stalled(500.0, Arrivals.UNIFORM, connections=400)
    assert seconds(report, "sent_ns").max() >= STALL_S * 0.98
    delayed = (seconds(report, "sent_ns") > QUICK_S).sum()
    assert delayed >= 0.85 * 500 * (STALL_S - QUICK_S)  # the open loop goes on sending while the server stands still
