"""Established TCP sockets of a network namespace, with their memory, by sock_diag; and which process owns which."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from socket import AF_INET, AF_INET6
from typing import TypeVar

from pyroute2 import DiagSocket
from pyroute2.netlink.diag import SS_ESTABLISHED

from lab.cluster import netns
from lab.record import Failed

SKMEMINFO = 7  # INET_DIAG_SKMEMINFO; asked for as bit 7 - 1
Address = tuple[str, int]
T = TypeVar("T")


@dataclass(frozen=True)
class SocketMemory:
    """What the kernel holds for sockets, in bytes.

    `received`: packets that wait to be read (sk_rmem_alloc), `sent`: packets not yet freed by the device
    (sk_wmem_alloc), `queued`: data not yet acknowledged (sk_wmem_queued; mostly the same pages as `sent`), `reserved`:
    charged ahead (sk_forward_alloc), `backlog`, `options`: what options and BPF programs keep with the socket
    (sk_omem_alloc), which is not in `total`. The socket structures themselves are not in here: see `structure_bytes`.
    """

    received: int = 0
    sent: int = 0
    queued: int = 0
    reserved: int = 0
    backlog: int = 0
    options: int = 0

    def __add__(self, other: SocketMemory) -> SocketMemory:
        return SocketMemory(
            self.received + other.received,
            self.sent + other.sent,
            self.queued + other.queued,
            self.reserved + other.reserved,
            self.backlog + other.backlog,
            self.options + other.options,
        )

    @property
    def total(self) -> int:
        """All of it, each page once."""
        return self.received + max(self.sent, self.queued) + self.reserved + self.backlog


@dataclass(frozen=True)
class Socket:
    """One end of an established TCP connection. `inode` is 0 until its process has accepted it."""

    inode: int
    local: Address
    remote: Address
    memory: SocketMemory = field(default_factory=SocketMemory)


def established(pid: int) -> tuple[Socket, ...]:
    """All established TCP sockets of the network namespace that `pid` is in."""
    return inside(pid, _dump)


def owned(pids: Iterable[int]) -> set[int]:
    """The inodes of the sockets that these processes hold. `OSError` when one has ended."""
    return {inode for pid in pids for fd in Path(f"/proc/{pid}/fd").iterdir() if (inode := _inode(fd)) is not None}


def structure_bytes() -> int | None:
    """The size of the kernel's TCP (IPv4) socket structure, from /proc/slabinfo; None where that cannot be read."""
    try:
        lines = Path("/proc/slabinfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[3]) for line in lines if line.split()[0] == "TCP"), None)


def inside(pid: int, call: Callable[[], T]) -> T:
    """The result of `call`, made in a thread that has entered the network namespace of `pid` and ends with it."""
    try:
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Failed(f"the network namespace of process {pid} is gone: {error}") from error
    try:
        return netns.inside(namespace, call)
    finally:
        os.close(namespace)


def _dump() -> tuple[Socket, ...]:
    with DiagSocket() as diag:
        diag.bind()
        asked = {"states": 1 << SS_ESTABLISHED, "extensions": 1 << (SKMEMINFO - 1)}
        messages = [m for family in (AF_INET, AF_INET6) for m in diag.get_sock_stats(family=family, **asked)]
    return tuple(_socket(m) for m in messages if m["idiag_state"] == SS_ESTABLISHED)


def _socket(message: dict[str, object]) -> Socket:
    attributes = dict(message["attrs"])  # type: ignore[call-overload]
    words = attributes.get("INET_DIAG_SKMEMINFO")
    if words is None:
        raise Failed(
            f"the kernel gave no memory of socket {message['idiag_inode']}; sock_diag must offer INET_DIAG_SKMEMINFO"
        )
    # rmem, rcvbuf, wmem, sndbuf, fwd, queued, optmem, backlog (linux/sock_diag.h)
    m = struct.unpack_from("=8I", bytes.fromhex(str(words).replace(":", "")))
    memory = SocketMemory(m[0], m[2], m[5], m[4], m[7], m[6])
    inode = int(str(message["idiag_inode"]))
    return Socket(inode, _address(message, "src", "sport"), _address(message, "dst", "dport"), memory)


def _address(message: dict[str, object], address: str, port: str) -> Address:
    """IPv4 in IPv6's clothes is IPv4: the two ends of one connection must read alike."""
    return str(message[f"idiag_{address}"]).removeprefix("::ffff:"), int(str(message[f"idiag_{port}"]))


def _inode(fd: Path) -> int | None:
    try:
        target = str(fd.readlink())
    except FileNotFoundError:
        return None  # closed since it was listed
    return int(target[8:-1]) if target.startswith("socket:[") else None
