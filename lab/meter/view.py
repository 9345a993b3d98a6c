"""A deployment as one node sees it: what meters read of a cluster, put together from what its driver says."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lab.cluster import Cluster, Container, Layout, Mesh, Node, Part, Pod, Process, ProcessSpec, Service, cgroup
from lab.cluster.pods import Groups
from lab.record import Mistake

Told = Mapping[str, Any]


class Seen(Process):
    """A process of the deployment, started by somebody else on this node. It can be read and nothing more."""

    def __init__(self, told: Told, groups: Groups | None) -> None:
        self.spec = ProcessSpec(told["name"], (), Part(told["part"]))
        self.where, self.arm = told["where"], told["arm"]
        self.container = Container(*told["container"]) if told["container"] else None
        self.cgroup = Path(told["cgroup"]) if told["cgroup"] else None
        self._roots: frozenset[int] | None = None
        if self.container is not None and groups is not None:
            self.cgroup = groups.container(self.container.pod, self.container.id)
            if told["pids"] != [0]:  # which stands for all of its container
                self._roots = frozenset(outside(cgroup.members(self.cgroup), told["pids"]))

    def pids(self) -> tuple[int, ...]:
        """Of its container, those that descend from the ones it was made known by, or all; of its own cgroup, all."""
        there = cgroup.members(self.cgroup) if self.cgroup is not None else ()
        return there if self._roots is None else descendants(self._roots, there)

    def tell(self, line: str) -> None:
        raise Mistake("this process is only seen from here")

    def wait(self, timeout_s: float) -> int:
        raise Mistake("this process is only seen from here")

    def read(self, name: str) -> bytes:
        raise Mistake("this process is only seen from here")


class View(Cluster):
    """The node's part of a deployment."""

    kind = "view"

    def __init__(self, mesh: Told, groups: Groups | None) -> None:
        self.mesh, self.processes, self._groups = unpacked(mesh), [], groups
        self._known: dict[str, Seen] = {}

    def learn(self, processes: Iterable[Told]) -> None:
        """Who is there now. One that is told again stays the same object: meters compare before and after."""
        told = {f"{each['where']}/{each['name']}/{each['pids']}": each for each in processes}
        self._known |= {key: Seen(each, self._groups) for key, each in told.items() if key not in self._known}
        self.processes = list(self._known.values())

    def deploy(self, layout: Layout) -> Mesh:
        raise Mistake("a view deploys nothing")

    def undeploy(self) -> None:
        """Nothing here is its own."""

    def run(self, where: str, arm: str, spec: ProcessSpec) -> Process:
        raise Mistake("a view starts nothing")

    def fetch(self, where: str, port: int, path: str) -> bytes:
        raise Mistake("a view asks nobody")


def packed(mesh: Mesh) -> dict[str, Any]:
    """A mesh for JSON."""
    pods = [{**vars(pod), "cgroup": str(pod.cgroup) if pod.cgroup else None} for pod in mesh.pods]
    services = [vars(service) for service in mesh.services]
    return {"nodes": [vars(node) for node in mesh.nodes], "pods": pods, "services": services, "slots": dict(mesh.slots)}


def unpacked(told: Told) -> Mesh:
    """What `packed` was given."""
    pods = tuple(Pod(**{**pod, "cgroup": Path(pod["cgroup"]) if pod["cgroup"] else None}) for pod in told["pods"])
    services = tuple(Service(**{**s, "endpoints": tuple(s["endpoints"])}) for s in told["services"])
    return Mesh(tuple(Node(**node) for node in told["nodes"]), pods, services, told["slots"])


def outside(members: Iterable[int], inner: Iterable[int]) -> tuple[int, ...]:
    """Those of `members` whose numbers inside their own namespace are among `inner`."""
    wanted = set(inner)
    return tuple(pid for pid in members if _inner(pid) in wanted)


def descendants(roots: Iterable[int], members: Iterable[int]) -> tuple[int, ...]:
    """Of `members`, the roots and their children's children."""
    parents = {pid: _parent(pid) for pid in members}
    found = set(roots) & parents.keys()
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return tuple(sorted(found))


def _inner(pid: int) -> int | None:
    """Its number in the innermost namespace: the last of NSpid (proc(5))."""
    return _status(pid, "NSpid")


def _parent(pid: int) -> int | None:
    return _status(pid, "PPid")


def _status(pid: int, name: str) -> int | None:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[-1]) for line in lines if line.startswith(f"{name}:")), None)


def machine() -> str:
    """What tells this machine from others, the same in all containers: the kernel's boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip() or os.uname().nodename
