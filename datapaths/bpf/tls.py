"""HTTP inside TLS, at OpenSSL's own calls: `python -m datapaths.bpf.tls --mesh FILE --port N`.

A process of its own and on no other bill: it carries bcc with its compiler (some 130 MB), every call of SSL_read and
SSL_write traps twice, and every byte, up to 16 KB a call, is copied to this process and parsed there. It sees programs
that link OpenSSL dynamically (`libssl.so`), in the pods' cgroups, from the next connection on.

The mesh file: `cgroups`, `routes`, and `names`, the pods' names by cgroup (without, the folder's name is the pod's).
Counts are by pod, side, method, route and status; the other end is not known at this place.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import ctypes
import json
import os
import signal
import sys
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from datapaths.bpf.conversation import BOUNDS_S, Conversation, Exchange
from datapaths.bpf.openmetrics import Family, Histogram, counters, negotiated, text
from datapaths.bpf.openssl import installed, mapped
from datapaths.bpf.routes import Routes
from datapaths.bpf.server import Server
from lab.bcc import load
from lab.record import CannotRun, LabError, Mistake

SOURCE = Path(__file__).with_name("tls.c")
PROBES = {  # symbol: entry program; all but SSL_free have `left` at their return
    "SSL_read": "enter_read",
    "SSL_write": "enter_write",
    "SSL_read_ex": "enter_read_ex",
    "SSL_write_ex": "enter_write_ex",
    "SSL_free": "enter_free",
}
PAUSE_S = 0.02  # between looks into the ring buffer
LOOK_EACH = 25  # pauses between looks for new processes and libraries
MOST_CONVERSATIONS = 10_000
_PAGES = 4096  # of the ring buffer: 16 MB, a power of two
_IN, _OUT, _ENDED = range(3)  # enum kind of tls.c

HELPS = {
    "server_requests": "Request heads read by pods.",
    "client_requests": "Request heads written by pods.",
    "answered": "Exchanges seen to the end of the answer.",
    "unanswered": "Requests whose connection ended or was given up before.",
    "not_http": "Connections given up: not HTTP/1.x, begun before the agent, or with a gap outside a body.",
    "upgraded": "Connections that became something else.",
    "untold": "Connections given up because too many requests waited.",
    "forgotten": "Connections given up for newer ones.",
    "seen_bytes": "Plain text that was copied and read.",
    "unseen_bytes": "Plain text beyond what is copied of one call.",
    "lost_records": "Calls that found no room in the ring buffer or in the table of calls.",
    "libraries": "Files of OpenSSL that are probed.",
}


class _Record(ctypes.Structure):
    """The head of `struct record` of tls.c; data follow it."""

    _fields_ = (
        *(("ssl", ctypes.c_uint64), ("ns", ctypes.c_uint64), ("pid", ctypes.c_uint32), ("pod", ctypes.c_uint32)),
        *(("kind", ctypes.c_uint32), ("size", ctypes.c_uint32), ("seen", ctypes.c_uint32), ("spare", ctypes.c_uint32)),
    )


class TlsWatch:
    """Probes OpenSSL for the processes of pods. `CannotRun` without bcc, kernel headers, OpenSSL or httptools.

    `pods` are names by cgroup v2 folder, `routes` patterns as in `datapaths.bpf.routes`.
    """

    def __init__(self, pods: Mapping[Path, str], routes: Sequence[str] = ()) -> None:
        if not pods:
            raise Mistake("no pods to watch; give at least one cgroup")
        self._pods, self._patterns = dict(pods), Routes(routes)
        self.counts: Counter[str] = Counter(dict.fromkeys(HELPS, 0))
        self.series: dict[tuple[str, str, str, str, int], list[Any]] = {}
        self._open: OrderedDict[tuple[int, int], Conversation] = OrderedDict()
        Conversation("", self._tell, self.counts)  # says at once where httptools is missing
        self._program = load(SOURCE, PODS=len(self._pods), PAGES=_PAGES)
        atexit.unregister(self._program.cleanup)  # it insists on tracefs, which may not be mounted
        table, self._folders = self._program["pods"], list[int]()
        for i, cgroup in enumerate(self._pods):
            self._folders.append(os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY))
            table[i] = self._folders[-1]
        self._program["records"].open_ring_buffer(self._hear)
        self._libraries = dict[tuple[int, int], int]()
        self.look()

    def look(self) -> None:
        """Probe the files of OpenSSL that this machine has for its own, and those that pods' processes have mapped."""
        for path in (*installed(), *mapped(self._pods)):
            with contextlib.suppress(OSError):  # a process that has gone, a file that was removed
                self._probe(path)
        if not self._libraries:
            raise CannotRun("no libssl.so is installed or mapped by a pod; install it with: apt-get install libssl3")
        self.counts["libraries"] = len(self._libraries)

    def poll(self) -> None:
        """Read what was recorded since."""
        self._program.ring_buffer_consume()
        self.counts["lost_records"] = sum(self._program["lost"][i].value for i in range(2))

    def families(self) -> Iterator[Family]:
        """Durations by OpenTelemetry's names, of servers and of clients, and counters."""
        for side in ("server", "client"):
            samples = [
                (_labels(key), Histogram(BOUNDS_S, hits, total))
                for key, (hits, total) in sorted(self.series.items())
                if key[1] == side
            ]
            help_ = f"Duration of HTTP {side} requests inside TLS, at the pod's calls of OpenSSL."
            yield Family(f"http_{side}_request_duration_seconds", "histogram", help_, samples, "seconds")
        yield from counters("mesh_tls", self.counts, HELPS)

    def close(self) -> None:
        """Detach. Idempotent."""
        if self._libraries:
            from bcc.libbcc import lib  # noqa: PLC0415 - there since it was loaded

            for fd in self._program.uprobe_fds.values():
                lib.bpf_close_perf_event_fd(fd)
            self._program.uprobe_fds.clear()
            self._program.cleanup()
        for fd in (*self._libraries.values(), *self._folders):
            os.close(fd)
        self._libraries.clear()
        self._folders.clear()

    def _probe(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY)
        known = os.fstat(fd)
        key = known.st_dev, known.st_ino
        if key in self._libraries:
            os.close(fd)
            return
        self._libraries[key] = fd
        file = f"/proc/self/fd/{fd}"  # whatever mount namespace the file is in
        for symbol, entry in PROBES.items():
            try:
                self._program.attach_uprobe(name=file, sym=symbol, fn_name=entry)
                if symbol != "SSL_free":
                    self._program.attach_uretprobe(name=file, sym=symbol, fn_name="left")
            except Exception as error:
                if symbol.endswith("_ex") and "symbol" in str(error):
                    continue  # OpenSSL before 1.1.1
                raise CannotRun(f"{symbol} of {path} cannot be probed: {error}; it needs CONFIG_UPROBES") from error

    def _hear(self, _context: Any, data: int, size: int) -> None:
        head = _Record.from_address(data)
        key = head.pid, head.ssl
        if head.kind == _ENDED:
            if conversation := self._open.pop(key, None):
                conversation.end()
            return
        self.counts["seen_bytes"] += head.seen
        self.counts["unseen_bytes"] += head.size - head.seen
        plain = ctypes.string_at(data + ctypes.sizeof(_Record), head.seen)
        self._conversation(key, head.pod).feed(
            "in" if head.kind == _IN else "out", plain, head.size - head.seen, head.ns
        )

    def _conversation(self, key: tuple[int, int], pod: int) -> Conversation:
        if key not in self._open:
            name = list(self._pods.values())[pod]
            self._open[key] = Conversation(name, self._tell, self.counts)
            if len(self._open) > MOST_CONVERSATIONS:
                self._open.popitem(last=False)[1].end()
                self.counts["forgotten"] += 1
        return self._open[key]

    def _tell(self, exchange: Exchange) -> None:
        route = self._patterns.match(exchange.path) or ""
        key = exchange.pod, exchange.side, exchange.method, route, exchange.status
        hits, total = self.series.get(key, ([0] * (len(BOUNDS_S) + 1), 0.0))
        hits[sum(bound < exchange.duration_s for bound in BOUNDS_S)] += 1
        self.series[key] = [hits, total + exchange.duration_s]
        self.counts["answered"] += 1


def _labels(key: tuple[str, str, str, str, int]) -> dict[str, str]:
    pod, _, method, route, status = key
    found = {"pod": pod, "http_request_method": method, "http_response_status_code": str(status), "url_scheme": "https"}
    return found | ({"http_route": route} if route else {})


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. Exit code 0; 1 with one line of why where it could not start."""
    parser = argparse.ArgumentParser(prog="python -m datapaths.bpf.tls", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--mesh", type=Path, required=True, help="JSON file: cgroups, names, routes")
    parser.add_argument("--port", type=int, required=True, help="of 127.0.0.1, for /count, /metrics and /ready")
    parser.add_argument("--listen", metavar="ADDRESS", help="an address of the node beside 127.0.0.1")
    asked = parser.parse_args(argv)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    try:
        _run(json.loads(asked.mesh.read_text()), asked.port, asked.listen)
    except SystemExit:
        return 0
    except (LabError, OSError, ValueError) as error:
        print(f"tls: {error}", file=sys.stderr)
        return 1
    return 0


def _run(told: Mapping[str, Any], port: int, listen: str | None) -> None:
    names = told.get("names", {})
    pods = {Path(cgroup): names.get(cgroup, Path(cgroup).name) for cgroup in told.get("cgroups", ())}
    watch = TlsWatch(pods, tuple(told.get("routes", ())))
    turns = 0

    def tend() -> None:
        nonlocal turns
        watch.poll()
        turns += 1
        if turns % LOOK_EACH == 0:
            watch.look()

    pages = {
        "/ready": lambda _: ("text/plain", "ready\n"),
        "/count": lambda _: ("application/json", json.dumps({"tls": dict(watch.counts)})),
        "/metrics": lambda accept: (kind := negotiated(accept), text(watch.families(), kind)),
    }
    with contextlib.ExitStack() as stack:
        stack.callback(watch.close)
        server = Server(port, pages, listen)
        stack.callback(server.close)
        print("ready", flush=True)
        server.serve(tend, PAUSE_S)


def _stop(_number: int, _frame: FrameType | None) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
