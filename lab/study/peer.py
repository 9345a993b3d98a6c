"""Both ends of many quiet TCP connections: `python -m lab.study.peer serve PORT` and `… hold HOST PORT COUNT HOW`.

`hold` opens COUNT connections and keeps them; HOW is `idle` (nothing is sent), `used` (one HTTP request, answered),
`active` (one HTTP request that is not answered), `stuffed` (STUFFING bytes that the server leaves unread); with `+tls`
inside TLS. Each prints `ready` when it is done and ends with its standard input.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import sys
from contextlib import suppress

HOWS = ("idle", "used", "active", "stuffed")
STUFFING = 16_384
_GET = b"GET /%s HTTP/1.1\r\nhost: peer\r\n\r\n"
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
_UNREAD = b"Z"


def serve(port: int) -> None:
    """Answer requests, but not those for /wait; a connection that begins with Z is never read again."""
    known = selectors.DefaultSelector()
    listener = socket.create_server(("", port), backlog=4096)
    listener.setblocking(False)
    known.register(listener, selectors.EVENT_READ)
    known.register(sys.stdin, selectors.EVENT_READ)
    kept: list[socket.socket] = []
    print("ready", flush=True)
    while True:
        for key, _ in known.select():
            if key.fileobj is sys.stdin:
                return
            if key.fileobj is listener:
                _accept(listener, known)
            elif isinstance(key.fileobj, socket.socket):
                _answer(key.fileobj, known, kept)


def _accept(listener: socket.socket, known: selectors.BaseSelector) -> None:
    with suppress(BlockingIOError):
        while True:
            known.register(listener.accept()[0], selectors.EVENT_READ)


def _answer(one: socket.socket, known: selectors.BaseSelector, kept: list[socket.socket]) -> None:
    try:
        if one.recv(1, socket.MSG_PEEK) == _UNREAD:
            known.unregister(one)
            kept.append(one)
            return
        told = one.recv(65536)
    except ConnectionError:
        told = b""
    if not told:
        known.unregister(one)
        one.close()
    elif b"/wait" not in told and told.endswith(b"\r\n\r\n"):
        one.sendall(_ANSWER)


def hold(host: str, port: int, count: int, how: str) -> list[socket.socket]:
    """Open that many connections, as `how` says, and give them back."""
    mode, _, secure = how.partition("+")
    if mode not in HOWS or secure not in ("", "tls"):
        raise SystemExit(f"how={how!r}; allowed are {', '.join(HOWS)}, each with +tls")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the question is memory, not trust
    opened = []
    for _ in range(count):
        one = socket.create_connection((host, port), timeout=10)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.append(context.wrap_socket(one) if secure else one)
        _use(opened[-1], mode)
    return opened


def _use(one: socket.socket, mode: str) -> None:
    if mode == "used":
        one.sendall(_GET % b"")
        if not one.recv(4096).startswith(b"HTTP/1.1 200"):
            raise SystemExit("the answer is not 200")
    elif mode == "active":
        one.sendall(_GET % b"wait")
    elif mode == "stuffed":
        one.sendall(_UNREAD * STUFFING)


def main() -> None:
    """The role that the command line asks for."""
    role, *words = sys.argv[1:]
    if role == "serve":
        serve(int(words[0]))
        return
    opened = hold(words[0], int(words[1]), int(words[2]), words[3])
    print(f"ready {len(opened)}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
