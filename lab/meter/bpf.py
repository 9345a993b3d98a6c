"""What processes hold of BPF, read from /proc/PID/fdinfo; and the few calls of libbpf that meters need."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.record import CannotRun, Failed

STATS_RUN_TIME = 0  # enum bpf_stats_type
CGROUP_INET_INGRESS, CGROUP_INET_EGRESS = 0, 1  # enum bpf_attach_type
NAME = slice(64, 80)  # of struct bpf_prog_info


@dataclass(frozen=True)
class Map:
    """A BPF map: its number and what the kernel charges for it."""

    id: int
    memory_bytes: int


@dataclass(frozen=True)
class Program:
    """A BPF program. `runs` and `run_time_ns` stand still unless run-time statistics are on."""

    id: int
    tag: str
    memory_bytes: int
    runs: int
    run_time_ns: int


@dataclass(frozen=True)
class Held:
    """The maps and programs that a process keeps open, each once."""

    maps: tuple[Map, ...]
    programs: tuple[Program, ...]

    def keys(self) -> set[tuple[str, int]]:
        """What tells them from all others on this machine."""
        return {("map", m.id) for m in self.maps} | {("program", p.id) for p in self.programs}

    def without(self, taken: set[tuple[str, int]]) -> Held:
        """The same, less what somebody else has been charged for."""
        maps = tuple(m for m in self.maps if ("map", m.id) not in taken)
        return Held(maps, tuple(p for p in self.programs if ("program", p.id) not in taken))


def held(pids: Iterable[int]) -> Held:
    """Everything these processes hold. `OSError` when one has ended."""
    maps: dict[int, Map] = {}
    programs: dict[int, Program] = {}
    for fields in (f for pid in pids for f in _infos(pid)):
        if "map_id" in fields and "memlock" in fields:
            found = Map(int(fields["map_id"]), int(fields["memlock"]))
            maps[found.id] = found
        elif "prog_id" in fields and "memlock" in fields:  # a link names its program too, but without memlock
            programs[int(fields["prog_id"])] = _program(fields)
    return Held(tuple(maps.values()), tuple(programs.values()))


def _program(fields: dict[str, str]) -> Program:
    runs, time_ns = int(fields.get("run_cnt", "0")), int(fields.get("run_time_ns", "0"))
    return Program(int(fields["prog_id"]), fields["prog_tag"], int(fields["memlock"]), runs, time_ns)


def _infos(pid: int) -> Iterator[dict[str, str]]:
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if not str(fd.readlink()).startswith("anon_inode:bpf"):
                continue
            text = Path(f"/proc/{pid}/fdinfo/{fd.name}").read_text()
        except FileNotFoundError:
            continue  # closed since it was listed
        yield {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


@functools.cache
def libbpf() -> ctypes.CDLL:
    """libbpf 1.x, with the result types of what is called here."""
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise CannotRun(f"libbpf is missing ({error}); install it with: apt-get install libbpf1") from error
    library.btf__load_vmlinux_btf.restype = ctypes.c_void_p
    library.btf__type_by_id.restype = ctypes.c_void_p
    library.btf__name_by_offset.restype = ctypes.c_char_p
    return library


@contextmanager
def run_time_statistics() -> Iterator[None]:
    """While open, the kernel counts the runs and the time of every BPF program, for two reads of its clock a run."""
    fd = _checked(libbpf().bpf_enable_stats(STATS_RUN_TIME), "switch BPF run-time statistics on", "Linux 5.8")
    try:
        yield
    finally:
        os.close(fd)


def attach(program_fd: int, cgroup: Path, kind: int) -> int:
    """A link of a program to a cgroup: a file descriptor; it holds until that is closed, however that happens."""
    folder = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return _checked(libbpf().bpf_link_create(program_fd, folder, kind, None), f"attach to {cgroup}", "Linux 5.7")
    finally:
        os.close(folder)


def program_name(number: int) -> str:
    """The name its author gave the program (15 letters at most)."""
    fd = _checked(
        libbpf().bpf_prog_get_fd_by_id(number), f"open BPF program {number}", "a program that is still loaded"
    )
    try:
        info = ctypes.create_string_buffer(256)
        size = ctypes.c_uint32(len(info))
        if libbpf().bpf_obj_get_info_by_fd(fd, info, ctypes.byref(size)):
            raise Failed(f"the kernel does not describe BPF program {number}: {os.strerror(ctypes.get_errno())}")
        return info.raw[NAME].split(b"\0")[0].decode()
    finally:
        os.close(fd)


def _checked(result: int, what: str, needs: str) -> int:
    if result < 0:
        raise CannotRun(f"cannot {what}: {os.strerror(-result)}; it needs root (CAP_SYS_ADMIN or CAP_BPF) and {needs}")
    return result
