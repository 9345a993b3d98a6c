"""A reader whose receive buffer is small, and a client that does not wait for it: `python policy_receiver.py …`.

`server ADDRESS PORT before|after` reads slowly what one connection brings and says how much of `asked()` it was, in
order; its buffer is the least there is, from `before` it listens or from `after` it accepted: then it is smaller
than the window that the client was told, and TCP drops some of what comes. `client ADDRESS PORT` sends all of it.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import time

REQUESTS = 600
PAUSE_S, PATIENCE_S = 1.0, 6.0
_LEAST = 1  # the kernel makes some 2,300 bytes of it


def asked() -> list[bytes]:
    """What the client sends, a request a call: all of it is allowed by a rule for /public/**."""
    return [b"GET /public/%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(REQUESTS)]


def server(address: str, port: int, when: str) -> None:
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if when == "before":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _LEAST)
        listening.bind((address, port))
        listening.listen()
        print("ready", flush=True)
        end, _ = listening.accept()
        if when == "after":
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _LEAST)
        time.sleep(PAUSE_S)
        print(json.dumps(read(end)), flush=True)


def read(end: socket.socket) -> dict[str, object]:
    """Until all is there, or nothing has come for a while: how many bytes, and whether they are the first sent."""
    wanted, found = b"".join(asked()), b""
    end.settimeout(PATIENCE_S)
    with contextlib.suppress(TimeoutError, ConnectionError):
        while len(found) < len(wanted) and (more := end.recv(500)):
            found += more
            time.sleep(0.0005)
    return {"bytes": len(found), "of": len(wanted), "as_sent": wanted.startswith(found)}


def client(address: str, port: int) -> None:
    with socket.create_connection((address, port)) as end:
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for request in asked():
            end.sendall(request)
        end.settimeout(PAUSE_S + 2 * PATIENCE_S)
        with contextlib.suppress(TimeoutError, ConnectionError):
            end.recv(1)  # until the server goes


if __name__ == "__main__":
    server(sys.argv[2], int(sys.argv[3]), sys.argv[4]) if sys.argv[1] == "server" else client(
        sys.argv[2], int(sys.argv[3])
    )
