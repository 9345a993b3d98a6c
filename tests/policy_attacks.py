"""Ways to bring a denied request past a policy, as data; a client that tries them and a server that records every byte.

`python policy_attacks.py server|client ADDRESS PORT`. Under test is the policy that `RULES` states. Everything that is
denied names `admin`, so that no byte of it can hide.
"""

# ruff: noqa: E501  (tables of attacks read better in long lines)
from __future__ import annotations

import base64
import ctypes
import json
import mmap
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httptools
import policy_uring

RULES = (
    {"from": "client", "to": "server", "methods": ["GET"], "routes": ["/", "/ok", "/users/{id}", "/static/**"]},
    {"from": "client", "to": "server", "methods": ["POST"], "routes": ["/orders"]},
)
_WAIT_S, _PAUSE_S, _AT_ONCE = 0.25, 0.004, 48
_HESITATION_S = 0.06  # before a server reads: an attacker has the time to change what was judged
_MSG_ZEROCOPY, _MSG_FASTOPEN, _SO_ZEROCOPY = 0x4000000, 0x20000000, 60


@dataclass(frozen=True)
class Attack:
    """One connection. `passing` is how many whole requests of it a server may get; `status` what the caller is told."""

    name: str
    segments: tuple[bytes, ...]
    passing: int = 0
    sender: str = "plain"
    told: tuple[int, ...] = (403,)  # the answers a caller gets when its own side acts too; (): none is promised
    harmless: bool = False  # all of it is allowed
    secret: bytes = b"admin"  # what a server must not have read, in small letters


def request(line: str = "GET /admin HTTP/1.1", *fields: str, body: bytes = b"", end: str = "\r\n") -> bytes:
    return end.join([line, "Host: server", *fields, "", ""]).encode("latin-1") + body


OK, BAD = request("GET /ok HTTP/1.1"), request()
POST = "POST /orders HTTP/1.1"
TE, CL = "Transfer-Encoding: chunked", "Content-Length: {}"


def apart(data: bytes, size: int = 1) -> tuple[bytes, ...]:
    return tuple(data[i : i + size] for i in range(0, len(data), size))


def attacks() -> tuple[Attack, ...]:
    """All of them."""
    return (*_spelling(), *_lines(), *_framing(), *_cutting(), *_order(), *_senders(), *_allowed())


def _spelling() -> list[Attack]:
    paths = {
        "plain": "/admin", "capitals": "/Admin", "encoded": "/%61dmin", "double-slash": "//admin", "dot": "/./admin",
        "dots": "/static/../admin", "dots-deep": "/static/a/../../admin", "dots-encoded": "/static/%2e%2e/admin",
        "dots-half": "/static/.%2E/admin", "slash-encoded": "/static/..%2fadmin", "twice-encoded": "/static/%252e%252e/admin",
        "backslash": "/static/..\\admin", "backslash-encoded": "/static/..%5cadmin", "parameter": "/ok;/../admin",
        "parameter-dots": "/static/..;/admin", "empty-segment": "/static//admin", "overlong": "/static/%c0%ae%c0%ae/admin",
        "null": "/ok%00/admin", "newline": "/ok%0d%0aadmin", "fragment": "/ok#/../admin", "tail": "/ok/admin",
        "user-dots": "/users/..%2Fadmin", "user-up": "/users/../admin", "bytes": "/static/\xe9/admin",
        "absolute": "http://server/admin", "absolute-allowed": "http://server/ok?admin", "relative": "admin", "star": "*admin",
        "tab": "/ok\tadmin", "query-fragment": "/ok?a#admin", "encoded-ok": "/o%6b?admin", "dots-only": "/static/.../admin/..",
    }  # fmt: skip
    told: dict[str, tuple[int, ...]] = {}
    return [
        Attack(f"path-{name}", (request(f"GET {path} HTTP/1.1"),), told=told.get(name, (403,)))
        for name, path in paths.items()
    ]


def _lines() -> list[Attack]:
    lines = {
        "post": "POST /admin HTTP/1.1", "head": "HEAD /ok?admin HTTP/1.1", "other-method": "ADMIN /ok?admin HTTP/1.1",
        "lower-method": "get /ok?admin HTTP/1.1", "connect": "CONNECT admin:80 HTTP/1.1", "connect-path": "CONNECT /ok?admin HTTP/1.1",
        "delete": "DELETE /users/admin HTTP/1.1", "trace": "TRACE /ok?admin HTTP/1.1", "tabs": "GET\t/ok?admin\tHTTP/1.1",
        "two-spaces": "GET  /ok?admin HTTP/1.1", "space-behind": "GET /ok?admin HTTP/1.1 ", "version-2": "GET /ok?admin HTTP/2.0",
        "version-12": "GET /ok?admin HTTP/1.2", "version-09": "GET /ok?admin HTTP/0.9", "lower-version": "GET /ok?admin http/1.1",
        "no-version": "GET /ok?admin", "space-before": " GET /ok?admin HTTP/1.1", "two-targets": "GET /ok /admin HTTP/1.1",
        "control": "GET /ok?\x01admin HTTP/1.1", "nul": "GET /ok\0admin HTTP/1.1",
    }  # fmt: skip
    made = [Attack(f"line-{name}", (request(line),)) for name, line in lines.items()]
    made.append(Attack("line-http2", (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + BAD,)))
    made.append(Attack("line-simple", (b"GET /admin\r\n",)))
    made.append(Attack("line-empty-first", (b"\r\n" + BAD,)))
    made.append(Attack("line-feed-first", (b"\n" + BAD,)))
    made.append(Attack("line-feeds", (request(end="\n"),)))
    made.append(Attack("line-feeds-allowed", (request("GET /ok?admin HTTP/1.1", end="\n"),)))
    made.append(Attack("line-return", (b"GET /ok?admin HTTP/1.1\rHost: a\r\n\r\n",)))
    made.append(Attack("line-64k", (b"GET /static/" + b"a" * 65536 + b"/admin HTTP/1.1\r\nHost: a\r\n\r\n",), told=()))
    made.append(Attack("line-64k-query", (b"GET /ok?" + b"a" * 65536 + b"admin HTTP/1.1\r\nHost: a\r\n\r\n",), told=()))
    made.append(
        Attack("fields-many", (request("GET /ok HTTP/1.1", *(f"X-{i}: filler" for i in range(3000))),), told=())
    )
    return made


def _framing() -> list[Attack]:
    fields: dict[str, tuple[str, ...]] = {
        "cl-te": (CL.format(6), TE), "te-cl": (TE, CL.format(4)), "te-te": (TE, "Transfer-Encoding: identity"),
        "te-twice": (TE, TE), "te-list": ("Transfer-Encoding: gzip, chunked",), "te-odd": ("Transfer-Encoding: xchunked",),
        "te-comma": ("Transfer-Encoding: chunked,",), "te-space": ("Transfer-Encoding : chunked",), "te-tab": ("Transfer-Encoding:\x0bchunked",),
        "te-identity": ("Transfer-Encoding: identity", CL.format(3)), "te-quoted": ('Transfer-Encoding: "chunked"',),
        "te-fold": ("Transfer-Encoding:\r\n chunked",), "fold": ("X-A: b", " c: admin"), "cl-cl": (CL.format(3), CL.format(50)),
        "cl-same": (CL.format(3), CL.format(3)), "cl-list": ("Content-Length: 3, 3",), "cl-plus": ("Content-Length: +3",),
        "cl-minus": ("Content-Length: -1",), "cl-hex": ("Content-Length: 0x3",), "cl-huge": ("Content-Length: 99999999999999999999",),
        "cl-space": ("Content-Length : 3",), "cl-empty": ("Content-Length:",), "cl-in": ("Content-Length: 3 4",),
        "nul": ("X-A: \0",), "return-in": ("X-A: a\rContent-Length: 50",), "feed-in": ("X-A: a\nContent-Length: 50",),
        "no-colon": ("Admin",), "no-name": (": admin",), "name-odd": ("X(A): admin",), "upgrade": ("Connection: Upgrade", "Upgrade: websocket"),
        "h2c": ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
    }  # fmt: skip
    made = [
        Attack(f"field-{name}", (request(POST, *given, body=b"0\r\n\r\n" + BAD),)) for name, given in fields.items()
    ]
    made.append(Attack("field-te-old", (request("POST /orders HTTP/1.0", TE, body=b"0\r\n\r\n" + BAD),)))
    chunks = {
        "extension": b"3;a=b\r\nabc\r\n0\r\n\r\n", "feed": b"3\nabc\r\n0\r\n\r\n", "junk": b"3 x\r\nabc\r\n0\r\n\r\n", "0x": b"0x3\r\nabc\r\n",
        "minus": b"-3\r\n", "huge": b"fffffffffffffffff\r\n", "no-end": b"3\r\nabcd\r\n0\r\n\r\n", "end-feed": b"3\r\nabc\n0\r\n\r\n",
        "space": b" 3\r\nabc\r\n", "trailer-cl": b"0\r\nContent-Length: 9\r\n\r\n", "trailer-fold": b"0\r\n a\r\n\r\n",
        "wrap": b"100000003\r\nabc\r\n0\r\n\r\n",
    }  # fmt: skip
    made += [Attack(f"chunk-{name}", (request(POST, TE, body=body + BAD),), told=()) for name, body in chunks.items()]
    return made


def _cutting() -> list[Attack]:
    line = b"GET /admin HTTP/1.1\r\n"
    made = [Attack(f"cut-{at}", (BAD[:at], BAD[at:])) for at in range(1, len(line) + 1)]
    made.append(Attack("cut-everywhere", apart(BAD)))
    made.append(Attack("cut-dots", apart(request("GET /static/../admin HTTP/1.1"))))
    made.append(Attack("cut-te", apart(request(POST, CL.format(6), TE, body=b"0\r\n\r\n" + BAD), 3)))
    made.append(Attack("cut-end", (OK[:-2],), told=()))
    return made


def _order() -> list[Attack]:
    body = request(POST, CL.format(3), body=b"abc")
    chunked = request(POST, TE, body=b"3\r\nabc\r\n0\r\n\r\n")
    trailer = request(POST, TE, body=b"3\r\nabc\r\n0\r\nX-T: u\r\n\r\n")
    made = [Attack("body-first", (b"abc" + BAD,)), Attack("body-only", (b"admin=1&x=2",))]
    for name, before in (
        ("request", OK),
        ("body", body),
        ("chunks", chunked),
        ("trailer", trailer),
        ("big", request(POST, CL.format(70000), body=b"a" * 70000)),
    ):
        made.append(Attack(f"behind-{name}", (before + BAD,), 1, told=()))
        made.append(Attack(f"behind-{name}-next", (before, BAD), 1, told=(200, 403)))
        made.append(Attack(f"behind-{name}-cut", (before[:-1], before[-1:] + BAD[:7], BAD[7:]), 1, told=()))
    made.append(Attack("behind-many", (OK * 20 + BAD + OK,), 20, told=()))
    made.append(Attack("again", (BAD, BAD, BAD), told=(403, 403, 403)))
    made.append(Attack("then-allowed", (BAD, OK), 1, told=(403, 200)))
    made.append(
        Attack("with-body", (request("POST /admin HTTP/1.1", CL.format(5), body=b"admin"), OK), 1, told=(403, 200))
    )
    made.append(Attack("with-chunks", (request("POST /admin HTTP/1.1", TE, body=b"5\r\nadmin\r\n0\r\n\r\n"),)))
    made.append(
        Attack("with-late-body", (request("POST /admin HTTP/1.1", CL.format(5)), b"adm", b"in", OK), 1, told=(403, 200))
    )
    return made


def _senders() -> list[Attack]:
    kinds = ("vector", "sendfile", "splice", "zerocopy", "more", "cork", *policy_uring.SENDERS)
    answer = {kind: () if kind in policy_uring.NOT_FROM_MAPS else (403,) for kind in kinds}
    made = [Attack(f"{kind}", (BAD,), sender=kind, told=answer[kind]) for kind in kinds]
    made += [Attack(f"{kind}-cut", (BAD[:6], BAD[6:]), sender=kind, told=answer[kind]) for kind in kinds]
    made += [Attack(f"{kind}-behind", (OK, BAD), 1, sender=kind, told=()) for kind in kinds]
    made.append(Attack("pages", (request("GET /ok?plain HTTP/1.1"),), 1, sender="pages", told=()))
    made += [Attack(f"{kind}-allowed", (OK,), 1, kind, (200,), harmless=True) for kind in policy_uring.SENDERS]
    made.append(Attack("fastopen", (BAD,), sender="fastopen", told=()))
    made.append(Attack("fastopen-behind", (OK + BAD,), 1, sender="fastopen", told=()))
    made.append(Attack("fastopen-then", (OK, BAD), 1, sender="fastopen", told=()))
    # Allowed with the urgent byte in its place, where sk_msg puts it; a server that reads it apart reads `/../`.
    urgent = (b"GET /static/.", b"x", b"./admin HTTP/1.1\r\nHost: a\r\n\r\n")
    made.append(Attack("oob", urgent, 1, sender="oob", told=(), secret=b"/../"))
    return made


def _allowed() -> list[Attack]:
    body = request(POST, CL.format(len(BAD)), body=BAD)
    many = {
        "get": OK, "root": request("GET / HTTP/1.1"), "user": request("GET /users/17 HTTP/1.1"), "static": request("GET /static/a/b.c HTTP/1.1"),
        "static-empty": request("GET /static/ HTTP/1.1"), "query": request("GET /ok?a=../admin HTTP/1.1"), "encoded": request("GET /users/j%C3%B6rg HTTP/1.1"),
        "old": request("GET /ok HTTP/1.0"), "body": body, "chunks": request(POST, TE, body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(BAD), BAD)),
        "no-body": request(POST, "content-length:  0 "), "te-case": request(POST, "TRANSFER-ENCODING: Chunked", body=b"0\r\n\r\n"),
        "high-bytes": request("GET /ok HTTP/1.1", "X-A: \xe9\xff"), "like": request("GET /ok HTTP/1.1", "Content-Lengthy: x", "Transfer-Encodings: y", "Upgrade-Insecure-Requests: 1"),
    }  # fmt: skip
    made = [Attack(f"allowed-{name}", (data,), 1, told=(200,), harmless=True) for name, data in many.items()]
    made += [
        Attack(f"allowed-{name}-cut", apart(data, 5), 1, told=(200,), harmless=True) for name, data in many.items()
    ]
    made.append(Attack("allowed-pipelined", (OK * 5,), 5, told=(200,) * 5, harmless=True))
    return made


# ---- the client ----


def _file(data: bytes) -> int:
    with tempfile.TemporaryFile() as handle:
        handle.write(data)
        handle.flush()
        return os.dup(handle.fileno())


def _by_file(end: socket.socket, data: bytes) -> None:
    file = _file(data)
    try:
        os.sendfile(end.fileno(), file, 0, len(data))
    finally:
        os.close(file)


def _by_splice(end: socket.socket, data: bytes) -> None:
    read, write = os.pipe()
    file = _file(data)
    try:
        os.splice(file, write, len(data), offset_src=0)
        os.splice(read, end.fileno(), len(data))
    finally:
        for each in (read, write, file):
            os.close(each)


def _by_zerocopy(end: socket.socket, data: bytes) -> None:
    end.setsockopt(socket.SOL_SOCKET, _SO_ZEROCOPY, 1)
    end.send(data, _MSG_ZEROCOPY)


def _by_cork(end: socket.socket, data: bytes) -> None:
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    end.sendall(data)


def _by_pages(end: socket.socket, data: bytes) -> None:
    """Give the socket a page, and change what stands in it once it was judged and before it is read."""
    page = mmap.mmap(-1, mmap.PAGESIZE)
    _KEPT.append(page)
    page[: len(data)] = data
    start = ctypes.addressof(ctypes.c_char.from_buffer(page))
    read, write = os.pipe()
    vector = (ctypes.c_size_t * 2)(start, len(data))
    if ctypes.CDLL(None, use_errno=True).vmsplice(write, vector, 1, 0) != len(data):
        raise OSError(ctypes.get_errno(), "vmsplice")
    os.splice(read, end.fileno(), len(data))
    time.sleep(_HESITATION_S / 3)
    page[: len(data)] = data.replace(b"/ok?plain", b"/ok/admin")
    os.close(read)
    os.close(write)


_KEPT: list[mmap.mmap] = []  # or the pages would be given back while they are under way

SENDERS: dict[str, Callable[[socket.socket, bytes], object]] = {
    "plain": lambda end, data: end.sendall(data),
    "vector": lambda end, data: end.sendmsg([data[i : i + 3] for i in range(0, len(data), 3)]),
    "sendfile": _by_file,
    "splice": _by_splice,
    "zerocopy": _by_zerocopy,
    "more": lambda end, data: end.send(data, socket.MSG_MORE),
    "cork": _by_cork,
    "pages": _by_pages,
    "fastopen": lambda end, data: end.sendall(data),
    "oob": lambda end, data: end.send(data, socket.MSG_OOB if len(data) == 1 else 0),
    **policy_uring.SENDERS,
}


def _statuses(data: bytes) -> list[int]:
    return [int(part[:3]) for part in data.split(b"HTTP/1.1 ")[1:]]


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _play(attack: Attack, place: tuple[str, int]) -> dict[str, object]:
    end = socket.socket(_family(place[0]))
    end.settimeout(_WAIT_S)
    got, error = b"", ""
    try:
        if attack.sender == "fastopen":
            end.settimeout(5)
            end.sendto(attack.segments[0], _MSG_FASTOPEN, place)
            end.settimeout(_WAIT_S)
        else:
            end.settimeout(5)
            end.connect(place)
            end.settimeout(_WAIT_S)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, attack.sender not in {"more", "cork"})
        for number, segment in enumerate(attack.segments[attack.sender == "fastopen" :]):
            if number and len(attack.segments) == len(attack.told) > 1:
                got += end.recv(65536)
            SENDERS[attack.sender](end, segment)
            time.sleep(_PAUSE_S)
    except OSError as problem:
        error = f"{type(problem).__name__}: {problem}"
    try:
        while more := end.recv(65536):
            got += more
            if len(_statuses(got)) >= len(attack.told) > 0:
                break
    except OSError as problem:
        error = error or f"{type(problem).__name__}: {problem}"
    port = end.getsockname()[1]
    end.close()
    return {"name": attack.name, "port": port, "statuses": _statuses(got), "error": error}


def client(address: str, port: int) -> None:
    """Try all; a line of JSON for each."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for outcome in pool.map(lambda attack: _play(attack, (address, port)), attacks()):
            print(json.dumps(outcome), flush=True)


# ---- the server ----


def _record(end: socket.socket, port: int) -> None:
    answered, data = 0, b""
    with end:
        time.sleep(_HESITATION_S)
        try:
            while more := end.recv(65536):
                data += more
                # one write: lines of threads must not run into each other
                os.write(1, f"{port} {base64.b64encode(more).decode()}\n".encode())
                whole = len(requests(data))
                end.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" * (whole - answered))
                answered = whole
        except OSError:
            return


def requests(data: bytes) -> list[tuple[str, str]]:
    """Method and target of every whole request in it, as llhttp reads it at its most lenient."""

    class Reader:
        def __init__(self) -> None:
            self.found: list[tuple[str, str]] = []
            self.url = b""

        def on_message_begin(self) -> None:
            self.url = b""

        def on_url(self, url: bytes) -> None:
            self.url += url

        def on_message_complete(self) -> None:
            self.found.append((parser.get_method().decode(), self.url.decode("latin-1")))

    reader = Reader()
    parser = httptools.HttpRequestParser(reader)
    if hasattr(parser, "set_dangerous_leniencies"):
        parser.set_dangerous_leniencies(*([True] * 9))
    try:
        parser.feed_data(data)
    except httptools.HttpParserError:
        pass
    except httptools.HttpParserUpgrade:
        reader.found.append(("UPGRADE", ""))
    return reader.found


def server(address: str, port: int, deferred: bool = False) -> None:
    """Record until the end: `client's-port base64` for each piece. Deferred: connections are sockets once data came."""
    listening = socket.create_server((address, port), backlog=256, family=_family(address))
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 256)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, int(deferred))
    print("ready", flush=True)
    while True:
        end, place = listening.accept()
        threading.Thread(target=_record, args=(end, place[1]), daemon=True).start()


if __name__ == "__main__":
    role, where, number, *how = sys.argv[1:]
    if role == "server":
        server(where, int(number), "deferred" in how)
    client(where, int(number))
