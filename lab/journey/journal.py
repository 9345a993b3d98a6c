"""Loaded by Locust beside a locustfile (`-f journal.py,…`): writes down every request event, rounded by nobody.

Locust rounds times to whole milliseconds, above 100 ms to two digits, before it makes percentiles of them. The event
carries the time as measured; here each becomes one row (`lab.behaviour.COLUMNS`) of `requests-<worker>.bin` in the
folder MESH_LAB_JOURNAL. When Locust has stopped, `journal-<worker>.json` says how many there are, what their steps are
called, and when the test began.

Nothing here is imported by the lab's own process: `import locust` changes its sockets and threads.
"""

# mypy: disable-error-code="no-untyped-call, untyped-decorator, import-untyped"
# (Locust and gevent have types for some of what they offer)
from __future__ import annotations

import atexit
import contextlib
import json
import os
import random
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import gevent
from gevent.monkey import get_original
from geventhttpclient.connectionpool import ConnectionPool
from geventhttpclient.response import HTTPConnectionClosed
from greenlet import getcurrent, greenlet
from locust import events, runners
from locust.env import Environment
from locust.rpc import Message
from locust.runners import MasterRunner, Runner

from lab.behaviour import COLUMNS
from lab.record import OUTCOMES, Outcome

ROW = struct.Struct(
    "<" + "".join({"u2": "H", "i4": "i", "i8": "q", "i2": "h", "u1": "B", "i1": "b"}[t[1:]] for _, t in COLUMNS)
)
CHUNK = 1 << 16  # bytes that are written at once
GRACE_S = 10.0  # beyond the users' own time to finish, for workers to report
HEARTBEATS = 30  # that a worker may miss, one a second: a busy machine keeps one silent longer than Locust's three
MOST_SENDS = 255
UNSENT = frozenset({Outcome.REFUSED, Outcome.NOT_SENT})


class Journal:
    """What one of Locust's processes saw."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.worker = 0
        self.zero_ns, self.cpu_s = time.monotonic_ns(), time.process_time()
        self.stopped_ns: int | None = None
        self.rows, self.errors = 0, 0
        self.steps: dict[str, int] = {}
        self._pending = bytearray()
        self._users: WeakKeyDictionary[greenlet, int] = WeakKeyDictionary()
        self._connections: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._under_way: WeakKeyDictionary[greenlet, tuple[int, int]] = WeakKeyDictionary()  # sends, connection
        self._opened = 0

    def begin(self, worker: int) -> None:
        """The test starts now; by then a worker knows its number."""
        self.worker, self.rows, self.errors, self.stopped_ns = worker, 0, 0, None
        self.zero_ns, self.cpu_s = time.monotonic_ns(), time.process_time()
        self._pending.clear()
        self._file("requests", "bin").write_bytes(b"")

    def dialling(self) -> None:
        """The current user asks for a connection."""
        self._under_way.setdefault(getcurrent(), (0, -1))

    def sends(self, connection: Any) -> None:
        """The current user is about to put a request on this connection."""
        number = self._connections.get(connection)
        if number is None:
            number = self._connections[connection] = self._opened
            self._opened += 1
        self._under_way[getcurrent()] = min(self._under_way[getcurrent()][0] + 1, MOST_SENDS), number

    def request(
        self,
        request_type: str,
        name: str,
        response_time: float | None,
        response_length: int | None,
        response: Any = None,
        context: dict[str, Any] | None = None,
        exception: BaseException | None = None,
        **_: object,
    ) -> None:
        """One request event. Its end is now, unless its context says when it began (`start_ns`, CLOCK_MONOTONIC)."""
        now_ns, user, told = time.monotonic_ns(), getcurrent(), context or {}
        duration_ns = -1 if response_time is None else round(response_time * 1e6)
        status = int(getattr(response, "status_code", 0) or told.get("status", 0))
        outcome = _outcome(exception, status)
        sends, connection = self._under_way.pop(user, (int(outcome not in UNSENT), told.get("connection", -1)))
        step = self.steps.setdefault(f"{request_type} {name}", len(self.steps))
        start_ns = told.get("start_ns", now_ns - max(duration_ns, 0)) - self.zero_ns
        self._pending += ROW.pack(
            step,
            self.worker,
            self._users.setdefault(user, len(self._users)),
            connection,
            start_ns,
            duration_ns,
            int(response_length or 0),
            status,
            sends,
            exception is not None,
            OUTCOMES.index(outcome),
        )
        self.rows += 1
        if len(self._pending) >= CHUNK:
            self._write()

    def broken(self, **_: object) -> None:
        """A task of a user raised an exception of its own; Locust goes on with the next."""
        self.errors += 1

    def stop(self) -> None:
        """From now on users are asked to leave; each may finish its step."""
        self.stopped_ns = time.monotonic_ns()

    def end(self) -> None:
        """Locust ends: everything is written."""
        self._write()
        now_ns = time.monotonic_ns()
        said = {
            "rows": self.rows,
            "errors": self.errors,
            "steps": list(self.steps),
            "zero_ns": self.zero_ns,
            "stopped_ns": self.stopped_ns or now_ns,
            "connections": self._opened,
            "cpu_share": (time.process_time() - self.cpu_s) * 1e9 / (now_ns - self.zero_ns),
        }
        self._file("journal", "json").write_text(json.dumps(said))

    def _write(self) -> None:
        with self._file("requests", "bin").open("ab") as file:
            file.write(self._pending)
        self._pending.clear()

    def _file(self, stem: str, suffix: str) -> Path:
        return self.folder / f"{stem}-{self.worker}.{suffix}"


def _outcome(exception: BaseException | None, status: int) -> Outcome:
    """How a request ended. An answer is an answer, whatever Locust thinks of its status."""
    if status or exception is None:
        return Outcome.OK
    if isinstance(known := getattr(exception, "outcome", None), Outcome):
        return known  # the steady engine's own word
    cause = getattr(exception, "original", None) or exception
    words = str(cause).lower()
    if isinstance(cause, TimeoutError | gevent.Timeout) or "timed out" in words:
        return Outcome.TIMEOUT
    if isinstance(cause, HTTPConnectionClosed | ConnectionResetError | BrokenPipeError) or "closed" in words:
        return Outcome.RESET
    return Outcome.REFUSED if isinstance(cause, OSError) else Outcome.MALFORMED


def watch(journal: Journal) -> None:
    """Have every connection that Locust's quick client takes, and every request event, told to `journal`."""
    plain = ConnectionPool.get_socket

    def get_socket(self: ConnectionPool) -> Any:
        journal.dialling()
        connection = plain(self)
        journal.sends(connection)
        return connection

    ConnectionPool.get_socket = get_socket  # type: ignore[method-assign]
    events.request.add_listener(journal.request)
    events.user_error.add_listener(journal.broken)


def in_order(runner: MasterRunner) -> Callable[[], None]:
    """`quit` for a master that waits until each worker's last figures are in: Locust's own waits half a second."""
    plain, asked = runner.quit, False

    def leave() -> None:
        nonlocal asked
        if not asked:
            asked = True
            runner.stop(send_stop_to_client=False)
            for client in runner.clients.all:
                runner.server.send_to_client(Message("quit", None, client.id))
            deadline = time.monotonic() + 2 * float(runner.environment.stop_timeout or 0) + GRACE_S
            while runner.clients.all and time.monotonic() < deadline:
                gevent.sleep(0.05)
        plain()

    return leave


def _wait() -> None:
    """Until every process that this one forked has ended, and so has written what it saw.

    `--processes` ends without: Locust takes a child that has not ended yet for one that has.
    """
    with contextlib.suppress(ChildProcessError):
        while True:
            get_original("os", "waitpid")(-1, 0)


def _keep(folder: Path, seed: str) -> None:
    journal = Journal(folder)
    watch(journal)
    atexit.register(_wait)
    runners.HEARTBEAT_LIVENESS = HEARTBEATS

    def prepare(environment: Environment, runner: Runner, **_: object) -> None:
        # The loop's clock stood still during the imports; the run time would be shorter by as much.
        gevent.get_hub().loop.update_now()
        if isinstance(runner, MasterRunner):
            runner.quit = in_order(runner)  # type: ignore[method-assign]
        else:
            environment.events.test_start.add_listener(lambda **_: start(runner))
            environment.events.test_stopping.add_listener(lambda **_: journal.stop())
            environment.events.quitting.add_listener(lambda **_: journal.end())

    def start(runner: Runner) -> None:
        told = os.environ.get("MESH_LAB_WORKER")  # a process that was started on its own has a folder of its own
        worker: int = runner.worker_index if told is None else int(told)  # type: ignore[attr-defined]
        random.seed(f"{seed}/{worker}")  # Locust's users choose and think by this
        journal.begin(worker)

    events.init.add_listener(prepare)


_keep(Path(os.environ["MESH_LAB_JOURNAL"]), os.environ.get("MESH_LAB_SEED", "1"))
