"""From a pod's uid to its cgroup v2 folder, on the node that runs it: for agents and instruments in a node's own pod.

Kubelets and runtimes write a pod's uid and a container's id into the names of cgroups, in a few spellings (cgroupfs or
systemd driver; containerd, CRI-O, Docker; nodes that are containers themselves), so /proc/PID/cgroup says who is whose.
Where controllers are in cgroup v1, a runtime may leave all pods in one v2 folder. Then `Groups` makes one for each pod
and moves the pod's processes there. That must be done before they open sockets: a socket belongs to the folder that its
process was in when it was made.

What will break it: without the host's process numbers (hostPID) there is nobody to be found.
"""

from __future__ import annotations

import glob
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lab.cluster import cgroup
from lab.record import CannotRun, Failed

OWN = "mesh-lab-pods"  # below the top of the visible tree; a folder in it is called after a pod's uid
_TRIES = 5
_PROC = Path("/proc")


def of_pod(component: str, uid: str) -> bool:
    """Is a folder of this name the pod's? `pod<uid>`, `kubepods-burstable-pod<uid_>.slice`; our own bear the uid."""
    return bool(uid) and re.fullmatch(rf"(.*-)?(pod)?{_spelled(uid)}(\.slice)?", component) is not None


def of_container(component: str, name: str) -> bool:
    """Is a folder of this name the container's? `<id>`, `cri-containerd-<id>.scope`, `crio-<id>.scope`, `…:<id>`."""
    found = re.fullmatch(rf"(.*[-:])?{re.escape(name)}(\.scope)?", component) if name else None
    return found is not None and "conmon" not in component  # CRI-O's monitor is in a folder beside the container's


def inside(memberships: str, uid: str, container: str = "") -> bool:
    """Is a process with this /proc/PID/cgroup the pod's, or its container's? Any hierarchy may tell."""
    parts = [part for line in memberships.splitlines() for part in line.split(":", 2)[-1].split("/")]
    if container:
        return any(of_container(part, container) for part in parts)
    return any(of_pod(part.partition(":")[0], uid) for part in parts)


def ids(memberships: str, uid: str) -> set[str]:
    """The ids of the pod's containers that a process is in: what stands at or below the pod's own folder."""
    found = set()
    for line in memberships.splitlines():
        parts = line.split(":", 2)[-1].split("/")
        start = next((i for i, part in enumerate(parts) if of_pod(part.partition(":")[0], uid)), len(parts))
        ends = (re.search(r"(?:^|[-:])([0-9a-f]{64})(?:\.scope)?$", part) for part in parts[start:])
        found |= {end[1] for end in ends if end and of_container(end.string, end[1])}
    return found


def unified(memberships: str) -> str:
    """Its path in the cgroup v2 tree, as the reader's cgroup namespace calls it; `/` where that is not said."""
    return next((line[3:] for line in memberships.splitlines() if line.startswith("0::")), "/")


def ending(path: str, uid: str, container: str = "") -> str | None:
    """The path up to the pod's (or container's) own folder; None where it has none in this hierarchy."""
    parts = path.split("/")
    for place, part in enumerate(parts):
        if of_container(part, container) if container else of_pod(part, uid):
            return "/".join(parts[: place + 1])
    return None


def reach(mountinfo: str, path: str) -> Path | None:
    """The folder of a path of /proc/PID/cgroup, through some mount of cgroup v2; None where no mount shows it.

    From within a cgroup namespace a path and a mount's root may begin with `/..`: above that namespace's own top. How
    the folders between are called is not said then; the tree is asked.
    """
    for mount in sorted(_trees(mountinfo), key=lambda m: -m.root.split("/").count("..")):
        below = _below(path, mount.root)
        found = sorted(mount.point.glob(below)) if below else [mount.point] if below == "" else []
        if len(found) == 1 and found[0].is_dir():
            return found[0]
    return None


def _trees(mountinfo: str) -> Iterator[cgroup.Mount]:
    return (m for m in cgroup.mounts(mountinfo) if m.kind == "cgroup2" and m.writable)


def _below(path: str, root: str) -> str | None:
    """A pattern for `path` below a mount of `root`; empty: the mount itself; None: not below it."""
    (up, names), (root_up, root_names) = _climbed(path), _climbed(root)
    if up > root_up or (root_names and (up < root_up or names[: len(root_names)] != root_names)):
        return None
    unknown = ["*"] * (root_up - up)
    return "/".join([*unknown, *map(glob.escape, names[len(root_names) :])])


def _climbed(path: str) -> tuple[int, list[str]]:
    """How many levels it goes up first, and the names after that."""
    parts = [part for part in path.split("/") if part]
    up = next((i for i, part in enumerate(parts) if part != ".."), len(parts))
    return up, parts[up:]


def _spelled(uid: str) -> str:
    """systemd's slices have no place for hyphens."""
    return uid.replace("-", "[-_]")


class Groups:
    """The cgroup v2 folders of a node's pods. What it had to make, `close` removes, and a later one what was left.

    A context manager. `CannotRun` where there is no cgroup v2 tree and none can be mounted.
    """

    def __init__(self, proc: Path = _PROC) -> None:
        self._proc = proc
        self._made: list[tuple[Path, Path]] = []  # (folder, where its processes came from)
        self._mount: Path | None = None
        self.sweep()

    def pod(self, uid: str) -> Path:
        """The folder that holds all processes of the pod and nobody else's. `Failed` where none of them is found."""
        return self._of(uid, "")

    def container(self, uid: str, container: str) -> Path:
        """The same for one container of it."""
        return self._of(uid, container)

    def containers(self, uid: str) -> tuple[Path, ...]:
        """The folders of all containers of a pod, idle ones too: sockets that they open from now on belong there."""
        texts = [text for _, text in self._everybody() if inside(text, uid)]
        return tuple(self.container(uid, each) for each in sorted({i for text in texts for i in ids(text, uid)}))

    def pids(self, uid: str, container: str = "") -> tuple[int, ...]:
        """The processes of a pod or of a container, by the numbers that this process's /proc knows."""
        return tuple(pid for pid, text in self._everybody() if inside(text, uid, container))

    def holder(self, pid: int) -> Path:
        """The folder that a process is in."""
        return self._reached(unified((self._proc / f"{pid}/cgroup").read_text()))

    def sweep(self) -> None:
        """Remove folders of pods that are gone: what a killed agent left has nobody in it by then."""
        for tree in _trees(self._mountinfo()):
            for folder in sorted((tree.point / OWN).rglob("*"), reverse=True):
                _rmdir(folder)
            _rmdir(tree.point / OWN)

    def close(self) -> None:
        """Move everybody back and remove what was made. Idempotent."""
        while self._made:
            folder, origin = self._made.pop()
            for _ in range(_TRIES):  # new ones may be born in it meanwhile
                _empty(folder, origin)
                if not folder.exists():
                    break
            _rmdir(folder.parent)  # only when it was the last one
        if self._mount is not None:
            subprocess.run(["umount", str(self._mount)], check=False)
            _rmdir(self._mount)
            self._mount = None

    def __enter__(self) -> Groups:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _of(self, uid: str, container: str) -> Path:
        paths = [unified(text) for _, text in self._everybody() if inside(text, uid, container)]
        if not paths:
            what = f"container {container[:12]} of pod {uid}" if container else f"pod {uid}"
            raise Failed(f"no process of {what} is on this node; the agent's pod needs hostPID, on the pod's own node")
        own = {ending(path, uid, container) for path in paths}
        if None not in own:
            return self._reached(max(filter(None, own)))
        if container:
            pod = self.pod(uid)
            return self._make(pod / container, pod, uid, container)
        origin = next(path for path in paths if ending(path, uid) is None)
        return self._make(self._top() / OWN / uid, self._reached(origin), uid, container)

    def _make(self, folder: Path, origin: Path, uid: str, container: str) -> Path:
        """A folder with all of them in it; again while new ones are born outside. Who makes it removes it."""
        if not folder.exists():
            self._made.append((folder, origin))
        for _ in range(_TRIES):
            folder.mkdir(parents=True, exist_ok=True)
            there = set(cgroup.members(folder))
            missing = [pid for pid in self.pids(uid, container) if pid not in there]
            if not missing:
                return folder
            for pid in missing:
                _move(pid, folder)
        raise Failed(f"the processes of pod {uid} could not all be moved to {folder}")

    def _everybody(self) -> Iterator[tuple[int, str]]:
        for path in self._proc.glob("[0-9]*/cgroup"):
            try:
                yield int(path.parent.name), path.read_text()
            except OSError:
                continue  # ended since it was listed

    def _reached(self, path: str) -> Path:
        found = reach(self._mountinfo(), path)
        if found is None and self._mount is None:
            self._see()
            found = reach(self._mountinfo(), path)
        if found is None:
            raise Failed(f"no mount of cgroup v2 shows {path}; the agent's pod needs the host's cgroup file system")
        return found

    def _top(self) -> Path:
        """The highest folder of cgroup v2 that can be seen."""
        trees = sorted(_trees(self._mountinfo()), key=lambda m: (m.root == "/", m.root.count("..")))
        return trees[-1].point if trees else self._see()

    def _see(self) -> Path:
        """Mount the tree. Only now can be seen what a killed one left in it."""
        self._mount = _mounted()
        self.sweep()
        return self._mount

    def _mountinfo(self) -> str:
        return (self._proc / "self/mountinfo").read_text()


def _mounted() -> Path:
    """The node's cgroup v2 tree, mounted for this process's mount namespace alone: as the node's init sees it, whole.

    Where its namespace may not be entered, as the own one shows it.
    """
    point = Path(tempfile.mkdtemp(prefix="mesh-lab-cgroup2."))
    mount = ["mount", "-t", "cgroup2", "none", str(point)]
    for words in (["nsenter", "--cgroup=/proc/1/ns/cgroup", "--", *mount], mount):
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if not done.returncode:
            return point
    point.rmdir()
    raise CannotRun(f"cgroup v2 cannot be mounted: {done.stderr.strip()}; it needs a privileged pod and Linux 4.5")


def _empty(folder: Path, origin: Path) -> None:
    """Move everybody in it and below it, and remove what is empty then."""
    for each in (*(f for f in sorted(folder.rglob("*"), reverse=True) if f.is_dir()), folder):
        for pid in _direct(each):
            _move(pid, origin)
        _rmdir(each)


def _direct(folder: Path) -> tuple[int, ...]:
    try:
        return tuple(int(pid) for pid in (folder / "cgroup.procs").read_text().split())
    except OSError:
        return ()


def _move(pid: int, folder: Path) -> None:
    try:
        (folder / "cgroup.procs").write_text(str(pid))
    except (ProcessLookupError, FileNotFoundError):
        return  # it has ended; or another agent swept the folder while it was empty, and the next try makes it again


def _rmdir(folder: Path) -> None:
    """Where it is an empty cgroup: the kernel refuses any other."""
    try:
        folder.rmdir()
    except OSError:
        return
