"""HTTP/1.x in the plain text of TLS connections, read with llhttp: which requests, which answers, how long."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lab.record import CannotRun

httptools: Any
try:
    import httptools
except ImportError:
    httptools = None

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""The buckets that OpenTelemetry's HTTP conventions advise for durations."""
_LONGEST_METHOD = 24
_MOST_WAITING = 1024
_END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True)
class Exchange:
    """A request with its answer; `side` is what the process that was looked at was in it: `server` or `client`."""

    pod: str
    side: str
    method: str
    path: str
    status: int
    duration_s: float


class Conversation:
    """One TLS connection of one process. `told` gets each exchange, `counts` what else is to be known.

    Bytes that were not seen are replaced by zeros, which does no harm within a body of known length; anywhere else the
    conversation is given up. So is what is not HTTP/1.x, such as HTTP/2, and what was upgraded.
    """

    def __init__(self, pod: str, told: Callable[[Exchange], None], counts: Counter[str]) -> None:
        if httptools is None:
            raise CannotRun("httptools is missing; install it with: pip install httptools")
        self._pod, self._told, self._counts = pod, told, counts
        self._requests: Any = httptools.HttpRequestParser(_Requests(self))
        self._renew()
        self._asked_by: str | None = None  # the direction, "in" or "out", that carries requests
        self._waiting: deque[tuple[str, str, int]] = deque()
        self._url, self._began_ns, self._now_ns, self._held = b"", 0, 0, b""
        self.given_up = False

    def feed(self, direction: str, data: bytes, unseen: int, ns: int) -> None:
        """The next bytes of one direction, `in` or `out`, and how many behind them were not seen; at a time in ns."""
        if self.given_up:
            return
        self._now_ns = ns
        if self._asked_by is None:
            word = data[:_LONGEST_METHOD].partition(b" ")[0]
            self._asked_by = direction if word.isalpha() and word.isupper() else "in" if direction == "out" else "out"
        try:
            (self._request if direction == self._asked_by else self._answer)(data + bytes(unseen))
        except httptools.HttpParserUpgrade:
            self._give_up("upgraded")
        except httptools.HttpParserError:
            self._give_up("not_http")

    def end(self) -> None:
        """The connection was closed: an answer that ends with it is complete."""
        if not self.given_up:
            if self._status is not None and self._waiting and self._status >= 200:
                self._complete()
            self._counts["unanswered"] += len(self._waiting)
        self.given_up = True

    def _request(self, data: bytes) -> None:
        self._began_ns = self._began_ns or self._now_ns
        self._requests.feed_data(data)

    def _answer(self, data: bytes) -> None:
        """The answer to HEAD has no body whatever it says, and llhttp is not told: it is fed the head alone."""
        data, self._held = self._held + data, b""
        while data and self._waiting and self._waiting[0][0] == "HEAD":
            end = data.find(_END_OF_HEAD)
            if end < 0:
                self._held = data
                return
            head, data = data[: end + len(_END_OF_HEAD)], data[end + len(_END_OF_HEAD) :]
            before = len(self._waiting)
            self._answers.feed_data(head)
            if len(self._waiting) == before and self._status is not None and self._status >= 200:
                self._complete()
            self._renew()
        if data:
            self._answers.feed_data(data)

    def _renew(self) -> None:
        self._status: int | None = None
        self._answers: Any = httptools.HttpResponseParser(_Answers(self))

    def _give_up(self, why: str) -> None:
        self.given_up = True
        self._counts[why] += 1
        self._counts["unanswered"] += len(self._waiting)

    def _asked(self) -> None:
        method = self._requests.get_method().decode("ascii", "replace")
        path = self._url.partition(b"?")[0].decode("latin-1")
        self._counts["server_requests" if self._asked_by == "in" else "client_requests"] += 1
        if len(self._waiting) == _MOST_WAITING:
            self._give_up("untold")
            return
        self._waiting.append((method, path, self._began_ns))
        self._url, self._began_ns = b"", 0

    def _complete(self) -> None:
        if not self._waiting or self._status is None:
            return
        method, path, began_ns = self._waiting.popleft()
        side = "server" if self._asked_by == "in" else "client"
        self._told(Exchange(self._pod, side, method, path, self._status, (self._now_ns - began_ns) / 1e9))
        self._status = None


class _Requests:
    """llhttp's callbacks for requests."""

    def __init__(self, owner: Conversation) -> None:
        self._owner = owner

    def on_url(self, url: bytes) -> None:
        self._owner._url += url

    def on_headers_complete(self) -> None:
        self._owner._asked()


class _Answers:
    """llhttp's callbacks for answers."""

    def __init__(self, owner: Conversation) -> None:
        self._owner = owner

    def on_headers_complete(self) -> None:
        self._owner._status = self._owner._answers.get_status_code()

    def on_message_complete(self) -> None:
        if (self._owner._status or 0) >= 200:
            self._owner._complete()
