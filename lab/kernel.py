"""Asking the kernel by trying: tiny BPF programs and maps, made through bpf(2) and attached to a throw-away cgroup.

`bpftool feature probe` is wrong on kernels newer than itself; a two-instruction program is not.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import sys
from pathlib import Path

_NR_BPF = {"x86_64": 321, "aarch64": 280}
_NR_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
_MAP_CREATE, _PROG_LOAD, _PROG_ATTACH, _BTF_LOAD, _LINK_CREATE = 0, 5, 8, 18, 28
_SOCKMAP, _SK_STORAGE, _RINGBUF, _NO_PREALLOC = 15, 24, 27, 1
_KPROBE, _SK_MSG, _SK_MSG_VERDICT = 2, 16, 7
_SET_BPF = 0x40042408  # PERF_EVENT_IOC_SET_BPF
_UPROBE_TYPE = Path("/sys/bus/event_source/devices/uprobe/type")
_RETURN_1 = struct.pack("<BBhi", 0xB7, 0, 0, 1) + struct.pack("<BBhi", 0x95, 0, 0, 0)  # r0 = 1; exit

PROGRAMS = {  # what is probed: (program type, expected attach type) of uapi/linux/bpf.h
    "bpf_cgroup_skb": (8, 0),
    "bpf_sock_ops": (13, 3),
    "bpf_cgroup_connect": (18, 10),
    "bpf_cgroup_sockopt": (25, 21),
    "bpf_tracepoint": (5, 0),
}
ATTACHED_TO_CGROUP = frozenset(PROGRAMS) - {"bpf_tracepoint"}

_libc = ctypes.CDLL(None, use_errno=True)


def try_program(name: str, cgroup: Path) -> None:
    """Load a program of the type in `PROGRAMS` and link it to `cgroup`. `OSError` says why the kernel refused."""
    kind, attach = PROGRAMS[name]
    program = _load(kind, attach)
    try:
        if name in ATTACHED_TO_CGROUP:
            folder = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.close(_bpf(_LINK_CREATE, struct.pack("<IIII", program, folder, attach, 0)))
            finally:
                os.close(folder)
    finally:
        os.close(program)


def try_socket_storage() -> None:
    """Make a socket-local storage map of one int, which wants type information (BTF). `OSError` where refused."""
    types = struct.pack("<IIII", 1, 1 << 24, 4, (1 << 24) | 32)  # type 1: a signed 32-bit integer
    strings = b"\0int\0"
    head = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    blob = ctypes.create_string_buffer(head + types + strings, 24 + len(types) + len(strings))
    btf = _bpf(_BTF_LOAD, struct.pack("<QQIIII", ctypes.addressof(blob), 0, len(blob), 0, 0, 0))
    try:
        asked = struct.pack("<IIIII", _SK_STORAGE, 4, 4, 0, _NO_PREALLOC) + bytes(28) + struct.pack("<III", btf, 1, 1)
        os.close(_bpf(_MAP_CREATE, asked))
    finally:
        os.close(btf)


def try_socket_messages() -> None:
    """Make a sockmap and attach a program that judges messages to it. `OSError` where refused."""
    joined = _bpf(_MAP_CREATE, struct.pack("<IIII", _SOCKMAP, 4, 4, 1))
    try:
        program = _load(_SK_MSG, _SK_MSG_VERDICT)
        try:
            _bpf(_PROG_ATTACH, struct.pack("<III", joined, program, _SK_MSG_VERDICT))
        finally:
            os.close(program)
    finally:
        os.close(joined)


def try_ring_buffer() -> None:
    """Make a ring buffer of one page. `OSError` where refused."""
    os.close(_bpf(_MAP_CREATE, struct.pack("<IIII", _RINGBUF, 0, 0, os.sysconf("SC_PAGE_SIZE"))))


def try_user_probe() -> None:
    """Put a program at the first instruction of this interpreter, and take it away again. `OSError` where refused."""
    program = Path(sys.executable).resolve()
    path = ctypes.create_string_buffer(os.fsencode(program))
    words = struct.pack("<II", int(_UPROBE_TYPE.read_text()), 128) + bytes(48)  # type, size … config1
    asked = words + struct.pack("<QQ", ctypes.addressof(path), _first_instruction(program.read_bytes()[:4096]))
    block = ctypes.create_string_buffer(asked.ljust(128, b"\0"), 128)
    event: int = _libc.syscall(_NR_PERF_EVENT_OPEN[os.uname().machine], block, -1, 0, -1, 8)
    if event < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    try:
        probe = _load(_KPROBE, 0)
        try:
            fcntl.ioctl(event, _SET_BPF, probe)
        finally:
            os.close(probe)
    finally:
        os.close(event)


def _first_instruction(head: bytes) -> int:
    """Where in an ELF file (64 bits, little-endian) its entry point lies."""
    entry, table = struct.unpack_from("<QQ", head, 24)
    size, count = struct.unpack_from("<HH", head, 54)
    for i in range(count):
        kind, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", head, table + i * size)
        if kind == 1 and address <= entry < address + length:  # PT_LOAD
            return int(entry - address + offset)
    raise OSError("the interpreter's entry point is in none of its segments")


def _load(kind: int, attach: int) -> int:
    code = ctypes.create_string_buffer(_RETURN_1, len(_RETURN_1))
    licence = ctypes.create_string_buffer(b"GPL")
    asked = struct.pack("<IIQQIIQII", kind, 2, ctypes.addressof(code), ctypes.addressof(licence), 0, 0, 0, 0, 0)
    asked += bytes(16) + struct.pack("<II", 0, attach)  # name, ifindex, expected_attach_type
    return _bpf(_PROG_LOAD, asked)


def _bpf(command: int, asked: bytes) -> int:
    block = ctypes.create_string_buffer(asked.ljust(144, b"\0"), 144)
    fd: int = _libc.syscall(_NR_BPF[os.uname().machine], command, block, 144)
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return fd
