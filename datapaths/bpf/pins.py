"""What outlives a process: maps and links in a folder of a BPF file system.

A map is `<map>`, with `<map>@layout` beside it: a symbolic link, the only text that such a file system holds. A link is
`<program>@<inode of the cgroup>` or `<program>@<map>`.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from datapaths.bpf.calls import library, why
from lab.record import Failed

LAYOUT = "@layout"


class Stale(Failed):
    """A map that a former agent has pinned is laid out otherwise, or has too little room."""


class Pins:
    """The pins of one object."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def map(self, name: str, layout: str, entries: int) -> int | None:
        """A file descriptor of a pinned map; None where there is none. `Stale` where it does not fit."""
        fd = int(library().bpf_obj_get(self._path(name)))
        if fd < 0:
            return None
        note = self.folder / f"{name}{LAYOUT}"
        there, room = str(note.readlink()) if note.is_symlink() else "nobody knows", _max_entries(fd)
        if (layout, True) != (there, entries <= room):
            os.close(fd)
            different = f"is laid out as {there}, not {layout}" if layout != there else f"has room for {room}"
            raise Stale(
                f"map {name} in {self.folder} {different} (asked for: {entries} entries); start with fresh maps"
            )
        return fd

    def keep_map(self, fd: int, name: str, layout: str) -> None:
        """Pin a new map. Its layout is noted first: there is never a map without."""
        note = self.folder / f"{name}{LAYOUT}"
        note.unlink(missing_ok=True)
        note.symlink_to(layout)
        self.keep(fd, name)

    def link(self, name: str, program: int) -> int | None:
        """A pinned link, which from now on runs this program; None where there is none, or where its place has gone."""
        link = int(library().bpf_obj_get(self._path(name)))
        if link < 0:
            return None
        if not library().bpf_link_update(link, program, None):
            return link
        os.close(link)
        self.drop(name)
        return None

    def keep(self, fd: int, name: str) -> None:
        """Pin a link (or a map without a note)."""
        if library().bpf_obj_pin(fd, self._path(name)):
            raise Failed(f"{name} cannot be pinned in {self.folder}: {why()}; the folder must be on a BPF file system")

    def drop(self, name: str) -> None:
        """Unpin, where it is pinned."""
        (self.folder / name).unlink(missing_ok=True)

    def names(self) -> set[str]:
        """Everything that is pinned."""
        return {path.name for path in self.folder.iterdir()}

    def _path(self, name: str) -> bytes:
        return os.fsencode(self.folder / name)


def forget_maps(folder: Path) -> None:
    """Unpin all maps in and below a folder, with the notes beside them, and leave the links: programs run on."""
    for path in [p for p in folder.rglob("*") if not p.is_dir() or p.is_symlink()]:
        if path.is_symlink() or "@" not in path.name:
            path.unlink()


def _max_entries(fd: int) -> int:
    """Of an open map: the fifth word of the kernel's struct bpf_map_info."""
    info, size = ctypes.create_string_buffer(128), ctypes.c_uint32(128)
    if library().bpf_obj_get_info_by_fd(fd, info, ctypes.byref(size)):
        raise Failed(f"the kernel does not describe a pinned map: {why()}")
    return int.from_bytes(info.raw[16:20], "little")
