"""The HTTP parser compiled into an ordinary program beside llhttp, fed with the same made-up bytes: do they agree?

llhttp's source is that of httptools, as the tests' reference is: it is fetched when it is needed and never kept here.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from importlib import metadata
from pathlib import Path

from lab import compile
from lab.record import CannotRun, Failed

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
SANITIZERS = ("-fsanitize=fuzzer,address,undefined", "-fno-sanitize=alignment", "-fno-sanitize-recover=undefined")
_FLAGS = ("-O1", "-g", "-DFROM_MEMORY", "-Wno-everything", f"-I/usr/include/{os.uname().machine}-linux-gnu")


def built(*, fuzzer: bool) -> Path:
    """The program: with libFuzzer and sanitizers, or plain, reading the files it is given. `CannotRun` lacks a tool."""
    clang = shutil.which("clang")
    if clang is None:
        raise CannotRun("clang is missing; install it with: apt-get install clang")
    llhttp = _llhttp()
    sources = (HERE / "harness.c", *sorted((llhttp / "src").glob("*.c")))
    flags = (*_FLAGS, *((*SANITIZERS, "-DFUZZER") if fuzzer else ()))
    digest = hashlib.sha256(" ".join(flags).encode())
    for file in (*sources, *sorted(HERE.parent.glob("*.h")), *sorted(HERE.rglob("*.h"))):
        digest.update(file.read_bytes())
    target = compile.cache() / f"fuzz-{digest.hexdigest()[:16]}"
    if not target.exists():
        folders = (f"-I{HERE}", f"-I{HERE.parent}", f"-I{llhttp / 'include'}")
        command = [clang, *flags, *folders, *map(str, sources), "-o", f"{target}.new"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if "libclang_rt" in done.stderr:
            raise CannotRun("clang's sanitizers are missing; install them with: apt-get install libclang-rt-14-dev")
        if done.returncode:
            raise Failed(f"clang could not compile harness.c:\n{done.stderr}")
        Path(f"{target}.new").replace(target)
    return target


def _llhttp() -> Path:
    """The folder of llhttp in the source of the installed httptools; `CannotRun` where that cannot be fetched."""
    try:
        version = metadata.version("httptools")
    except metadata.PackageNotFoundError as error:
        raise CannotRun("httptools is missing; install it with: pip install httptools") from error
    folder = compile.cache() / f"httptools-{version}"
    if not (folder / "vendor").exists():
        wanted = ("--no-deps", "--no-build-isolation", "--no-binary", ":all:", f"httptools=={version}")
        command = [sys.executable, "-m", "pip", "download", "-q", *wanted, "-d", str(compile.cache())]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CannotRun(f"the source of httptools {version} could not be fetched: {done.stderr.strip()[-200:]}")
        with tarfile.open(compile.cache() / f"httptools-{version}.tar.gz") as archive:
            archive.extractall(compile.cache(), filter="data")
    return folder / "vendor" / "llhttp"
