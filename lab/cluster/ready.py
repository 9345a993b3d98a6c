"""Waiting until a process of a local cluster is ready: probes run inside its network namespace."""

from __future__ import annotations

import http.client
import socket
import threading
import time

from lab.cluster import Http, Line, Port
from lab.cluster.launch import LocalProcess
from lab.cluster.netns import Namespace
from lab.record import Failed

TIMEOUT_S = 15.0
_PAUSE_S = 0.01
_PROBE_S = 1.0


def await_ready(
    process: LocalProcess, namespace: Namespace, stopping: threading.Event, timeout_s: float = TIMEOUT_S
) -> None:
    """Return once it is ready; `Failed` with its last words when it dies first, or is not ready in time."""
    if process.spec.ready is not None:
        namespace.inside(lambda: _wait(process, stopping, timeout_s))


def _wait(process: LocalProcess, stopping: threading.Event, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not _is_ready(process):
        if process.code is not None:
            raise Failed(process.story(f"ended with exit code {process.code} before it was ready"))
        if time.monotonic() > deadline:
            raise Failed(process.story(f"was not ready after {timeout_s:g} s ({process.spec.ready})"))
        if stopping.wait(_PAUSE_S):
            raise Failed(f"{process.spec.name} in {process.where} was stopped before it was ready")


def _is_ready(process: LocalProcess) -> bool:
    match process.spec.ready:
        case Port(port):
            return _accepts(port)
        case Http(port, path):
            return _answers(port, path)
        case Line(text):
            start = text.encode()
            return any(
                line.startswith(start) for name in ("stdout", "stderr") for line in process.read(name).splitlines()
            )
    return True


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), _PROBE_S).close()
    except OSError:
        return False
    return True


def _answers(port: int, path: str) -> bool:
    try:
        return get(port, path, _PROBE_S)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def get(port: int, path: str, timeout_s: float) -> tuple[int, bytes]:
    """Status and body of GET http://127.0.0.1:port/path, in the namespace of the calling thread."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
