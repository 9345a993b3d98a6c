"""TLS connections that one thread may read while another writes.

A web socket has a thread that receives, beside those that send. OpenSSL allows one call at a time on a connection, and
Python only sees to that from 3.13 on: before, bytes go astray now and then (`WRONG_VERSION_NUMBER`). So each call takes
its turn, and waits for the network only between turns.
"""

from __future__ import annotations

import select
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any, Self, TypeVar

T = TypeVar("T")
_LOOK_S = 0.5  # a connection that another thread has closed wakes nobody


class TurnTaking(ssl.SSLSocket):
    """What `SSLContext.wrap_socket` gives where the context's `sslsocket_class` is this. Timeouts are each thread's."""

    def __new__(cls, *given: Any, **named: Any) -> Self:
        made = super().__new__(cls, *given, **named)
        made._turn, made._own, made._shaken = threading.Lock(), threading.local(), False
        return made

    _turn: threading.Lock
    _own: threading.local
    _shaken: bool  # the handshake is one thread's, and may block

    def settimeout(self, value: float | None) -> None:
        self._own.patience = value
        if not self._shaken:
            super().settimeout(value)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        return self._turns(lambda: super(TurnTaking, self).recv(buflen, flags))

    def send(self, data: Any, flags: int = 0) -> int:
        return self._turns(lambda: super(TurnTaking, self).send(data, flags))

    def _turns(self, call: Callable[[], T]) -> T:
        patience: float | None = getattr(self._own, "patience", None)
        deadline = None if patience is None else time.monotonic() + patience
        while True:
            with self._turn:
                if not self._shaken:
                    super().settimeout(0)
                    self._shaken = True
                try:
                    return call()
                except ssl.SSLWantReadError:
                    event = select.POLLIN
                except ssl.SSLWantWriteError:
                    event = select.POLLOUT
            self._await(event, deadline)

    def _await(self, event: int, deadline: float | None) -> None:
        left = _LOOK_S if deadline is None else min(_LOOK_S, deadline - time.monotonic())
        if left <= 0:
            raise TimeoutError("the read or write operation timed out")
        if self.fileno() < 0:
            raise OSError("the connection was closed by another thread")
        poll = select.poll()
        poll.register(self.fileno(), event)
        poll.poll(left * 1000)


def taking_turns(context: ssl.SSLContext) -> ssl.SSLContext:
    """The same context, whose connections may be shared by threads."""
    context.sslsocket_class = TurnTaking
    return context
