"""One local cluster at a time: the lock that says so, and removing what a killed run left behind.

Everything that outlives a process is named after the state folder (`tag`): the cgroup `<cgroup2>/<tag>`, the folders
`<tmp>/<tag>.<run>.*`, pins below `<bpffs>/<tag>`. So the cleaner finds all of it and nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from lab.cluster import cgroup
from lab.record import CannotRun, Failed, Mistake

_DEFAULT = Path("/run/mesh-lab")
_MOUNTINFO = Path("/proc/self/mountinfo")
_PATIENCE_S = 15.0


def state_folder(state: Path | None) -> Path:
    """The given folder, else $MESH_LAB_STATE, else /run/mesh-lab. Clusters of different folders do not see each other."""
    return state or Path(os.environ.get("MESH_LAB_STATE", _DEFAULT))


def tag(state: Path) -> str:
    """The name that everything made under this state folder carries."""
    if state == _DEFAULT:
        return "mesh-lab"
    return "mesh-lab-" + hashlib.sha256(str(state.absolute()).encode()).hexdigest()[:8]


def need_root() -> None:
    if os.geteuid() != 0:
        raise CannotRun(f"the local cluster needs root and this is uid {os.geteuid()}; run it with sudo")


class Lock:
    """Held from construction to `release`, by a file descriptor: a dead holder holds nothing."""

    def __init__(self, state: Path, run: str) -> None:
        self.path = state / "lock"
        state.mkdir(parents=True, exist_ok=True)
        self._fd = self._take()
        os.truncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()} {run}\n".encode(), 0)

    def _take(self) -> int:
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                raise Mistake(_refusal(self.path)) from None
            with contextlib.suppress(FileNotFoundError):  # the last holder removed it between open and flock: again
                if os.fstat(fd).st_ino == self.path.stat().st_ino:
                    return fd
            os.close(fd)

    def release(self) -> None:
        if self._fd >= 0:
            self.path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1
            with contextlib.suppress(OSError):  # somebody else keeps something there
                self.path.parent.rmdir()


def holder(lock: Path) -> tuple[int, str] | None:
    """(pid, run) written by the last that took the lock."""
    try:
        pid, _, run = lock.read_text().strip().partition(" ")
        return int(pid), run
    except (OSError, ValueError):
        return None


def _refusal(lock: Path) -> str:
    pid, run = holder(lock) or (0, "?")
    return (
        f"run {run!r} (pid {pid}) has a local cluster open, and this machine holds one at a time; "
        f"wait for it, or stop it with: kill {pid}"
    )


def cgroup_tree(state: Path) -> cgroup.Tree:
    return cgroup.find(_MOUNTINFO.read_text(), own=state / "cgroup2")


def mount_cgroup2(state: Path) -> Path:
    """A v2 tree for machines that have none mounted. Its controllers stay with v1; grouping and BPF work."""
    point = state / "cgroup2"
    point.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "cgroup2", "none", str(point)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotRun(
            f"no cgroup v2 here and it cannot be mounted: {done.stderr.strip()}; it needs Linux 4.5 or later"
        )
    return point


def clean(force: bool = False, state: Path | None = None) -> tuple[str, ...]:
    """Remove all that a killed run left behind; one line for each thing removed.

    `Mistake` while a live run holds the lock, unless `force`: that run is then ended first, and not gently for long.
    """
    need_root()
    place = state_folder(state)
    removed = []
    if (place / "lock").exists():
        owner = holder(place / "lock")
        if force and owner:
            removed += _end(place / "lock", *owner)
    lock = Lock(place, "clean")
    try:
        return (*removed, *sweep(place))
    finally:
        lock.release()


def sweep(state: Path) -> tuple[str, ...]:
    """`clean` for who holds the lock."""
    return (*_cgroups(state), *_folders(state), *_pins(state), *_mounts(state))


def _end(lock: Path, pid: int, run: str) -> Iterator[str]:
    if pid == os.getpid():
        raise Mistake(f"run {run!r} is this very process; leave its cluster instead of cleaning it")
    for sign in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + _PATIENCE_S
        while _held(lock):
            if sign is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, sign)
            yield from ()
            time.sleep(0.05)
            if time.monotonic() > deadline:
                break
        if not _held(lock):
            yield f"run {run!r} (pid {pid}), ended"
            return
    raise Failed(f"run {run!r} (pid {pid}) does not end")


def _held(lock: Path) -> bool:
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _cgroups(state: Path) -> Iterator[str]:
    trees = [m.point for m in cgroup.mounts(_MOUNTINFO.read_text()) if m.kind == "cgroup2" and m.writable]
    for top in dict.fromkeys(tree / tag(state) for tree in trees):
        if top.exists():
            runs = ", ".join(sorted(p.name for p in top.iterdir() if p.is_dir())) or "no run"
            count = len(cgroup.members(top))
            cgroup.remove(top)
            yield f"cgroup {top} ({runs}; {count} processes)"


def _folders(state: Path) -> Iterator[str]:
    for path in sorted(Path(tempfile.gettempdir()).glob(f"{tag(state)}.*")):
        if path.is_dir() and not path.is_symlink() and path.stat().st_uid == os.getuid():
            shutil.rmtree(path)
            yield f"folder {path}"


def _pins(state: Path) -> Iterator[str]:
    for mount in cgroup.mounts(_MOUNTINFO.read_text()):
        pins = mount.point / tag(state)
        if mount.kind == "bpf" and pins.exists():
            shutil.rmtree(pins)
            yield f"BPF pins {pins}"


def _mounts(state: Path) -> Iterator[str]:
    for mount in reversed(cgroup.mounts(_MOUNTINFO.read_text())):
        if mount.point.is_relative_to(state.absolute()):
            subprocess.run(["umount", str(mount.point)], check=True, capture_output=True)
            mount.point.rmdir()
            yield f"mount {mount.point}"
