"""Finding the cgroup v2 tree of this machine, and emptying and removing a folder of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from lab.record import Failed

_PAUSE_S = 0.002


class Mode(StrEnum):
    """Which cgroup versions a machine has mounted."""

    V2 = "v2"
    HYBRID = "hybrid"  # controllers in v1, and a v2 tree beside them
    V1 = "v1"  # no v2 tree: the lab mounts one


@dataclass(frozen=True)
class Tree:
    """Where processes are grouped on this machine. `path` is None where a v2 tree must be mounted first."""

    mode: Mode
    path: Path | None


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo (proc(5)), as far as the lab asks."""

    root: str
    point: Path
    kind: str
    writable: bool


def mounts(mountinfo: str) -> tuple[Mount, ...]:
    """The mounts that a text like /proc/self/mountinfo lists, in its order."""
    return tuple(_mount(line) for line in mountinfo.splitlines() if " - " in line)


def _mount(line: str) -> Mount:
    left, _, right = line.partition(" - ")
    words = left.split()
    kind, _source, options = [*right.split(), "", ""][:3]
    writable = "ro" not in words[5].split(",") and "ro" not in options.split(",")
    return Mount(_plain(words[3]), Path(_plain(words[4])), kind, writable)


def _plain(word: str) -> str:
    """mountinfo writes space, tab, newline and backslash as three octal digits."""
    return word.encode().decode("unicode_escape").encode("latin-1").decode()


def find(mountinfo: str, own: Path) -> Tree:
    """The tree to use. A v2 tree at `own` is one that the lab mounted, so that machine counts as v1.

    Of several, the one mounted from the root of the hierarchy that may be written wins; a later mount hides an earlier.
    """
    listed = mounts(mountinfo)
    unified = [m for m in listed if m.kind == "cgroup2" and m.point != own and m.writable]
    legacy = any(m.kind == "cgroup" for m in listed)
    if not unified:
        return Tree(Mode.V1, None)
    best = max(unified, key=lambda m: m.root == "/")
    return Tree(Mode.HYBRID if legacy else Mode.V2, best.point)


def members(folder: Path) -> tuple[int, ...]:
    """The processes of a cgroup and of those below it; none where it is gone."""
    found: list[int] = []
    for each in (folder, *_below(folder)):
        try:
            found += [int(pid) for pid in (each / "cgroup.procs").read_text().split()]
        except OSError:
            continue  # removed between listing and reading
    return tuple(found)


def remove(folder: Path, patience_s: float = 5.0) -> None:
    """Kill what is left in a cgroup and below, then remove the folders. Idempotent."""
    deadline = time.monotonic() + patience_s
    while folder.exists():
        _kill(folder)
        try:
            for each in (*_below(folder), folder):
                each.rmdir()
        except FileNotFoundError:
            continue
        except OSError as error:
            if time.monotonic() > deadline:
                raise Failed(f"cgroup {folder} cannot be removed: {error}; it holds {members(folder)}") from error
            time.sleep(_PAUSE_S)


def empty(folder: Path, patience_s: float = 2.0) -> None:
    """Kill every process of a cgroup and of those below it, and wait until they are gone. Idempotent."""
    deadline = time.monotonic() + patience_s
    while members(folder):
        _kill(folder)
        if time.monotonic() > deadline:
            raise Failed(f"cgroup {folder} holds processes that cannot be killed: {members(folder)}")
        time.sleep(_PAUSE_S)


def _kill(folder: Path) -> None:
    try:
        (folder / "cgroup.kill").write_text("1")
    except OSError:  # kernels before 5.14, or the folder has just gone
        for pid in members(folder):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def _below(folder: Path) -> Iterator[Path]:
    """Folders inside, deepest first: the order in which they can be removed."""
    for parent, names, _files in os.walk(folder, topdown=False):
        yield from (Path(parent, name) for name in names)
