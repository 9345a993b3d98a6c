"""Both ends of what a balancer does, with real sockets: `python bpf_sockets.py serve NAME PORT…` and `… obey`.

A server says its name to every connection and datagram and echoes what follows. An obedient process reads calls of
`Sockets` as JSON lines and answers each with a JSON line; its sockets stay open from one call to the next.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import random
import selectors
import socket
import statistics
import struct
import sys
import time
from collections import Counter
from typing import Any

PATIENCE_S = 3
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
MPTCP = 262


def serve(name: str, *ports: str) -> None:
    """On every address, both versions of IP."""
    chosen = selectors.DefaultSelector()
    for port in map(int, ports):
        for kind in KINDS.values():
            end = socket.socket(socket.AF_INET6, kind)
            end.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            end.bind(("::", port))
            if kind == socket.SOCK_STREAM:
                end.listen(1024)
            chosen.register(end, selectors.EVENT_READ, kind)
    print("ready", flush=True)
    while True:
        for key, _ in chosen.select():
            ready = key.fileobj
            assert isinstance(ready, socket.socket)
            if key.data == socket.SOCK_DGRAM:
                _, sender = ready.recvfrom(2048)
                ready.sendto(name.encode(), sender)
            elif key.data == socket.SOCK_STREAM:
                accepted, _ = ready.accept()
                accepted.sendall(name.encode() + b"\n")
                chosen.register(accepted, selectors.EVENT_READ, None)
            else:
                data = b""
                with contextlib.suppress(ConnectionError):
                    data = ready.recv(2048)
                    ready.sendall(data)
                if not data:
                    chosen.unregister(ready)
                    ready.close()


class Sockets:
    """Sockets by number. Every call returns something JSON can carry; an `OSError` becomes its name."""

    def __init__(self) -> None:
        self.open: dict[int, socket.socket] = {}
        self.made = 0

    def socket(self, kind: str, version: int = 4, bound: str | None = None, protocol: int = 0) -> int:
        end = socket.socket(FAMILIES[version], KINDS[kind], protocol)
        for which in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):  # Python's own timeouts make connects that do not wait
            end.setsockopt(socket.SOL_SOCKET, which, struct.pack("ll", PATIENCE_S, 0))
        if bound is not None:
            end.bind((bound, 0))
        self.made += 1
        self.open[self.made] = end
        return self.made

    def connect(self, number: int, address: str, port: int) -> None:
        self.open[number].connect((address, port))

    def disconnect(self, number: int) -> None:
        """By AF_UNSPEC, which Python's `connect` cannot say."""
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.connect(self.open[number].fileno(), bytes(16), 16):
            raise OSError(ctypes.get_errno(), "disconnect")

    def begin(self, number: int, address: str, port: int) -> str:
        """A connect that does not wait; then one that does, by polling and asking again."""
        end = self.open[number]
        end.setblocking(False)
        first = end.connect_ex((address, port))
        chosen = selectors.DefaultSelector()
        chosen.register(end, selectors.EVENT_WRITE)
        assert chosen.select(PATIENCE_S)
        again, third = end.connect_ex((address, port)), end.connect_ex((address, port))
        end.setblocking(True)
        return " ".join(errno.errorcode.get(each, "OK") for each in (first, again, third))

    def send_to(self, number: int, address: str, port: int) -> None:
        self.open[number].sendto(b"x", (address, port))

    def send(self, number: int) -> None:
        self.open[number].send(b"x")

    def receive(self, number: int) -> str:
        return self.open[number].recv(100).decode().strip()

    def receive_from(self, number: int) -> list[Any]:
        data, sender = self.open[number].recvfrom(100)
        return [data.decode().strip(), *sender[:2]]

    def peer(self, number: int) -> list[Any]:
        return list(self.open[number].getpeername()[:2])

    def close(self, number: int) -> None:
        self.open.pop(number).close()

    def ask(self, address: str, port: int, kind: str = "tcp", version: int = 4) -> str:
        """The server's name over one new connection."""
        number = self.socket(kind, version)
        try:
            self.connect(number, address, port)
            if kind == "udp":
                self.send(number)
            return self.receive(number)
        finally:
            self.close(number)

    def many(self, count: int, address: str, port: int, kind: str = "tcp", version: int = 4) -> dict[str, int]:
        """So many connections, one after another, by the server's name."""
        return Counter(self.ask(address, port, kind, version) for _ in range(count))

    def timed(self, count: int, addresses: list[str], port: int, kind: str) -> dict[str, float]:
        """So many connections, one after another, each to one of the addresses by chance.

        The median nanoseconds of connect() alone; and the mean of all of it, with the server's first word and the
        close (by a reset: ports must not run out).
        """
        spent, begun = [], time.perf_counter_ns()
        for _ in range(count):
            end, address = socket.socket(socket.AF_INET, KINDS[kind]), random.choice(addresses)
            before = time.perf_counter_ns()
            end.connect((address, port))
            spent.append(time.perf_counter_ns() - before)
            if kind == "tcp":
                end.recv(100)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()
        return {"connect_ns": statistics.median(spent), "whole_ns": (time.perf_counter_ns() - begun) / count}

    def fast_open(self, address: str, port: int) -> str:
        """A connection that begins with sendto, as TCP Fast Open has it."""
        number = self.socket("tcp")
        self.open[number].sendto(b"x", socket.MSG_FASTOPEN, (address, port))
        return self.receive(number)


def obey() -> None:
    sockets = Sockets()
    print("ready", flush=True)
    for line in sys.stdin:
        name, arguments = json.loads(line)
        try:
            answer = {"value": getattr(sockets, name)(*arguments)}
        except OSError as error:
            answer = {"error": errno.errorcode.get(error.errno or 0, str(error))}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve(*sys.argv[2:]) if sys.argv[1] == "serve" else obey()
