"""Folders of results that are no runs: their files, if they are what the manifest says."""

from __future__ import annotations

from pathlib import Path

from lab import codec
from lab.record import Mistake
from lab.store import manifest


def verified(folder: Path, top: str = "") -> dict[str, bytes]:
    """Every listed file below `top` by its path below that; `Mistake` where one is not what was written."""
    data = codec.parse((folder / manifest.NAME).read_bytes())
    inner = data.get("manifest", data) if isinstance(data, dict) else {}
    listed = inner.get("files", {}) if isinstance(inner, dict) else {}
    return {
        name.removeprefix(f"{top}/"): _same(folder, name, sha)
        for name, sha in sorted(listed.items())
        if not top or name.startswith(f"{top}/")
    }


def _same(folder: Path, name: str, sha: str) -> bytes:
    file = folder / name
    if not file.resolve().is_relative_to(folder.resolve()):
        raise Mistake(f"{folder / manifest.NAME} lists {name!r}, which is outside of the folder; it was changed")
    raw = file.read_bytes() if file.is_file() else None
    if raw is None or codec.sha256(raw) != sha:
        raise Mistake(f"{file} is not what was written; take the folder from where it was published")
    return raw
