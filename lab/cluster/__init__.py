"""Nodes, pods and processes, wherever they live. One file per kind of cluster; all answer to `Cluster`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any


class Part(StrEnum):
    """Which bill a process's CPU and memory go to."""

    APP = "app"
    DATAPATH = "datapath"
    LOAD = "load"
    INSTRUMENT = "instrument"


class Privilege(StrEnum):
    """What a process may do beyond an ordinary user. On Kubernetes these become capabilities and host mounts."""

    NET_ADMIN = "net_admin"
    BPF = "bpf"  # root with CAP_BPF/CAP_SYS_ADMIN/CAP_NET_ADMIN and the host's cgroup and bpf file systems


@dataclass(frozen=True)
class Port:
    """Ready once a TCP connection to 127.0.0.1:port inside its pod or node is accepted."""

    port: int


@dataclass(frozen=True)
class Http:
    """Ready once GET http://127.0.0.1:port/path inside its pod or node answers 200."""

    port: int
    path: str


@dataclass(frozen=True)
class Line:
    """Ready once it has printed a line that starts with `text`."""

    text: str


@dataclass(frozen=True)
class ProcessSpec:
    """Everything needed to run one program in a pod or on a node.

    `{dir}` in `argv` and in the text of `files` stands for the process's own folder; `files` are written there first.
    `user` is a numeric uid (and gid); 0 only together with a privilege or where a port below 1024 asks for it.
    """

    name: str
    argv: tuple[str, ...]
    part: Part
    files: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    user: int = 65534
    privileges: frozenset[Privilege] = frozenset()
    ready: Port | Http | Line | None = None
    image: str | None = None


@dataclass(frozen=True)
class PodSpec:
    """A pod before it is placed. `init` runs to the end, in order; then `processes` start, one after another.

    `labels` and `annotations` are words to whoever watches pods on a cluster, such as a mesh that is installed there;
    `joined` names the containers that such a one puts into the pod: it is up once they are there and ready.
    """

    name: str
    node: int  # 0-based
    arm: str
    app: str  # identity: what mesh metrics call source and destination
    processes: tuple[ProcessSpec, ...] = ()
    init: tuple[ProcessSpec, ...] = ()
    apart: tuple[int, ...] = ()  # TCP ports for words between the lab's own processes: datapaths leave them alone
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    joined: tuple[str, ...] = ()


@dataclass(frozen=True)
class ServiceSpec:
    """A stable address in front of pods; `port` is both the service's and the pods' port."""

    name: str
    arm: str
    port: int
    pods: tuple[str, ...]


@dataclass(frozen=True)
class Node:
    """A placed node."""

    name: str
    index: int
    address: str


@dataclass(frozen=True)
class Pod:
    """A placed pod. `cgroup` is its cgroup v2 folder as the node's agents see it; None: they find it by `uid`."""

    name: str
    node: str
    arm: str
    app: str
    address: str
    cgroup: Path | None
    uid: str = ""  # what its cluster calls it, where that is not the name


@dataclass(frozen=True)
class Service:
    """A placed service."""

    name: str
    arm: str
    address: str
    port: int
    endpoints: tuple[str, ...]  # pod addresses


@dataclass(frozen=True)
class Mesh:
    """Who is where. A datapath sees only its own arm's part (`only`); `slots` numbers arms, for ports of their own."""

    nodes: tuple[Node, ...]
    pods: tuple[Pod, ...]
    services: tuple[Service, ...]
    slots: Mapping[str, int]

    def only(self, arm: str) -> Mesh:
        return replace(
            self,
            pods=tuple(p for p in self.pods if p.arm == arm),
            services=tuple(s for s in self.services if s.arm == arm),
            slots={arm: self.slots[arm]},
        )

    @property
    def slot(self) -> int:
        """The number of the one arm this mesh was narrowed to: its node ports are offset by it."""
        (number,) = self.slots.values()
        return number

    def on(self, node: Node) -> tuple[Pod, ...]:
        return tuple(p for p in self.pods if p.node == node.name)

    def pod(self, name: str) -> Pod:
        return next(p for p in self.pods if p.name == name)

    def node(self, name: str) -> Node:
        return next(n for n in self.nodes if n.name == name)

    def service(self, name: str) -> Service:
        return next(s for s in self.services if s.name == name)


NodeProcesses = Callable[[Node, Mesh], Sequence[tuple[str, ProcessSpec]]]
"""(node, whole mesh) -> (arm, process) pairs that must run on that node."""


@dataclass(frozen=True)
class Selector:
    """Pods that a cluster has already and somebody else keeps: by their labels (`a=b,c=d`), in a namespace or in any.

    `carries`: requests go through them, so that their sockets are on the path. Else they are a control plane.
    """

    labels: str
    namespace: str = ""
    carries: bool = False


@dataclass(frozen=True)
class Layout:
    """What to deploy: pods (already shaped by their datapath), services, and what each node must run for them.

    On Kubernetes also `objects` of kinds that only it knows, as plain JSON without a namespace, and whose pods that are
    there already (`residents`) are on the bill of which arm. Other clusters have neither.
    """

    pods: tuple[PodSpec, ...]
    services: tuple[ServiceSpec, ...]
    node_processes: NodeProcesses = lambda node, mesh: ()
    objects: tuple[Mapping[str, Any], ...] = ()
    residents: tuple[tuple[str, Selector], ...] = ()


@dataclass(frozen=True)
class Container:
    """What instruments on a node look for in /proc: a pod's uid, and a container's id without the runtime's name."""

    pod: str
    id: str


@dataclass(frozen=True)
class Resident:
    """A running container of a pod that a `Selector` finds."""

    place: str  # `namespace/pod`; `Cluster.fetch` takes it
    node: str  # as the deployment calls it; another name where it is none of its nodes
    name: str
    image: str
    known: Container
    watched: bool  # is it on one of the deployment's nodes?


class Process(ABC):
    """A started process. Meters read it through `pids` and `cgroup` on the machine it runs on."""

    spec: ProcessSpec
    where: str  # pod or node name; `namespace/pod` of a resident that is not on the path of requests
    node: str | None = None  # that it is on, where neither is its name
    arm: str
    cgroup: Path | None  # its own cgroup v2 folder
    container: Container | None = None  # that it runs in; its `pids` are then those inside the container

    @abstractmethod
    def pids(self) -> tuple[int, ...]:
        """It and all its children, now."""

    @abstractmethod
    def tell(self, line: str) -> None:
        """Write one line to its standard input."""

    @abstractmethod
    def wait(self, timeout_s: float) -> int:
        """Its exit code; `Failed` with its last output when it still runs after `timeout_s` (it is then stopped)."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """A file of its own folder; `stdout` and `stderr` are there too, while it runs and after."""


class Cluster(ABC):
    """Nodes that can hold one deployment at a time.

    A context manager: leaving it removes everything it made. `deploy` may be called again after `undeploy`.
    """

    kind: str
    mesh: Mesh
    processes: list[Process]
    here: bool = True  # its processes are on this machine, where meters can read them
    lead_s: float = 0.2  # enough to tell all engines and instruments of an epoch before it comes

    @property
    def size(self) -> int:
        """How many nodes pods can be placed on."""
        return 2

    @abstractmethod
    def deploy(self, layout: Layout) -> Mesh:
        """Place pods and services, start node processes, then pods; return once all are ready, or say who is not."""

    @abstractmethod
    def undeploy(self) -> None:
        """Stop every process and remove every pod of the deployment. Idempotent."""

    @abstractmethod
    def run(self, where: str, arm: str, spec: ProcessSpec) -> Process:
        """Start one more process in a pod or on a node of the deployment; return once it is ready."""

    @abstractmethod
    def fetch(self, where: str, port: int, path: str) -> bytes:
        """The body of GET http://127.0.0.1:port/path as seen inside a pod or node; `Failed` unless it answers 200.

        Of a resident's place, what it answers at that port of its own address.
        """

    def residents(self, selector: Selector) -> tuple[Resident, ...]:
        """Who is there already; nobody on a cluster of the lab's own."""
        return ()

    def clock(self, where: str) -> int:
        """Nanoseconds by which CLOCK_MONOTONIC in a pod or on a node is ahead of this process's."""
        return 0

    def facts(self) -> Mapping[str, str]:
        """What a reader of results must know of this cluster: versions, sizes, modes."""
        return {}

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.undeploy()
