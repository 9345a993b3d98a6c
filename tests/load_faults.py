"""A small HTTP server that answers as badly as it is told to: one thread of the test per connection."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


class HungUp(Exception):
    """The server closed this connection on purpose."""


@dataclass
class Exchange:
    """One request being answered. Numbers start at 0; `number` is over all connections."""

    server: FaultServer
    number: int
    peer: socket.socket

    def say(self, data: bytes) -> None:
        self.peer.sendall(data)

    def pause(self, seconds: float) -> None:
        """Let this exchange wait, at most until the server is stopped."""
        self.server.stopped.wait(seconds)

    def hang_up(self) -> None:
        raise HungUp

    def reset(self) -> None:
        """Close with a TCP reset instead of a FIN."""
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise HungUp


Answer = Callable[[Exchange], None]


@dataclass
class FaultServer:
    answer: Answer
    welcome: Callable[[int], bool]  # of a connection's number; one that is not welcome is closed
    listener: socket.socket
    requests: int = 0
    of_connection: list[int] = field(default_factory=list)
    peers: list[socket.socket] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)
    counting: threading.Lock = field(default_factory=threading.Lock)

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    @property
    def connections(self) -> int:
        return len(self.of_connection)

    def accept(self) -> None:
        while not self.stopped.is_set():
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self.serve, args=(peer, self.connections))
            self.of_connection.append(0)
            self.peers.append(peer)
            self.threads.append(thread)
            thread.start()

    def serve(self, peer: socket.socket, connection: int) -> None:
        with peer, contextlib.suppress(HungUp, OSError):
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while self.welcome(connection) and heard(peer):
                with self.counting:
                    exchange = Exchange(self, self.requests, peer)
                    self.requests += 1
                    self.of_connection[connection] += 1
                self.answer(exchange)

    def stop_listening(self) -> None:
        """Refuse newcomers from now on."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        self.stopped.set()
        self.stop_listening()
        self.threads[0].join()  # the one that accepts: nobody comes after it
        for peer in self.peers:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()
        self.listener.close()


def heard(peer: socket.socket) -> bool:
    """Whether one more whole request came; the engine sends each in one piece and never two at once."""
    return peer.recv(65536).endswith(b"\r\n\r\n")


@contextmanager
def serving(answer: Answer, welcome: Callable[[int], bool] = lambda connection: True) -> Iterator[FaultServer]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    server = FaultServer(answer, welcome, listener)
    server.threads.append(threading.Thread(target=server.accept))
    server.threads[0].start()
    try:
        yield server
    finally:
        server.stop()


def well(exchange: Exchange) -> None:
    exchange.say(OK)


def after_warmups(count: int, answer: Answer) -> Answer:
    """Behave for the first `count` requests, then as `answer` says."""

    def behave(exchange: Exchange) -> None:
        (well if exchange.number < count else answer)(exchange)

    return behave
