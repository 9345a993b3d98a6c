"""A BPF file system of an agent's own, for what outlives it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from pathlib import Path

from datapaths.bpf.pins import forget_maps
from lab.cluster import cgroup
from lab.record import CannotRun, Failed, Mistake

_MOUNTINFO = Path("/proc/self/mountinfo")


class BpfFileSystem:
    """Mounted at `folder`, unless that is on one already, and locked: one agent at a time works there.

    The lock goes with the process; the mount stays until `remove`, or until whoever owns the folder unmounts it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        if _mount_point(self.folder) is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            _run("mount", "-t", "bpf", "-o", "mode=0700", "mesh-lab", str(self.folder))
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise Mistake(f"another agent works with the pins in {folder}; end it, or give another folder") from None

    def part(self, name: str) -> Path:
        """The folder of one part's pins."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return folder

    def only(self, names: tuple[str, ...]) -> None:
        """Remove what other parts than these have left, so that nobody's programs run on unseen."""
        for folder in [f for f in self.folder.iterdir() if f.is_dir() and f.name not in names]:
            shutil.rmtree(folder)

    def forget(self, name: str) -> None:
        """Unpin a part's maps; its programs run on with them until they are replaced."""
        forget_maps(self.folder / name)

    def remove(self) -> None:
        """Unpin everything, and so detach it, and unmount what was mounted here."""
        self.only(())
        self.close()
        if _mount_point(self.folder) == self.folder:
            _run("umount", str(self.folder))
            self.folder.rmdir()

    def close(self) -> None:
        """Let others work there. Idempotent."""
        with contextlib.suppress(OSError):
            os.close(self._lock)
        self._lock = -1


def _mount_point(folder: Path) -> Path | None:
    """Where the BPF file system that a folder is on is mounted."""
    points = [m for m in cgroup.mounts(_MOUNTINFO.read_text()) if folder.is_relative_to(m.point)]
    deepest = max(points, key=lambda m: len(m.point.parts), default=None)
    return deepest.point if deepest and deepest.kind == "bpf" else None


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        kind = CannotRun if words[0] == "mount" else Failed
        raise kind(f"{' '.join(words)}: {done.stderr.strip()}; pins need root and a kernel with CONFIG_BPF_SYSCALL")
