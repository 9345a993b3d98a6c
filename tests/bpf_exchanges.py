"""HTTP/1.x as bytes: exchanges that a parser must get right, how they are played, and what a reference makes of them.

An exchange is one connection. Its steps are taken in turn by both ends: ("c", segments) is sent by the client,
("s", segments) by the server; each segment leaves in a packet of its own. `python bpf_exchanges.py server|client …`
plays them.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httptools

Steps = tuple[tuple[str, tuple[bytes, ...]], ...]
Seen = tuple[str, str, int]  # method, path, status

CRLF = b"\r\n"


@dataclass(frozen=True)
class Exchange:
    """One connection. `broken` says that the parser is to give it up and say so; `head` that answers have no bodies."""

    name: str
    steps: Steps
    broken: bool = False
    headless: bool = False
    reference: tuple[Seen, ...] | None = None  # where httptools is no judge


def get(path: str, *fields: str, method: str = "GET", body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: server:8080", "User-Agent: exchange", *fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def answer(status: int = 200, body: bytes | None = b"hello\n", *fields: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", "Server: exchange", *fields]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def chunked(*parts: bytes, trailer: bytes = b"", extension: bytes = b"") -> bytes:
    return b"".join(b"%x%s\r\n%s\r\n" % (len(p), extension, p) for p in (*parts,)) + b"0\r\n" + trailer + CRLF


def apart(data: bytes, size: int = 1) -> tuple[bytes, ...]:
    return tuple(data[i : i + size] for i in range(0, len(data), size))


def c(*segments: bytes) -> tuple[str, tuple[bytes, ...]]:
    return "c", segments


def s(*segments: bytes) -> tuple[str, tuple[bytes, ...]]:
    return "s", segments


TE = "Transfer-Encoding: chunked"
LOOKS_LIKE = b"GET /not-a-request HTTP/1.1\r\nHost: x\r\n\r\nHTTP/1.1 500 Not An Answer\r\n\r\n" * 3
BIG = bytes(range(256)) * 800  # 200 KB, with every byte
LONG = "X-Long: " + "a" * 3000


def exchanges() -> tuple[Exchange, ...]:
    """All of them; each uses paths that start with its own name."""
    made: list[Exchange] = []

    def add(name: str, *steps: tuple[str, tuple[bytes, ...]], **more: Any) -> None:
        made.append(Exchange(name, steps, **more))

    add("one", c(get("/one")), s(answer()))
    add("keep-alive", *(step for i in range(10) for step in (c(get(f"/keep-alive/{i}")), s(answer()))))
    add("pipelined", c(b"".join(get(f"/pipelined/{i}") for i in range(8))), s(answer() * 8))
    add("pipelined-apart", c(*apart(b"".join(get(f"/pipelined-apart/{i}") for i in range(8)), 37)), s(answer() * 8))
    add("pipelined-in-turn", c(b"".join(get(f"/pipelined-in-turn/{i}") for i in range(4))), *[s(answer())] * 4)
    paths = ("", "", "/x", "", "?q=1", "/x/" + "y" * 60, "/x/" + "y" * 61, "/y", "")
    add("path-again", *(step for path in paths for step in (c(get(f"/path-again{path}")), s(answer()))))
    methods = ("GET", "POST", "GET", "HEAD", "GET")
    add("method-again", *(s_ for m in methods for s_ in (c(get("/method-again", method=m)), s(answer(204, None)))))
    empty = (c(get("/no-path-" + "x" * 80)), s(answer()), c(get("?q=1")), s(answer()))
    shown = ("GET", ("/no-path-" + "x" * 80)[:64] + "…", 200)
    add("no-path", *empty, reference=(shown, ("GET", "", 200)))  # httptools takes no target that begins with ?
    add("bytes-in", c(*apart(get("/bytes-in?q=1"))), s(answer()))
    add("bytes-out", c(get("/bytes-out")), s(*apart(answer(201))))
    add("bytes-both", c(*apart(get("/bytes-both", method="PUT", body=b"abc"))), s(*apart(answer(404, b"none"))))
    add("bytes-twice", *[c(*apart(get("/bytes-twice"))), s(*apart(answer()))] * 2)
    for size in (2, 3, 7, 64, 255, 256, 257):
        both = (
            get(f"/split-{size}", "X-Filler: " + "f" * 300) * 2,
            answer(200, b"x" * 300, "X-Filler: " + "g" * 200) * 2,
        )
        add(f"split-{size}", c(*apart(both[0], size)), s(*apart(both[1], size)))
    add("long-field", c(get("/long-field", LONG)), s(answer()))
    add("long-field-apart", c(*apart(get("/long-field-apart", LONG), 100)), s(*apart(answer(200, b"x", LONG), 100)))
    add("long-path", c(get("/long-path/" + "p" * 900)), s(answer()))
    add("long-query", c(*apart(get("/long-query?" + "q=1&" * 300), 90)), s(answer()))
    add("many-fields", c(get("/many-fields", *(f"X-{i}: {i}" for i in range(90)))), s(answer()))
    add("big-answer", c(get("/big-answer")), s(answer(200, BIG)), c(get("/big-answer/after")), s(answer()))
    add(
        "big-request",
        c(get("/big-request", method="POST", body=BIG)),
        s(answer(201)),
        c(get("/big-request/2")),
        s(answer()),
    )
    add("no-content", c(get("/no-content")), s(answer(204, None)), c(get("/no-content/after")), s(answer()))
    add(
        "not-modified", c(get("/not-modified")), s(answer(304, None, "ETag: x")), c(get("/not-modified/2")), s(answer())
    )
    add("not-found", c(get("/not-found")), s(answer(404, b"no such page")))
    add("unavailable", c(get("/unavailable")), s(answer(503, b"")), c(get("/unavailable/2")), s(answer(500)))
    add("looks-like", c(get("/looks-like", method="POST", body=LOOKS_LIKE)), s(answer(200, LOOKS_LIKE)))
    add(
        "looks-like-late",
        c(get("/looks-like-late", f"Content-Length: {len(LOOKS_LIKE)}", method="POST"), LOOKS_LIKE),
        s(answer(200, LOOKS_LIKE)),
        c(get("/looks-like-late/2")),
        s(answer()),
    )
    sent = chunked(b"hello", b"x" * 5000, LOOKS_LIKE)
    add("chunked-out", c(get("/chunked-out")), s(answer(200, None, TE) + sent), c(get("/chunked-out/2")), s(answer()))
    add(
        "chunked-in", c(get("/chunked-in", TE, method="POST") + sent), s(answer()), c(get("/chunked-in/2")), s(answer())
    )
    tail = chunked(b"one", b"two", trailer=b"X-Sum: 5\r\nX-More: 6\r\n", extension=b";name=value")
    add(
        "trailers",
        c(get("/trailers", TE, method="POST") + tail),
        s(answer(200, None, TE) + tail),
        c(get("/trailers/2")),
        s(answer()),
    )
    add(
        "chunked-apart",
        c(*apart(get("/chunked-apart", TE, method="PUT") + tail)),
        s(*apart(answer(200, None, TE) + tail)),
    )
    add(
        "tiny-chunks",
        c(get("/tiny-chunks")),
        s(answer(200, None, TE) + chunked(*[b"x"] * 2000)),
        c(get("/tiny-chunks/2")),
        s(answer()),
    )
    add(
        "upper-case", c(get("/upper-case", "TRANSFER-ENCODING:  Chunked", method="POST") + chunked(b"abc")), s(answer())
    )
    add(
        "continue",
        c(get("/continue", "Content-Length: 9", "Expect: 100-continue", method="POST")),
        s(b"HTTP/1.1 100 Continue\r\n\r\n"),
        c(b"some body"),
        s(answer(201)),
    )
    add(
        "early-hints",
        c(get("/early-hints")),
        s(answer(103, None, "Link: </x>") + answer()),
        c(get("/early-hints/2")),
        s(answer()),
    )
    add("head", c(get("/head", method="HEAD")), s(answer(200, None, "Content-Length: 5000")), headless=True)
    add(
        "head-then-get",
        c(get("/head-then-get", method="HEAD") + get("/head-then-get")),
        s(answer(200, None, "Content-Length: 5000")),
        s(answer()),
        headless=True,
    )
    add("to-close", c(get("/to-close")), s(b"HTTP/1.1 200 OK\r\n\r\n", b"until the end", LOOKS_LIKE))
    add("old", c(b"GET /old HTTP/1.0\r\n\r\n"), s(b"HTTP/1.0 200 OK\r\n\r\nold body"))
    add(
        "line-feeds",
        c(b"GET /line-feeds HTTP/1.1\nHost: x\n\n"),
        s(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
        reference=(("GET", "/line-feeds", 200),),
    )  # llhttp is stricter than RFC 9112, 2.2
    add("empty-lines", c(CRLF + get("/empty-lines")), s(answer()), c(CRLF + CRLF + get("/empty-lines/2")), s(answer()))
    add("no-reason", c(get("/no-reason")), s(b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"))
    for method in ("DELETE", "OPTIONS", "PATCH", "TRACE"):
        add(f"method-{method}", c(get(f"/method-{method}", method=method)), s(answer()))
    add("other-method", c(get("/other-method", method="PROPFIND")), s(answer(207)))
    add(
        "upgrade",
        c(get("/upgrade", "Connection: Upgrade", "Upgrade: x")),
        s(answer(101, None, "Upgrade: x")),
        c(b"\x81\x05hello"),
        s(LOOKS_LIKE),
    )
    add("connect", c(get("x:443", method="CONNECT")), s(answer(200, None)), c(b"\x16\x03\x01"), s(LOOKS_LIKE))
    add(
        "refused-upgrade",
        c(get("/refused-upgrade", "Upgrade: x")),
        s(answer(400)),
        c(get("/refused-upgrade/2")),
        s(answer()),
    )
    add("garbage", c(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 not http\r\n"), s(answer(400)), broken=True)
    add("http2", c(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), s(b"\0\0\0\4\0\0\0\0\0"), broken=True)
    add(
        "garbage-later",
        c(get("/garbage-later")),
        s(answer()),
        c(b"no request at all\r\n\r\n"),
        s(answer(400)),
        broken=True,
    )
    add(
        "two-lengths",
        c(get("/two-lengths", "Content-Length: 3", "Content-Length: 4", method="POST")),
        s(answer(400)),
        broken=True,
    )
    return tuple(made)


DEEP = 40


def deep() -> tuple[Exchange, ...]:
    """More requests before the first answer than the kernel keeps in mind, and then some more."""
    again = (c(get("/deep/again")), s(answer()))
    return (Exchange("deep", (c(get("/deep") * DEEP), s(answer() * DEEP), *again)),)


def written(many: Iterable[Exchange]) -> str:
    """The steps of exchanges, to be played from a file."""
    return json.dumps([[[who, [part.hex() for part in parts]] for who, parts in e.steps] for e in many])


def _read(path: str) -> tuple[Exchange, ...]:
    steps = json.loads(Path(path).read_text())
    return tuple(
        Exchange(str(i), tuple((who, tuple(map(bytes.fromhex, parts))) for who, parts in each))
        for i, each in enumerate(steps)
    )


def play(role: str, address: str, port: int, *how: str) -> None:
    """One end of exchanges, one connection after another. `how`: `deferred` (a handshake ends only with a request),
    `mapped` (a socket of IPv6 listens for IPv4), `deep` (that one exchange), or a file; else all of `exchanges()`."""
    listening = _listening(address, port, "mapped" in how) if role == "server" else None
    if listening and "deferred" in how:
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 5)
    print("ready", flush=True)
    files = [word for word in how if word.endswith(".json")]
    for exchange in deep() if "deep" in how else _read(files[0]) if files else exchanges():
        if listening:
            end, _ = listening.accept()
        else:
            end = socket.create_connection((address, port))
        with end:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for who, segments in exchange.steps:
                if who == role[0]:
                    _send(end, segments)
                else:
                    _receive(end, sum(map(len, segments)))
            if role == "client":
                end.settimeout(10)
                while end.recv(1 << 16):  # the server closes first
                    pass


def _listening(address: str, port: int, mapped: bool) -> socket.socket:
    if mapped:
        return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET)


def _send(end: socket.socket, segments: tuple[bytes, ...]) -> None:
    for segment in segments:
        end.sendall(segment)
        if len(segments) > 1:
            time.sleep(0.0002)  # so that the window does not fill and TCP joins segments


def _receive(end: socket.socket, size: int) -> None:
    end.settimeout(10)
    while size:
        data = end.recv(min(size, 1 << 16))
        if not data:
            raise ConnectionError(f"{size} bytes are missing")
        size -= len(data)


class _Requests:
    """What httptools finds in the client's bytes."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.url = b""
        self.parser = httptools.HttpRequestParser(self)

    def on_message_begin(self) -> None:
        self.url = b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_headers_complete(self) -> None:
        self.seen.append((self.parser.get_method().decode(), self.url.decode().split("?")[0]))


class _Answers:
    """What httptools finds in the server's bytes: final statuses."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.renew()

    def renew(self) -> None:
        self.parser = httptools.HttpResponseParser(self)

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        if status >= 200 or status == 101:
            self.seen.append(status)


def reference(exchange: Exchange) -> Counter[Seen]:
    """What httptools makes of an exchange, with methods and paths shortened as the kernel's parser does."""
    if exchange.reference is not None:
        return Counter(exchange.reference)
    requests, answers = _Requests(), _Answers()
    given_up: set[str] = set()
    for who, segments in exchange.steps:
        try:
            for segment in () if who in given_up else segments:
                (requests.parser if who == "c" else answers.parser).feed_data(segment)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            given_up.add(who)
        if exchange.headless:
            answers.renew()  # it cannot be told that the body of an answer to HEAD does not follow
    pairs = zip(requests.seen, answers.seen, strict=not exchange.broken)
    return Counter(_short(method, path, status) for (method, path), status in pairs)


def _short(method: str, path: str, status: int) -> Seen:
    return "_OTHER" if method == "PROPFIND" else method, path[:64] + "…" * (len(path) > 64), status


if __name__ == "__main__":
    play(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
