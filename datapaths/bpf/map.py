"""A BPF map as a mapping of bytes."""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Iterable, Iterator

from datapaths.bpf.calls import library, why
from lab.record import Failed, Mistake

_HASH, _PERCPU_HASH, _PERCPU_ARRAY, _LRU_HASH, _LRU_PERCPU_HASH = 1, 5, 6, 9, 10  # enum bpf_map_type
_PER_CPU = frozenset({_PERCPU_HASH, _PERCPU_ARRAY, _LRU_PERCPU_HASH})
_IN_BATCHES = frozenset({_HASH, _PERCPU_HASH, _LRU_HASH, _LRU_PERCPU_HASH})
_BATCH_BYTES = 1 << 17
_NOT_OVER = 1  # BPF_NOEXIST


def processors() -> int:
    """How many values a per-CPU map has of each key: one for every processor that may ever be there."""
    return int(library().libbpf_num_possible_cpus())


class Map:
    """A map of a loaded object. Keys and values are bytes, laid out as in the C source."""

    def __init__(self, pointer: int, name: str) -> None:
        bpf = library()
        self.name, self.fd = name, int(bpf.bpf_map__fd(pointer))
        self.key_size, size = int(bpf.bpf_map__key_size(pointer)), int(bpf.bpf_map__value_size(pointer))
        kind = int(bpf.bpf_map__type(pointer))
        self.per_cpu, self._in_batches = kind in _PER_CPU, kind in _IN_BATCHES
        self.value_size = (size + 7) // 8 * 8 if self.per_cpu else size
        self._copies = processors() if self.per_cpu else 1

    def __getitem__(self, key: bytes) -> bytes:
        """The value of `key`; in a per-CPU map all processors' values one after another. `KeyError` when absent."""
        value = ctypes.create_string_buffer(self.value_size * self._copies)
        if library().bpf_map_lookup_elem(self.fd, self._key(key), value):
            if ctypes.get_errno() != errno.ENOENT:
                raise Failed(f"map {self.name} could not be read: {why()}")
            raise KeyError(key)
        return value.raw

    def __setitem__(self, key: bytes, value: bytes) -> None:
        """Put a value; in a per-CPU map the same one for every processor."""
        if library().bpf_map_update_elem(self.fd, self._key(key), self._value(value), 0):
            raise Failed(f"map {self.name} took no more: {why()}; give it more room before loading")

    def add(self, key: bytes, value: bytes) -> bool:
        """Put a value unless there is one, which a former agent may have left; whether it was put."""
        if not library().bpf_map_update_elem(self.fd, self._key(key), self._value(value), _NOT_OVER):
            return True
        if ctypes.get_errno() != errno.EEXIST:
            raise Failed(f"map {self.name} took no more: {why()}; give it more room before loading")
        return False

    def __delitem__(self, key: bytes) -> None:
        if library().bpf_map_delete_elem(self.fd, self._key(key)):
            raise KeyError(key)

    def replace(self, wanted: dict[bytes, bytes]) -> None:
        """Make it hold exactly this, without a moment in which something that stays is missing."""
        for key in set(self) - wanted.keys():
            del self[key]
        for key, value in wanted.items():
            self[key] = value

    def __iter__(self) -> Iterator[bytes]:
        """All keys; those that come or go meanwhile may be missed."""
        key: bytes | None = None
        found = ctypes.create_string_buffer(self.key_size)
        while not library().bpf_map_get_next_key(self.fd, key, found):
            key = found.raw
            yield key

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All keys with their values; hashes are read many at a time."""
        yield from self._batches() if self._in_batches else self._one_by_one()

    def copies(self, key: bytes) -> list[bytes]:
        """The value of every possible processor; of a map that is not per-CPU, the one value there is."""
        return self.apart(self[key])

    def apart(self, value: bytes) -> list[bytes]:
        """A value as `items` gives it, by processor."""
        return [value[i : i + self.value_size] for i in range(0, len(value), self.value_size)]

    def total(self, key: bytes) -> int:
        """The sum of a counter (little-endian) over all processors."""
        return sum(int.from_bytes(copy, "little") for copy in self.copies(key))

    def counters(self, names: Iterable[str]) -> dict[str, int]:
        """Of an array of counters: the sum of each over all processors, by name, in the order of their numbers."""
        return {name: self.total(struct.pack("=I", i)) for i, name in enumerate(names)}

    def _one_by_one(self) -> Iterator[tuple[bytes, bytes]]:
        for key in self:
            try:
                yield key, self[key]
            except KeyError:
                continue  # gone since

    def _batches(self) -> Iterator[tuple[bytes, bytes]]:
        """The kernel gives whole hash buckets; a bucket that is longer than the room asks for more of it (ENOSPC)."""
        each = self.value_size * self._copies
        room, place, error = max(_BATCH_BYTES // each, 8), None, 0
        while error != errno.ENOENT:  # no bucket is left
            keys, values = ctypes.create_string_buffer(room * self.key_size), ctypes.create_string_buffer(room * each)
            count, following = ctypes.c_uint32(room), ctypes.create_string_buffer(max(self.key_size, 8))
            error = -library().bpf_map_lookup_batch(self.fd, place, following, keys, values, ctypes.byref(count), None)
            if error == errno.ENOSPC:
                room *= 2
                continue
            if error not in (0, errno.ENOENT):
                raise Failed(f"map {self.name} could not be read: {why()}")
            yield from self._pairs(keys.raw, values.raw, count.value)
            place = following

    def _pairs(self, keys: bytes, values: bytes, count: int) -> Iterator[tuple[bytes, bytes]]:
        key, value = self.key_size, self.value_size * self._copies
        for i in range(count):
            yield keys[i * key : (i + 1) * key], values[i * value : (i + 1) * value]

    def _value(self, value: bytes) -> bytes:
        padded = value.ljust(self.value_size, b"\0") if self.per_cpu else value
        if len(padded) != self.value_size:
            raise Mistake(f"a value of map {self.name} has {self.value_size} bytes, not {len(value)}")
        return padded * self._copies

    def _key(self, key: bytes) -> bytes:
        if len(key) != self.key_size:
            raise Mistake(f"a key of map {self.name} has {self.key_size} bytes, not {len(key)}")
        return key
