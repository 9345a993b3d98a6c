"""What belongs to a run: every file with its hash, and a hash of the list itself."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from lab import codec
from lab.record import Mistake

SCHEMA = 1
NAME = "manifest.json"
_RUN = re.compile(r"[a-z0-9-]{1,64}")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,127}")


@dataclass(frozen=True)
class Manifest:
    """The table of contents of a results folder. `files` maps a path below it to the SHA-256 of its bytes."""

    schema: int
    run: str
    plan_sha256: str
    files: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> bytes:
        """The file's bytes. They end in a hash of the rest, so that a change of any byte shows."""
        data = codec.dump(self)
        return codec.text({"manifest": data, "sha256": codec.sha256(codec.text(data))})

    def with_files(self, files: Mapping[str, str]) -> Manifest:
        """The same with more files."""
        return replace(self, files={**self.files, **files})

    def without(self, *starts: str) -> Manifest:
        """The same less every file whose path begins with one of `starts`."""
        return replace(self, files={path: sha for path, sha in self.files.items() if not path.startswith(starts)})


def read(folder: Path) -> Manifest:
    """The manifest of a results folder; `Mistake` where there is none, one of another schema, or a changed one."""
    path = folder / NAME
    if not folder.is_dir():
        raise Mistake(f"no results folder at {folder}; published runs are listed by their folder below results/")
    if not path.is_file():
        raise Mistake(f"{folder} has no {NAME}, so it is no results folder; name a folder that `mesh-lab run` has made")
    raw = path.read_bytes()
    data = codec.parse(raw)
    inner = data.get("manifest") if isinstance(data, dict) else None
    schema = inner.get("schema") if isinstance(inner, dict) else None
    if schema != SCHEMA and isinstance(schema, int):
        raise Mistake(f"{path} has schema {schema}; this version reads {SCHEMA}; use the version that made it")
    found = codec.load(Manifest, inner)
    if found.text() != raw:
        raise Mistake(f"{path} is not what was written; it was changed, take the folder from where it was published")
    return found


def write(folder: Path, manifest: Manifest) -> None:
    """Put `manifest` in place of the one there, at once."""
    scratch = folder / f".{NAME}"
    save(scratch, manifest.text())
    scratch.replace(folder / NAME)
    settle(folder)


def hashes(folder: Path, root: Path) -> dict[str, str]:
    """The hash of every file below `folder`, by its path below `root`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): codec.sha256(path.read_bytes()) for path in files}


def save(path: Path, raw: bytes) -> None:
    """Write a file and wait until the disk has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())


def settle(folder: Path) -> None:
    """Wait until the disk has the names in `folder`."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def run_id(name: str) -> str:
    """`name` where it can name a run."""
    if not _RUN.fullmatch(name):
        raise Mistake(f"run id {name!r}; allowed are 1 to 64 of a-z, 0-9 and -")
    return name


def inside(path: str, tops: Iterable[str]) -> str:
    """`path` where it stays below one of the folders `tops`."""
    first, *rest = path.split("/")
    if first not in tops or not rest or not all(_PART.fullmatch(part) for part in rest):
        raise Mistake(f"file {path!r}; it must lie below {', '.join(tops)}, in names of A-Z a-z 0-9 _ . @ + -")
    return path
