"""As much of libbpf as an agent needs: load an object, attach it to cgroups, read and write its maps.

Objects, maps and links are closed with the `Object`. Links are not pinned, so the kernel detaches everything when the
process ends, however it ends.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from lab.record import CannotRun, Failed, Mistake

_PER_CPU = frozenset({5, 6, 10})  # BPF_MAP_TYPE_PERCPU_HASH, PERCPU_ARRAY, LRU_PERCPU_HASH
_LOG_LINES = 12
_Pointer, _Int, _U32, _Bytes, _Void = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32, ctypes.c_char_p, None

_CALLS: dict[str, tuple[Any, tuple[Any, ...]]] = {  # name: (result, arguments), of bpf/libbpf.h and bpf/bpf.h
    "bpf_object__open": (_Pointer, (_Bytes,)),
    "bpf_object__load": (_Int, (_Pointer,)),
    "bpf_object__close": (_Void, (_Pointer,)),
    "bpf_object__next_program": (_Pointer, (_Pointer, _Pointer)),
    "bpf_object__find_map_by_name": (_Pointer, (_Pointer, _Bytes)),
    "bpf_object__find_program_by_name": (_Pointer, (_Pointer, _Bytes)),
    "bpf_program__name": (_Bytes, (_Pointer,)),
    "bpf_program__fd": (_Int, (_Pointer,)),
    "bpf_program__attach_cgroup": (_Pointer, (_Pointer, _Int)),
    "bpf_link__destroy": (_Int, (_Pointer,)),
    "bpf_map__fd": (_Int, (_Pointer,)),
    "bpf_map__type": (_Int, (_Pointer,)),
    "bpf_map__key_size": (_U32, (_Pointer,)),
    "bpf_map__value_size": (_U32, (_Pointer,)),
    "bpf_map__set_max_entries": (_Int, (_Pointer, _U32)),
    "bpf_map__initial_value": (_Pointer, (_Pointer, ctypes.POINTER(ctypes.c_size_t))),
    "bpf_map_update_elem": (_Int, (_Int, _Pointer, _Pointer, ctypes.c_uint64)),
    "bpf_map_lookup_elem": (_Int, (_Int, _Pointer, _Pointer)),
    "bpf_map_delete_elem": (_Int, (_Int, _Pointer)),
    "bpf_map_get_next_key": (_Int, (_Int, _Pointer, _Pointer)),
    "libbpf_num_possible_cpus": (_Int, ()),
}
_Printer = ctypes.CFUNCTYPE(_Int, _Int, _Bytes, _Pointer)
_said: list[str] = []  # what libbpf and the verifier printed since the last load


@functools.cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise CannotRun("libbpf.so.1 is missing; install it with: apt-get install libbpf1") from error
    for name, (result, arguments) in _CALLS.items():
        call = getattr(library, name)
        call.restype, call.argtypes = result, arguments
    library.libbpf_set_print(_PRINTER)
    return library


def _hear(level: int, form: bytes, arguments: int) -> int:
    """libbpf's printer. A `va_list` argument arrives as a pointer on x86-64 and on arm64, and is handed on as one."""
    if level < 2:  # warnings and information; not debugging
        text = ctypes.create_string_buffer(1 << 16)
        ctypes.CDLL(None).vsnprintf(text, ctypes.c_size_t(len(text)), form, ctypes.c_void_p(arguments))
        _said.append(text.value.decode(errors="replace"))
    return 0


_PRINTER = _Printer(_hear)  # libbpf keeps a pointer to it


def _why() -> str:
    number = ctypes.get_errno()
    return f"{errno.errorcode.get(number, number)}: {os.strerror(number)}"


class Map:
    """A map of a loaded object. Keys and values are bytes, laid out as in the C source."""

    def __init__(self, pointer: int, name: str) -> None:
        bpf = _library()
        self.name, self.fd = name, int(bpf.bpf_map__fd(pointer))
        self.key_size, size = int(bpf.bpf_map__key_size(pointer)), int(bpf.bpf_map__value_size(pointer))
        self.per_cpu = bpf.bpf_map__type(pointer) in _PER_CPU
        self.value_size = (size + 7) // 8 * 8 if self.per_cpu else size
        self._copies = int(bpf.libbpf_num_possible_cpus()) if self.per_cpu else 1

    def __getitem__(self, key: bytes) -> bytes:
        """The value of `key`; in a per-CPU map all processors' values one after another. `KeyError` when absent."""
        value = ctypes.create_string_buffer(self.value_size * self._copies)
        if _library().bpf_map_lookup_elem(self.fd, self._key(key), value):
            if ctypes.get_errno() != errno.ENOENT:
                raise Failed(f"map {self.name} could not be read: {_why()}")
            raise KeyError(key)
        return value.raw

    def __setitem__(self, key: bytes, value: bytes) -> None:
        """Put a value; in a per-CPU map the same one for every processor."""
        padded = value.ljust(self.value_size, b"\0") if self.per_cpu else value
        if len(padded) != self.value_size:
            raise Mistake(f"a value of map {self.name} has {self.value_size} bytes, not {len(value)}")
        if _library().bpf_map_update_elem(self.fd, self._key(key), padded * self._copies, 0):
            raise Failed(f"map {self.name} took no more: {_why()}; give it more room before loading")

    def __delitem__(self, key: bytes) -> None:
        if _library().bpf_map_delete_elem(self.fd, self._key(key)):
            raise KeyError(key)

    def __iter__(self) -> Iterator[bytes]:
        """All keys; those that come or go meanwhile may be missed."""
        key: bytes | None = None
        found = ctypes.create_string_buffer(self.key_size)
        while not _library().bpf_map_get_next_key(self.fd, key, found):
            key = found.raw
            yield key

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All keys with their values."""
        for key in self:
            try:
                yield key, self[key]
            except KeyError:
                continue  # gone since

    def copies(self, key: bytes) -> list[bytes]:
        """The value of every possible processor; of a map that is not per-CPU, the one value there is."""
        raw = self[key]
        return [raw[i : i + self.value_size] for i in range(0, len(raw), self.value_size)]

    def _key(self, key: bytes) -> bytes:
        if len(key) != self.key_size:
            raise Mistake(f"a key of map {self.name} has {self.key_size} bytes, not {len(key)}")
        return key


class Object:
    """A compiled BPF object: opened, set up, loaded, attached; a context manager that closes it."""

    def __init__(self, path: Path) -> None:
        self.path, self._links = path, list[int]()
        _said.clear()
        self._pointer = _library().bpf_object__open(os.fsencode(path))
        if not self._pointer:
            raise Failed(f"{path.name} is no BPF object: {_why()}{_last_words()}")

    def set(self, section: str, values: bytes) -> None:
        """Overwrite the start of a data section such as `.rodata.options`; before loading."""
        size = ctypes.c_size_t()
        start = _library().bpf_map__initial_value(self._map(section), ctypes.byref(size))
        if not start or len(values) > size.value:
            raise Mistake(f"{section} of {self.path.name} has {size.value} bytes, {len(values)} were given")
        ctypes.memmove(start, values, len(values))

    def resize(self, name: str, entries: int) -> None:
        """Give a map room for so many entries; before loading."""
        if _library().bpf_map__set_max_entries(self._map(name), entries):
            raise Failed(f"map {name} cannot hold {entries} entries: {_why()}")

    def load(self) -> None:
        """Create its maps and have its programs verified. `Failed` carries the verifier's last words."""
        _said.clear()
        if _library().bpf_object__load(self._pointer):
            raise Failed(f"the kernel refused {self.path.name}: {_why()}{_last_words()}")

    def attach(self, program: str, cgroup: Path) -> None:
        """Attach a program, by its section's type, to a cgroup v2 folder and so to every process in and below it."""
        folder = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
        try:
            link = _library().bpf_program__attach_cgroup(self._program(program), folder)
        finally:
            os.close(folder)
        if not link:
            raise Failed(f"{program} of {self.path.name} could not be attached to {cgroup}: {_why()}{_last_words()}")
        self._links.append(link)

    def map(self, name: str) -> Map:
        """A map by its name in the source; after loading."""
        return Map(self._map(name), name)

    def programs(self) -> dict[str, int]:
        """Its programs' file descriptors by name."""
        found, program = {}, _library().bpf_object__next_program(self._pointer, None)
        while program:
            found[_library().bpf_program__name(program).decode()] = int(_library().bpf_program__fd(program))
            program = _library().bpf_object__next_program(self._pointer, program)
        return found

    def close(self) -> None:
        """Detach and forget everything. Idempotent."""
        while self._links:
            _library().bpf_link__destroy(self._links.pop())
        if self._pointer:
            _library().bpf_object__close(self._pointer)
            self._pointer = None

    def __enter__(self) -> Object:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _map(self, name: str) -> int:
        pointer = _library().bpf_object__find_map_by_name(self._pointer, name.encode())
        if not pointer:
            raise Mistake(f"{self.path.name} has no map {name!r}")
        return int(pointer)

    def _program(self, name: str) -> int:
        pointer = _library().bpf_object__find_program_by_name(self._pointer, name.encode())
        if not pointer:
            raise Mistake(f"{self.path.name} has no program {name!r}; there are {', '.join(self.programs())}")
        return int(pointer)


def _last_words() -> str:
    lines = [line for text in _said for line in text.splitlines() if line.strip() and "-- END" not in line]
    return "".join(f"\n  {line}" for line in lines[-_LOG_LINES:])
