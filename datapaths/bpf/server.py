"""A few pages over HTTP for one reader at a time: small enough for an agent that must weigh little."""

from __future__ import annotations

import contextlib
import ipaddress
import select
import signal
import socket
from collections.abc import Callable, Mapping

from lab.record import Mistake

_PATIENCE_S = 2.0
_MOST_REQUEST_BYTES = 8192
LOOPBACK = "127.0.0.1"

Page = Callable[[str], tuple[str, str]]
"""(Accept header) -> (content type, text)."""


class Server:
    """Answers GET for `pages` on 127.0.0.1:`port`, and on one more address of this machine where one is given.

    Never on all addresses: what a node's agent knows is for the node and its pod network.
    """

    def __init__(self, port: int, pages: Mapping[str, Page], address: str | None = None) -> None:
        self._pages, self._sockets = pages, [_listening(LOOPBACK, port)]
        self.port: int = self._sockets[0].getsockname()[1]
        try:
            if address not in (None, LOOPBACK):
                self._sockets.append(_listening(_one_address(address), self.port))
        except BaseException:
            self.close()
            raise

    def serve(self, tend: Callable[[], None], pause_s: float | None) -> None:
        """Never returns; a signal handler that raises ends it.

        `tend` is called after every request and every signal, and at the latest every `pause_s` seconds, if given.
        """
        woken, waker = socket.socketpair()
        with woken, waker:
            for end in (woken, waker):
                end.setblocking(False)
            signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
            try:
                while True:
                    tend()
                    ready, _, _ = select.select([*self._sockets, woken], (), (), pause_s)
                    for listening in ready:
                        if listening is woken:
                            woken.recv(4096)
                        else:
                            self._converse(listening)
            finally:
                signal.set_wakeup_fd(-1)

    def _converse(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):  # a reader that went away is no concern of others
            connection, _ = listening.accept()
            with connection:
                connection.settimeout(_PATIENCE_S)
                connection.sendall(self._answer(_request(connection)))

    def _answer(self, request: bytes) -> bytes:
        first, *fields = request.decode("latin-1").split("\r\n")
        line = first.split(" ")
        page = self._pages.get(line[1].split("?")[0]) if len(line) == 3 and line[0] == "GET" else None
        if page is None:
            return _response("404 Not Found", "text/plain", f"there are {', '.join(self._pages)}\n")
        accept = ",".join(f.partition(":")[2] for f in fields if f.lower().startswith("accept:"))
        return _response("200 OK", *page(accept))

    def close(self) -> None:
        """Stop listening."""
        for listening in self._sockets:
            listening.close()


def _one_address(text: str | None) -> str:
    try:
        address = ipaddress.ip_address(text or "")
    except ValueError:
        address = ipaddress.ip_address("0.0.0.0")  # noqa: S104 - refused right away
    if address.is_unspecified or address.is_multicast:
        raise Mistake(f"--listen {text}; allowed is one address of the node in its pod network, not all of them")
    return str(address)


def _listening(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family, backlog=16)
    except OSError as error:
        raise Mistake(
            f"cannot listen on {address} port {port}: {error.strerror}; give a free port of this node"
        ) from error


def _request(connection: socket.socket) -> bytes:
    read = b""
    while b"\r\n\r\n" not in read and len(read) < _MOST_REQUEST_BYTES:
        more = connection.recv(4096)
        if not more:
            break
        read += more
    return read


def _response(status: str, kind: str, text: str) -> bytes:
    body = text.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body
