"""A few pages over HTTP for one reader at a time: small enough for an agent that must weigh little."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Mapping

_PATIENCE_S = 2.0
_MOST_REQUEST_BYTES = 8192

Page = Callable[[], tuple[str, str]]
"""() -> (content type, text)."""


class Server:
    """Answers GET for the paths in `pages` on 127.0.0.1:`port`, one connection after another, until it is closed."""

    def __init__(self, port: int, pages: Mapping[str, Page]) -> None:
        self._pages = pages
        self._socket = socket.create_server(("127.0.0.1", port), backlog=16)
        self.port: int = self._socket.getsockname()[1]

    def serve(self) -> None:
        """Never returns; a signal handler that raises ends it."""
        while True:
            connection, _ = self._socket.accept()
            with connection, contextlib.suppress(OSError):  # a reader that went away is no concern of others
                connection.settimeout(_PATIENCE_S)
                connection.sendall(self._answer(_request(connection)))

    def _answer(self, request: bytes) -> bytes:
        line = request.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        page = self._pages.get(line[1].split("?")[0]) if len(line) == 3 and line[0] == "GET" else None
        if page is None:
            return _response("404 Not Found", "text/plain", f"there are {', '.join(self._pages)}\n")
        return _response("200 OK", *page())

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


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
