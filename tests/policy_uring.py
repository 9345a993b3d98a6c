"""Senders that hand their bytes to the kernel by io_uring: its system calls themselves, without a library."""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import struct
import tempfile
from collections.abc import Callable

_SETUP, _ENTER = 425, 426  # the same numbers on all architectures
_WRITEV, _SENDMSG, _SEND, _SPLICE, _SEND_ZC, _SENDMSG_ZC = 2, 9, 26, 30, 47, 48
_BY_WORKER = 1 << 4  # IOSQE_ASYNC: a thread of the kernel sends
_GETEVENTS, _ENTRY_BYTES, _NOWHERE = 1, 64, 2**64 - 1
_RINGS, _ENTRIES = 0, 0x10000000  # what mmap is asked for
_ENTRY, _TAIL, _RESULT = struct.Struct("=BBHiQQIIQHHi"), struct.Struct("=I"), struct.Struct("=QiI")
_libc = ctypes.CDLL(None, use_errno=True)
_kept: list[object] = []  # what the kernel may still read when the call has returned


class Ring:
    """Room for a single operation."""

    def __init__(self) -> None:
        told = ctypes.create_string_buffer(120)
        self.fd = _checked(_libc.syscall(_SETUP, 1, told))
        self._sq, self._cq = struct.unpack_from("=7I", told, 40), struct.unpack_from("=6I", told, 80)
        self._rings = mmap.mmap(self.fd, max(4096, self._cq[5] + 64), offset=_RINGS)
        self._entries = mmap.mmap(self.fd, _ENTRY_BYTES, offset=_ENTRIES)

    def run(
        self, code: int, fd: int, address: int, length: int, *, flags: int = 0, off: int = 0, other: int = 0
    ) -> int:
        """Submit, wait, and return what the operation did; `OSError` where it failed."""
        self._entries[: _ENTRY.size] = _ENTRY.pack(code, flags, 0, fd, off, address, length, 0, 1, 0, 0, other)
        _TAIL.pack_into(self._rings, self._sq[6], 0)
        _TAIL.pack_into(self._rings, self._sq[1], 1)
        _checked(_libc.syscall(_ENTER, self.fd, 1, 1, _GETEVENTS, None, 0))
        _, result, _ = _RESULT.unpack_from(self._rings, self._cq[5])
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return int(result)

    def __enter__(self) -> Ring:
        return self

    def __exit__(self, *_: object) -> None:
        self._entries.close()
        self._rings.close()
        os.close(self.fd)


def there() -> bool:
    """Does this kernel let us have one?"""
    try:
        with Ring():
            return True
    except OSError:
        return False


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "io_uring")
    return result


def _buffer(data: bytes) -> int:
    text = ctypes.create_string_buffer(data, len(data))
    _kept.append(text)
    return ctypes.addressof(text)


def _vector(data: bytes) -> tuple[int, int]:
    """As struct iovec, in pieces of three bytes: where, and how many."""
    start, words = _buffer(data), list[int]()
    for at in range(0, len(data), 3):
        words += [start + at, min(3, len(data) - at)]
    vector = (ctypes.c_size_t * len(words))(*words)
    _kept.append(vector)
    return ctypes.addressof(vector), len(words) // 2


def _message(data: bytes) -> int:
    """As struct msghdr."""
    header = (ctypes.c_size_t * 7)(0, 0, *_vector(data), 0, 0, 0)
    _kept.append(header)
    return ctypes.addressof(header)


def _whole(code: int, flags: int = 0) -> Callable[[socket.socket, bytes], None]:
    def send(end: socket.socket, data: bytes) -> None:
        while data:
            with Ring() as ring:
                data = data[ring.run(code, end.fileno(), _buffer(data), len(data), flags=flags) :]

    return send


def _vectors(end: socket.socket, data: bytes) -> None:
    where, count = _vector(data)
    with Ring() as ring:
        ring.run(_WRITEV, end.fileno(), where, count)


def _messages(code: int) -> Callable[[socket.socket, bytes], None]:
    def send(end: socket.socket, data: bytes) -> None:
        with Ring() as ring:
            ring.run(code, end.fileno(), _message(data), 1)

    return send


def _spliced(end: socket.socket, data: bytes) -> None:
    read, write = os.pipe()
    with tempfile.TemporaryFile() as file, Ring() as ring:
        file.write(data)
        file.flush()
        os.splice(file.fileno(), write, len(data), offset_src=0)
        ring.run(_SPLICE, end.fileno(), _NOWHERE, len(data), off=_NOWHERE, other=read)
    os.close(read)
    os.close(write)


# With these the kernel refuses sockets that are in a sockmap, as a client's are under the client's side: EOPNOTSUPP.
NOT_FROM_MAPS = frozenset({"uring-zerocopy", "uring-message-zerocopy"})
SENDERS: dict[str, Callable[[socket.socket, bytes], None]] = {
    "uring-send": _whole(_SEND),
    "uring-worker": _whole(_SEND, _BY_WORKER),
    "uring-zerocopy": _whole(_SEND_ZC),
    "uring-vector": _vectors,
    "uring-message": _messages(_SENDMSG),
    "uring-message-zerocopy": _messages(_SENDMSG_ZC),
    "uring-splice": _spliced,
}
