"""bcc, made to work: found where Debian keeps it, with kernel headers that need not match, and BTF for what moves."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from lab import compile as build
from lab.meter.bpf import libbpf
from lab.record import CannotRun

DISTRIBUTION = "/usr/lib/python3/dist-packages"
HEADERS = Path("/usr/src")
MODULES = Path("/lib/modules")
BTF_KIND_STRUCT = 4


def load(source: Path, **defines: int | str) -> Any:
    """The `bcc.BPF` of a C file; `CannotRun` when bcc or kernel headers are missing or the kernel refuses."""
    bcc = _bcc()
    if not (MODULES / os.uname().release / "build").exists():
        os.environ["BCC_KERNEL_SOURCE"] = str(headers())
    try:
        return bcc.BPF(text=source.read_text(), cflags=[f"-D{name}={value}" for name, value in defines.items()])
    except Exception as error:
        raise CannotRun(f"bcc could not load {source.name}: {error}; it needs root and kernel headers") from error


def _bcc() -> Any:
    """The module of Debian's python3-bpfcc; its folder is last on the path and only for this import."""
    sys.path.append(DISTRIBUTION)
    try:
        import bcc  # noqa: PLC0415
    except ImportError as error:
        raise CannotRun(f"bcc is missing ({error}); install it with: apt-get install python3-bpfcc") from error
    finally:
        sys.path.remove(DISTRIBUTION)
    if not hasattr(bcc, "BPF"):
        raise CannotRun(f"{bcc.__file__} is the lattice library of that name; uninstall it: pip uninstall bcc")
    return bcc


def headers() -> Path:
    """One tree with kernel headers of any version: bcc wants them to compile; no kernel structure is read by them.

    Debian splits headers into a common part and one of the machine; they are joined by symbolic links below the build
    folder.
    """
    made = sorted(HEADERS.glob("linux-headers-*/include/generated/autoconf.h"), key=lambda f: f.stat().st_mtime)
    if not made:
        raise CannotRun(
            "kernel headers are missing; install any with: apt-get install linux-headers-amd64 (or -generic)"
        )
    own = made[-1].parents[2]
    common = own.with_name(f"{own.name.rpartition('-')[0]}-common")
    if not common.exists():
        return own
    target = build.cache() / f"kernel-{own.name}"
    if not target.exists():
        _join((common, own), target)
    return target


def _join(sources: tuple[Path, ...], target: Path) -> None:
    """Complete or not at all: another process may be doing the same."""
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        tree = Path(scratch, "tree")
        for source in sources:
            for folder in ("include", f"arch/{_architecture()}"):
                if (source / folder).exists():
                    shutil.copytree(source / folder, tree / folder, copy_function=os.symlink, dirs_exist_ok=True)
        try:
            tree.rename(target)
        except OSError:
            if not target.exists():
                raise


def _architecture() -> str:
    """The kernel's name of this machine's architecture."""
    return {"x86_64": "x86", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


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
