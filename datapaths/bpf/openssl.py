"""Which files of OpenSSL's libssl a machine has, and which the processes of pods use."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

LIBRARIES = re.compile(r"libssl\.so(\.\d+)*$")


def installed() -> Iterator[Path]:
    """Where distributions have it: probed from the start, a new process's first connection is not missed."""
    for folder in ("/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib"):
        for path in (*Path(folder).glob("libssl.so*"), *Path(folder).glob("*-linux-gnu/libssl.so*")):
            if LIBRARIES.search(path.name):
                yield path


def mapped(cgroups: Iterable[Path]) -> Iterator[Path]:
    """What processes in these cgroups and below use, by paths that reach into their mount namespaces."""
    for cgroup in cgroups:
        for listing in (cgroup / "cgroup.procs", *cgroup.rglob("cgroup.procs")):
            with contextlib.suppress(OSError):
                for pid in listing.read_text().split():
                    yield from _of_process(int(pid))


def _of_process(pid: int) -> Iterator[Path]:
    """The libraries that it has mapped, by such a path."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
        files = {line.split(maxsplit=5)[5] for line in lines if line.count("/") and len(line.split(maxsplit=5)) == 6}
        yield from (Path(f"/proc/{pid}/root{file}") for file in files if LIBRARIES.search(file))
