"""The functions of libbpf that agents call, and what it and the verifier had to say."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from typing import Any

from lab.record import CannotRun

_LOG_LINES = 12
_Pointer, _Int, _U32, _Bytes, _Void = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32, ctypes.c_char_p, None
_Printer = ctypes.CFUNCTYPE(_Int, _Int, _Bytes, _Pointer)
Sample = ctypes.CFUNCTYPE(_Int, _Pointer, _Pointer, ctypes.c_size_t)
"""(context, data, size) -> 0: libbpf's callback for one record of a ring buffer."""
TypePrinter = ctypes.CFUNCTYPE(_Void, _Pointer, _Bytes, _Pointer)
"""(context, format, va_list): libbpf's callback for a piece of a type's C text."""

_CALLS: dict[
    str, tuple[Any, tuple[Any, ...]]
] = {  # name: (result, arguments), of bpf/libbpf.h, bpf/bpf.h and bpf/btf.h
    "bpf_object__open": (_Pointer, (_Bytes,)),
    "bpf_object__load": (_Int, (_Pointer,)),
    "bpf_object__close": (_Void, (_Pointer,)),
    "bpf_object__next_program": (_Pointer, (_Pointer, _Pointer)),
    "bpf_object__next_map": (_Pointer, (_Pointer, _Pointer)),
    "bpf_object__find_map_by_name": (_Pointer, (_Pointer, _Bytes)),
    "bpf_object__find_program_by_name": (_Pointer, (_Pointer, _Bytes)),
    "bpf_object__btf": (_Pointer, (_Pointer,)),
    "bpf_program__name": (_Bytes, (_Pointer,)),
    "bpf_program__fd": (_Int, (_Pointer,)),
    "bpf_program__expected_attach_type": (_Int, (_Pointer,)),
    "bpf_program__set_autoload": (_Int, (_Pointer, ctypes.c_bool)),
    "bpf_map__name": (_Bytes, (_Pointer,)),
    "bpf_map__fd": (_Int, (_Pointer,)),
    "bpf_map__type": (_Int, (_Pointer,)),
    "bpf_map__map_flags": (_U32, (_Pointer,)),
    "bpf_map__key_size": (_U32, (_Pointer,)),
    "bpf_map__value_size": (_U32, (_Pointer,)),
    "bpf_map__max_entries": (_U32, (_Pointer,)),
    "bpf_map__btf_key_type_id": (_U32, (_Pointer,)),
    "bpf_map__btf_value_type_id": (_U32, (_Pointer,)),
    "bpf_map__is_internal": (ctypes.c_bool, (_Pointer,)),
    "bpf_map__set_max_entries": (_Int, (_Pointer, _U32)),
    "bpf_map__initial_value": (_Pointer, (_Pointer, ctypes.POINTER(ctypes.c_size_t))),
    "bpf_map__reuse_fd": (_Int, (_Pointer, _Int)),
    "bpf_map_update_elem": (_Int, (_Int, _Pointer, _Pointer, ctypes.c_uint64)),
    "bpf_map_lookup_elem": (_Int, (_Int, _Pointer, _Pointer)),
    "bpf_map_delete_elem": (_Int, (_Int, _Pointer)),
    "bpf_map_get_next_key": (_Int, (_Int, _Pointer, _Pointer)),
    "bpf_map_lookup_batch": (_Int, (_Int, *[_Pointer] * 4, ctypes.POINTER(_U32), _Pointer)),
    "bpf_link_create": (_Int, (_Int, _Int, _Int, _Pointer)),
    "bpf_link_update": (_Int, (_Int, _Int, _Pointer)),
    "bpf_prog_attach": (_Int, (_Int, _Int, _Int, ctypes.c_uint)),
    "bpf_obj_pin": (_Int, (_Int, _Bytes)),
    "bpf_obj_get": (_Int, (_Bytes,)),
    "bpf_obj_get_info_by_fd": (_Int, (_Int, _Pointer, ctypes.POINTER(_U32))),
    "btf__type_by_id": (_Pointer, (_Pointer, _U32)),
    "btf__name_by_offset": (_Bytes, (_Pointer, _U32)),
    "btf_dump__new": (_Pointer, (_Pointer, TypePrinter, _Pointer, _Pointer)),
    "btf_dump__dump_type": (_Int, (_Pointer, _U32)),
    "btf_dump__free": (_Void, (_Pointer,)),
    "ring_buffer__new": (_Pointer, (_Int, Sample, _Pointer, _Pointer)),
    "ring_buffer__poll": (_Int, (_Pointer, _Int)),
    "ring_buffer__consume": (_Int, (_Pointer,)),
    "ring_buffer__epoll_fd": (_Int, (_Pointer,)),
    "ring_buffer__free": (_Void, (_Pointer,)),
    "libbpf_num_possible_cpus": (_Int, ()),
}
_said: list[str] = []


@functools.cache
def library() -> ctypes.CDLL:
    """libbpf 1.x. `CannotRun` where it is missing."""
    try:
        found = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise CannotRun("libbpf.so.1 is missing; install it with: apt-get install libbpf1") from error
    for name, (result, arguments) in _CALLS.items():
        call = getattr(found, name)
        call.restype, call.argtypes = result, arguments
    found.libbpf_set_print(_PRINTER)
    return found


def formatted(form: bytes, arguments: int) -> str:
    """What printf would print. A `va_list` arrives as a pointer on x86-64 and on arm64, and is handed on as one."""
    text = ctypes.create_string_buffer(1 << 16)
    ctypes.CDLL(None).vsnprintf(text, ctypes.c_size_t(len(text)), form, ctypes.c_void_p(arguments))
    return text.value.decode(errors="replace")


def _hear(level: int, form: bytes, arguments: int) -> int:
    if level < 2:  # warnings and information; not debugging
        _said.append(formatted(form, arguments))
    return 0


_PRINTER = _Printer(_hear)  # libbpf keeps a pointer to it


def listen() -> None:
    """Forget what was said so far."""
    _said.clear()


def last_words() -> str:
    """The last lines of what libbpf and the verifier have said since `listen`, each on a line of its own."""
    lines = [line for text in _said for line in text.splitlines() if line.strip() and "-- END" not in line]
    return "".join(f"\n  {line}" for line in lines[-_LOG_LINES:])


def why() -> str:
    """The C library's `errno`, by name and in words."""
    number = ctypes.get_errno()
    return f"{errno.errorcode.get(number, number)}: {os.strerror(number)}"
