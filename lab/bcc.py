"""bcc, made to work: found where Debian keeps it, with kernel headers that need not match."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from lab import compile as build
from lab.record import CannotRun

DISTRIBUTION = "/usr/lib/python3/dist-packages"
HEADERS = Path("/usr/src")
MODULES = Path("/lib/modules")


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
