"""Exchanges made up by hypothesis, and what llhttp (httptools) makes of each message by message."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass

import httptools
from bpf_exchanges import CRLF, Exchange
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

Told = tuple[str, str, int]  # method, path, status
TOKEN = "!#$%&'*+-.^_`|~09azAZ"
VALUE = "".join(chr(c) for c in range(0x21, 0x7F)) + " \t"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH")
STATUSES = (200, 200, 201, 204, 206, 301, 304, 400, 404, 418, 500, 503, 599)
BARE = {204, 304}
LONGEST_PATH = 64

_names = st.text(TOKEN, min_size=1, max_size=30).map(lambda name: f"X-{name}")
_values = st.text(VALUE, max_size=80) | st.text("v", min_size=100, max_size=900)
_fields = st.lists(st.tuples(_names, st.sampled_from(["", " ", "\t ", "   "]), _values), max_size=6)
_bodies = st.binary(max_size=400) | st.integers(1, 6000).map(
    lambda n: b"GET /no HTTP/1.1\r\n\r\n"[: n % 21] * (n // 20 + 1)
)
_paths = st.text("".join(chr(c) for c in range(0x21, 0x7F) if chr(c) not in "?#"), max_size=90)
_queries = st.text(VALUE.replace(" ", "").replace("\t", "").replace("#", ""), max_size=300)
_sizes = st.integers(1, 40) | st.integers(41, 600) | st.just(1 << 20)


@dataclass(frozen=True)
class Message:
    """A request or an answer as bytes; `interim` answers go before it."""

    first: str
    fields: tuple[str, ...]
    body: bytes
    method: str = ""
    final: bool = False  # ends with the connection

    @property
    def wire(self) -> bytes:
        return "\r\n".join([self.first, *self.fields, "", ""]).encode("latin-1") + self.body


@st.composite
def _framed(draw: st.DrawFn, bare: bool) -> tuple[list[str], bytes]:
    """The fields that frame a body, in any case and with any spaces around values, and the body so framed."""
    body = b"" if bare else draw(_bodies)
    spell = draw(st.sampled_from([str.lower, str.upper, str.title]))
    space, tail = draw(st.sampled_from(["", " ", "\t"])), draw(st.sampled_from(["", " "]))
    if bare or (not body and draw(st.booleans())):
        return [], b""
    if draw(st.booleans()):
        return [f"{spell('Content-Length')}:{space}{len(body)}{tail}"], body
    cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=6)))
    parts = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True) if a < b]
    extension = draw(st.sampled_from([b"", b";a", b";name=value", b';q="x y"']))
    chunks = b"".join(b"%x%s\r\n%s\r\n" % (len(p), extension, p) for p in parts)
    trailer = draw(st.sampled_from([b"", b"X-Sum: 1\r\n", b"X-A: 1\r\nX-B:\r\n"]))
    return [f"{spell('Transfer-Encoding')}:{space}{spell('chunked')}"], chunks + b"0\r\n" + trailer + CRLF


@st.composite
def _request(draw: st.DrawFn, name: str) -> Message:
    method = draw(st.sampled_from(METHODS))
    path = name + draw(_paths)
    query = "?" + draw(_queries) if draw(st.booleans()) else ""
    framing, body = draw(_framed(method in {"GET", "HEAD", "TRACE", "OPTIONS"}))
    fields = [f"{n}:{space}{value}" for n, space, value in draw(_fields)]
    at = draw(st.integers(0, len(fields)))
    old = draw(st.integers(0, 5)) == 0 and not (framing and framing[0].lower().startswith("t"))
    more = ["Connection: keep-alive"] if old else []
    first = f"{method} {path}{query} HTTP/1.{0 if old else 1}"
    return Message(first, (*more, "Host: server", *fields[:at], *framing, *fields[at:]), body, method)


@st.composite
def _answer(draw: st.DrawFn, method: str, may_close: bool) -> Message:
    status = draw(st.sampled_from(STATUSES))
    fields = [f"{n}:{space}{value}" for n, space, value in draw(_fields)]
    reason = draw(st.sampled_from(["", " ", " OK", " Not  At All"]))
    first = f"HTTP/1.1 {status}{reason}"
    if method == "HEAD" or status in BARE:
        more = [f"Content-Length: {draw(st.integers(0, 9999))}"] if draw(st.booleans()) and status != 204 else []
        return Message(first, (*fields, *more), b"")
    if may_close and draw(st.integers(0, 3)) == 0:
        return Message(first, tuple(fields), draw(_bodies), final=True)
    framing, body = draw(_framed(False))
    return Message(first, (*fields, *(framing or ["Content-Length: 0"])), body)


@st.composite
def exchange(draw: st.DrawFn, name: str) -> Exchange:
    """One connection: rounds of pipelined requests and their answers, cut anywhere; perhaps an upgrade at its end."""
    steps: list[tuple[str, tuple[bytes, ...]]] = []
    rounds = draw(st.integers(1, 3))
    for turn in range(rounds):
        requests = [draw(_request(f"/{name}/{turn}/{i}/")) for i in range(draw(st.integers(1, 4)))]
        answers = b""
        final = False
        for i, request in enumerate(requests):
            answers += b"HTTP/1.1 100 Continue\r\n\r\n" * draw(st.sampled_from([0, 0, 0, 1, 2]))
            last = turn == rounds - 1 and i == len(requests) - 1
            answer = draw(_answer(request.method, last))
            answers, final = answers + answer.wire, answer.final
        steps.append(("c", _cut(b"".join(r.wire for r in requests), draw(_sizes))))
        steps.append(("s", _cut(answers, draw(_sizes))))
    if not final and draw(st.integers(0, 4)) == 0:
        up = f"GET /{name}/up HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".encode()
        switched = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        steps += [("c", (up,)), ("s", (switched + draw(_bodies),)), ("c", _cut(b"\x81" + draw(_bodies), 99))]
    return Exchange(name, tuple(steps))


def _cut(data: bytes, size: int) -> tuple[bytes, ...]:
    most = max(size, len(data) // 150 + 1)  # not more than so many packets, or a play takes too long
    return tuple(data[i : i + most] for i in range(0, len(data), most))


def collected(prefix: str, count: int, free: bool) -> tuple[Exchange, ...]:
    """So many exchanges; the same ones each time unless `free` (then of hypothesis' own seed)."""
    found: list[Exchange] = []

    @settings(
        max_examples=count,
        derandomize=not free,
        database=None,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def collect(data: st.DataObject) -> None:
        found.append(data.draw(exchange(f"{prefix}{len(found)}")))

    collect()
    return tuple(found)


class Reference:
    """llhttp on both directions of an exchange, fed as it was sent."""

    def __init__(self, exchange_: Exchange) -> None:
        self.requests: list[tuple[str, str]] = []
        self.statuses: list[int] = []
        self.sizes: Counter[str] = Counter()
        self.upgraded_bytes = 0
        self._methods: list[str] = []
        self._url, self._size, self._on_the_way = b"", 0, False
        self._up = False
        self._client = httptools.HttpRequestParser(_Client(self))
        self._server = httptools.HttpResponseParser(_Server(self))
        for who, segments in exchange_.steps:
            (self._feed_client if who == "c" else self._feed_server)(b"".join(segments))
        if self._on_the_way:
            self._end()

    def told(self) -> Counter[Told]:
        """Every answered request; long paths as the kernel keeps them."""
        pairs = zip(self.requests, self.statuses, strict=True)
        return Counter((method, _short(path), status) for (method, path), status in pairs)

    def _feed_client(self, data: bytes) -> None:
        if self._up:
            self.upgraded_bytes += len(data)
            return
        with contextlib.suppress(httptools.HttpParserUpgrade):  # asked for; the answer says whether it is so
            self._client.feed_data(data)

    def _feed_server(self, data: bytes) -> None:
        for i in range(len(data)):  # so that it can be stopped behind the head of an answer to HEAD
            try:
                self._server.feed_data(data[i : i + 1])
            except httptools.HttpParserUpgrade:
                self._up, self._on_the_way = True, False
                self.upgraded_bytes += len(data) - i - 1
                return
            if self._on_the_way and self.requests[len(self.statuses) - 1][0] == "HEAD":
                self._end()
                self._server = httptools.HttpResponseParser(_Server(self))

    def _end(self) -> None:
        _, path = self.requests[len(self.statuses) - 1]
        self.sizes[_short(path)] += self._size
        self._on_the_way = False


class _Client:
    def __init__(self, reference: Reference) -> None:
        self.to, self.url = reference, b""

    def on_message_begin(self) -> None:
        self.url = b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_headers_complete(self) -> None:
        method = self.to._client.get_method().decode()
        self.to.requests.append((method, self.url.decode("latin-1").split("?")[0]))


class _Server:
    def __init__(self, reference: Reference) -> None:
        self.to = reference

    def on_headers_complete(self) -> None:
        status = self.to._server.get_status_code()
        if status >= 200 or status == 101:
            self.to.statuses.append(status)
            self.to._size, self.to._on_the_way = 0, True

    def on_body(self, body: bytes) -> None:
        self.to._size += len(body)

    def on_message_complete(self) -> None:
        if self.to._on_the_way:
            self.to._end()


def _short(path: str) -> str:
    return path[:LONGEST_PATH] + "…" * (len(path) > LONGEST_PATH)
