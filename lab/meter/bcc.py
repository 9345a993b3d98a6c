"""Where the running kernel keeps what moves between its versions, for programs that bcc compiles."""

from __future__ import annotations

import ctypes

from lab.meter.bpf import libbpf
from lab.record import CannotRun

BTF_KIND_STRUCT = 4


class _Member(ctypes.Structure):
    """`struct btf_member` of linux/btf.h."""

    _fields_ = (("name_off", ctypes.c_uint32), ("type", ctypes.c_uint32), ("offset", ctypes.c_uint32))


class _Type(ctypes.Structure):
    """`struct btf_type` of linux/btf.h; members follow it."""

    _fields_ = (("name_off", ctypes.c_uint32), ("info", ctypes.c_uint32), ("size_or_type", ctypes.c_uint32))


class Layout:
    """Where the *running* kernel keeps the members of its structures, from its BTF."""

    def __init__(self) -> None:
        address = libbpf().btf__load_vmlinux_btf()
        if not address:
            raise CannotRun("this kernel has no BTF; it needs CONFIG_DEBUG_INFO_BTF (/sys/kernel/btf/vmlinux)")
        self._btf = ctypes.c_void_p(address)

    def offset(self, structure: str, *members: str) -> int:
        """Bytes from the start of a structure to a member; each further name is looked up inside the one before."""
        number = libbpf().btf__find_by_name_kind(self._btf, structure.encode(), BTF_KIND_STRUCT)
        total = 0
        for member in members:
            found = self._find(number, member) if number > 0 else None
            if found is None:
                raise CannotRun(
                    f"this kernel's struct {structure} has no {'.'.join(members)}; the instrument must be adapted"
                )
            bits, number = found
            total += bits
        return total // 8

    def _find(self, number: int, name: str) -> tuple[int, int] | None:
        """(offset in bits, type) of a member."""
        address = libbpf().btf__type_by_id(self._btf, number)
        kind = _Type.from_address(address)
        wide = kind.info >> 31  # with bit fields, an offset shares its word with their size
        members = (_Member * (kind.info & 0xFFFF)).from_address(address + ctypes.sizeof(_Type))
        for member in members:
            bits = member.offset & 0xFFFFFF if wide else member.offset
            label = libbpf().btf__name_by_offset(self._btf, member.name_off)
            if label == name.encode():
                return bits, member.type
            inner = None if label or not self._is_composite(member.type) else self._find(member.type, name)
            if inner is not None:
                return bits + inner[0], inner[1]
        return None

    def _is_composite(self, number: int) -> bool:
        kind = _Type.from_address(libbpf().btf__type_by_id(self._btf, number)).info >> 24 & 0x1F
        return kind in (BTF_KIND_STRUCT, BTF_KIND_STRUCT + 1)  # or union
