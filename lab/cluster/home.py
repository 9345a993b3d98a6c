"""Where a local cluster keeps what outlives a process, and nothing else: all of it is named after the state folder.

The cgroup `<cgroup2>/<tag>/<run>`, the folder `<tmp>/<tag>.<run>.*` with the BPF file systems that agents mount in it,
pins below `<bpffs>/<tag>`; in the state folder itself a lock and, where there is no cgroup v2 tree, a mount. So the
cleaner finds all of it, and nobody else's.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lab.cluster import cgroup
from lab.cluster.lock import Lock
from lab.record import CannotRun, Failed

_DEFAULT = Path("/run/mesh-lab")
_MOUNTINFO = Path("/proc/self/mountinfo")


class Home:
    """Of one run: the lock, a cgroup and a folder for its processes. `close` removes them."""

    def __init__(self, state: Path, run: str) -> None:
        need_root()
        self._state, self._lock = state, Lock(state, run)
        try:
            sweep(state)  # what a killed run left would be in the way; the lock says that nobody uses it
            self.mode = cgroup_tree(state).mode
            self.cgroup = (cgroup_tree(state).path or _mount_cgroup2(state)) / tag(state) / run
            self.folder = Path(tempfile.mkdtemp(prefix=f"{tag(state)}.{run}."))
            self.folder.chmod(0o711)  # processes of any user pass through to their own folder
        except BaseException:
            self.close()
            raise

    def empty(self) -> None:
        """Kill and remove what is inside; it can be used again. Idempotent."""
        cgroup.remove(self.cgroup)
        for folder in self.folder.glob("*"):
            tuple(_unpin(folder))
            shutil.rmtree(folder)

    def close(self) -> None:
        try:
            sweep(self._state)
        finally:
            self._lock.release()


def state_folder(state: Path | None) -> Path:
    """The given folder, else $MESH_LAB_STATE, else /run/mesh-lab. Clusters of different folders stay apart."""
    return (state or Path(os.environ.get("MESH_LAB_STATE", _DEFAULT))).absolute()


def tag(state: Path) -> str:
    """The name that everything made under this state folder carries."""
    return "mesh-lab" if state == _DEFAULT else "mesh-lab-" + hashlib.sha256(str(state).encode()).hexdigest()[:8]


def need_root() -> None:
    """`CannotRun` for anybody else."""
    if os.geteuid() != 0:
        raise CannotRun(f"the local cluster needs root and this is uid {os.geteuid()}; run it with sudo")


def cgroup_tree(state: Path) -> cgroup.Tree:
    """The cgroup v2 tree of this machine, leaving out one that the lab itself mounted."""
    return cgroup.find(_MOUNTINFO.read_text(), own=state / "cgroup2")


def sweep(state: Path) -> tuple[str, ...]:
    """Remove all of it, whoever made it; one line for each thing removed. Only for who holds the lock."""
    return (*_cgroups(state), *_folders(state), *_pins(state), *_mounts(state))


def _mount_cgroup2(state: Path) -> Path:
    """A tree for machines with cgroup v1 alone. The controllers stay with v1; grouping, killing and BPF work."""
    point = state / "cgroup2"
    point.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "cgroup2", "none", str(point)], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip()
        raise CannotRun(f"there is no writable cgroup v2 tree and none can be mounted ({reason}); it needs Linux 4.5")
    return point


def _cgroups(state: Path) -> Iterator[str]:
    trees = [m.point for m in cgroup.mounts(_MOUNTINFO.read_text()) if m.kind == "cgroup2" and m.writable]
    for top in dict.fromkeys(tree / tag(state) for tree in trees):
        if top.exists():
            runs = ", ".join(sorted(p.name for p in top.iterdir() if p.is_dir())) or "no run"
            count = len(cgroup.members(top))
            cgroup.remove(top)
            yield f"cgroup {top} ({runs}; processes: {count})"


def _folders(state: Path) -> Iterator[str]:
    for path in sorted(Path(tempfile.gettempdir()).glob(f"{tag(state)}.*")):
        if path.is_dir() and not path.is_symlink() and path.stat().st_uid == os.geteuid():
            yield from _unpin(path)
            shutil.rmtree(path)
            yield f"folder {path}"


def _unpin(folder: Path) -> Iterator[str]:
    """Unmount the BPF file systems in a folder. Emptied first: somebody else's mount namespace may hold them, too."""
    for mount in reversed(cgroup.mounts(_MOUNTINFO.read_text())):
        if mount.kind == "bpf" and mount.point.is_relative_to(folder):
            files = (path for path in mount.point.rglob("*") if path.is_symlink() or not path.is_dir())
            pins = [path for path in files if "." not in path.name]  # those with a dot are the kernel's own
            for pin in pins:
                pin.unlink()
            _umount(mount.point)
            yield f"BPF pins {mount.point} ({len(pins)})"


def _pins(state: Path) -> Iterator[str]:
    for mount in cgroup.mounts(_MOUNTINFO.read_text()):
        pins = mount.point / tag(state)
        if mount.kind == "bpf" and pins.exists():
            shutil.rmtree(pins)
            yield f"BPF pins {pins}"


def _mounts(state: Path) -> Iterator[str]:
    for mount in cgroup.mounts(_MOUNTINFO.read_text()):
        if mount.point == state / "cgroup2":
            _umount(mount.point)
            mount.point.rmdir()
            yield f"mount {mount.point}"


def _umount(point: Path) -> None:
    done = subprocess.run(["umount", str(point)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"cannot unmount {point}: {done.stderr.strip()}; end whoever works there: fuser -m {point}")
