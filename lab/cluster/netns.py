"""Network namespaces that nothing but file descriptors of this process holds.

They have no name in /run/netns: when the lab and the processes inside are dead, the kernel removes them, their links,
rules and routes, however the lab died.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from typing import TypeVar

from lab.record import CannotRun

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)  # os.setns and os.unshare came with Python 3.12


class Namespace:
    """A new network namespace, its loopback down. `path` opens it from any process until it is closed."""

    def __init__(self) -> None:
        self.fd = _in_a_thread(_unshare)

    @property
    def path(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def inside(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises when run inside: sockets and child processes that it makes belong here."""
        return inside(self.fd, work)

    def close(self) -> None:
        """Let go of it; it ends with the last process inside. Idempotent."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def inside(fd: int, work: Callable[[], T]) -> T:
    """The same for any network namespace, open as `fd`; `CannotRun` where it may not be entered."""

    def enter() -> T:
        _checked(_libc.setns(fd, _CLONE_NEWNET), "setns")
        return work()

    return _in_a_thread(enter)


def _unshare() -> int:
    _checked(_libc.unshare(_CLONE_NEWNET), "unshare")
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _checked(result: int, call: str) -> None:
    if result:
        reason = os.strerror(ctypes.get_errno())
        raise CannotRun(f"{call} of a network namespace: {reason}; it needs CAP_SYS_ADMIN and CONFIG_NET_NS")


def _in_a_thread(work: Callable[[], T]) -> T:
    """A thread of its own that then ends: one that has changed its namespace must never serve anybody else."""
    done: list[T] = []
    broken: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # noqa: BLE001 - carried to the caller, whatever it is
            broken.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    if broken:
        raise broken[0]
    return done[0]
