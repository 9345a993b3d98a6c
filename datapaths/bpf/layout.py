"""What a map holds, as a short hash: programs of another version may use it only if theirs would be laid out alike."""

from __future__ import annotations

import ctypes
import hashlib
import struct

from datapaths.bpf.calls import TypePrinter, formatted, library

_DATA_SECTION = 15  # enum BTF_KIND_DATASEC
_TYPE, _VARIABLE = struct.Struct("=III"), struct.Struct("=III")  # struct btf_type, struct btf_var_secinfo
_LETTERS = 16


def layout(types: int | None, map_: int, version: str) -> str:
    """Hash of a map's type, flags, sizes, the C text of its key's and value's types, and what `version` adds.

    `types` is the object's BTF, `map_` libbpf's map. The meaning of numbers (which element of an array counts what) is
    in no C type: callers put it into `version`.
    """
    bpf = library()
    facts = [bpf.bpf_map__type(map_), bpf.bpf_map__map_flags(map_)]
    facts += [bpf.bpf_map__key_size(map_), bpf.bpf_map__value_size(map_), version]
    if types:
        ids = bpf.bpf_map__btf_key_type_id(map_), bpf.bpf_map__btf_value_type_id(map_)
        facts += [_text(types, number) for number in ids if number]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:_LETTERS]


def _text(types: int, number: int) -> str:
    """A type and all that it is made of, in C; of a data section, its variables."""
    pieces: list[str] = []
    printer = TypePrinter(lambda _context, form, arguments: pieces.append(formatted(form, arguments)))
    dump = library().btf_dump__new(types, printer, None, None)
    try:
        for each in _variables(types, number, pieces):
            library().btf_dump__dump_type(dump, each)
    finally:
        library().btf_dump__free(dump)
    return "".join(pieces)


def _variables(types: int, number: int, names: list[str]) -> list[int]:
    """The types of a data section's variables, whose names are noted; of any other type, itself."""
    start = library().btf__type_by_id(types, number)
    _, info, _ = _TYPE.unpack(ctypes.string_at(start, _TYPE.size))
    if info >> 24 & 0x1F != _DATA_SECTION:
        return [number]
    found = []
    for i in range(info & 0xFFFF):
        variable, offset, _ = _VARIABLE.unpack(
            ctypes.string_at(start + _TYPE.size + i * _VARIABLE.size, _VARIABLE.size)
        )
        name, _, of = _TYPE.unpack(ctypes.string_at(library().btf__type_by_id(types, variable), _TYPE.size))
        names.append(f"{library().btf__name_by_offset(types, name).decode()}@{offset};")
        found.append(of)
    return found
