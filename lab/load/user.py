"""The steady engine as a Locust user: an open loop whose requests show in Locust's statistics and pages.

    class Checkout(SteadyUser):
        rate_per_s = 2000
        path = "/bytes/512"

One such user offers its whole schedule by itself: many requests at once, from one thread outside Python, each due at a
time that was fixed before. Each becomes one request event of Locust's, with the response time from its schedule in full
resolution, while the load runs; so Locust's totals are the engine's. Only what was never answered is told at the end.

`locust -f lab/load/locustfile.py --host http://ADDRESS:PORT --rate 2000` is a user of this kind by hand.
"""

# mypy: disable-error-code="no-untyped-call, untyped-decorator, import-untyped"
from __future__ import annotations

import json
import logging
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import gevent
import numpy as np
import numpy.typing as npt
from gevent.event import AsyncResult
from locust import User, task
from locust.exception import StopUser

from lab.load.engine import Engine, Target
from lab.load.report import EngineReport
from lab.load.schedule import give_up, offsets
from lab.record import OUTCOMES, Arrivals, Mistake, Outcome, Window

BEAT_S = 0.2  # how often what was answered is told to Locust
AHEAD_S = 0.05  # from the last warm-up to the schedule's zero

Rows = npt.NDArray[Any]


class NotAnswered(Exception):
    """A request of the engine that got no answer, or one that says no; `outcome` says which."""

    def __init__(self, outcome: Outcome, status: int) -> None:
        super().__init__(f"status {status}" if outcome is Outcome.OK else str(outcome))
        self.outcome = outcome


class SteadyUser(User):
    """Offers one schedule and leaves. Subclasses say which; `report` is what the engine did, once it has.

    `seed` decides the send times; `label` is the step's name in Locust's statistics, the path by default.
    """

    abstract = True
    fixed_count = 1

    rate_per_s: float = 1000.0
    seconds: float = 10.0
    connections: int = 32
    path: str = "/bytes/128"
    arrivals: Arrivals = Arrivals.POISSON
    timeout_s: float = 2.0
    seed: int = 1
    label: str = ""
    report: EngineReport | None = None

    @task
    def offer(self) -> None:
        """The whole schedule. Locust may end it early: nothing more is sent then, and what was is told."""
        window = Window(0, 0, type(self).__name__, 0.0, self.seconds)
        scheduled, windows = offsets([window], self.rate_per_s, self.arrivals, self.seed)
        last = give_up([window], windows, 2 * self.timeout_s)
        with Engine(self._target(), scheduled, windows, last) as engine:
            self._aside(engine.open).get()
            epoch_ns = time.monotonic_ns() + round(AHEAD_S * 1e9)
            self.report = self._run(engine, epoch_ns)
        logging.info("steady engine: %s", json.dumps(self.report.counts()))
        raise StopUser

    def _target(self) -> Target:
        """Where the requests go: the host as Locust has it, which must be plain http."""
        url = urlsplit(self.host or "")
        if url.scheme != "http" or not url.hostname:
            raise Mistake(f"host={self.host!r}; the engine speaks plain HTTP: give --host http://ADDRESS:PORT")
        address = socket.gethostbyname(url.hostname)
        return Target(address, url.port or 80, self.path, self.connections, self.timeout_s)

    def _aside(self, work: Any, *given: Any) -> AsyncResult:
        """In a thread of its own, so that Locust's other users, pages and workers go on meanwhile."""
        return gevent.get_hub().threadpool.spawn(work, *given)

    def _run(self, engine: Engine, epoch_ns: int) -> EngineReport:
        """Follow the schedule and tell Locust what was answered, as it is answered."""
        told = np.zeros(len(engine.requests), bool)
        running = self._aside(engine.run, epoch_ns)
        try:
            while not running.ready():
                gevent.sleep(BEAT_S)
                self._tell(engine.requests, told, time.monotonic_ns() - epoch_ns - round(BEAT_S * 1e9), epoch_ns)
        finally:
            engine.stop()  # nothing to stop where it is through
            report: EngineReport = running.get()
            self._tell(report.requests, told, None, epoch_ns)
        return report

    def _tell(self, rows: Rows, told: npt.NDArray[np.bool_], until_ns: int | None, epoch_ns: int) -> None:
        """Requests that were answered before `until_ns` and not told yet; None: all that are left.

        The engine writes these rows while they are read; one that was answered a beat ago it does not touch any more.
        """
        if until_ns is None:
            fresh = np.flatnonzero(~told)
        else:
            due = slice(int(np.argmin(told)), int(np.searchsorted(rows["scheduled_ns"], until_ns)))
            done = rows["done_ns"][due]
            fresh = due.start + np.flatnonzero(~told[due] & (done >= 0) & (done < until_ns))
        told[fresh] = True
        begun_s = time.time() - (time.monotonic_ns() - epoch_ns) / 1e9
        for row in rows[fresh]:
            self._fire(row, epoch_ns, begun_s)

    def _fire(self, row: Any, epoch_ns: int, begun_s: float) -> None:
        """One request event. Its time is from schedule; the context has the engine's own clock readings."""
        outcome = OUTCOMES[row["outcome"]]
        scheduled_ns, status = int(row["scheduled_ns"]), int(row["status"])
        answered = outcome is Outcome.OK
        failure = None if answered and status < 400 else NotAnswered(outcome, status)
        self.environment.events.request.fire(
            request_type="GET",
            name=self.label or self.path,
            response_time=(int(row["done_ns"]) - scheduled_ns) / 1e6 if answered else None,
            response_length=0,
            exception=failure,
            start_time=begun_s + scheduled_ns / 1e9,
            context={
                "start_ns": epoch_ns + scheduled_ns,
                "status": status,
                "sent_ns": int(row["sent_ns"]),
                "first_byte_ns": int(row["first_byte_ns"]),
                "done_ns": int(row["done_ns"]),
                "connection": int(row["connection"]),
            },
        )
