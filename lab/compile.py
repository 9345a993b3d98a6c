"""C source to objects, by clang, kept by the hash of everything they were made from."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
from pathlib import Path

from lab.record import CannotRun, Failed

ROOT = Path(__file__).resolve().parent.parent
_SHARED = ("-O2", "-g", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared")


def bpf(source: Path, *flags: str) -> Path:
    """A BPF object (ELF with BTF) of `source`."""
    return _compile(source, ".o", ("-target", "bpf", "-O2", "-g", "-Wall", "-Werror", f"-I{_asm()}", *flags, "-c"))


def shared(source: Path, *flags: str) -> Path:
    """A shared library of `source` for this machine."""
    return _compile(source, ".so", (*_SHARED, *flags))


def shared_name(source: Path, *flags: str) -> Path:
    """Where `shared` puts it, made or not: where there is no compiler, another machine may have it at its own place."""
    return _target(source, ".so", (*_SHARED, *flags))


def _compile(source: Path, ending: str, flags: tuple[str, ...]) -> Path:
    target = _target(source, ending, flags)
    clang = shutil.which("clang")
    if clang is None:
        raise CannotRun("clang is missing; install it with: apt-get install clang")
    if not target.exists():
        # of this thread alone: several may want the same object at once, and the last to rename it wins
        scratch = target.with_suffix(f".{os.getpid()}.{threading.get_native_id()}.tmp")
        done = subprocess.run(
            [clang, *flags, str(source), "-o", str(scratch)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Failed(f"clang could not compile {source.name}:\n{done.stderr}")
        scratch.replace(target)
    return target


def _target(source: Path, ending: str, flags: tuple[str, ...]) -> Path:
    digest = hashlib.sha256(" ".join(flags).encode())
    for file in sorted([source, *source.parent.glob("*.h")]):
        digest.update(file.read_bytes())
    return cache() / f"{source.stem}-{digest.hexdigest()[:16]}{ending}"


def cache() -> Path:
    """Where objects are kept: $MESH_LAB_BUILD, or `.build` beside the package."""
    folder = Path(os.environ.get("MESH_LAB_BUILD", ROOT / ".build"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _asm() -> str:
    return f"/usr/include/{os.uname().machine}-linux-gnu"  # Debian keeps asm/types.h below the multiarch triplet
