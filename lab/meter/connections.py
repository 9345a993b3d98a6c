"""TCP connections on an arm's path: sockets at each hop and their memory (sock_diag), and a tracepoint's opinion.

Every connection has two established sockets, whatever NAT does to their addresses, so a path whose every connection
lies between processes of the arm has

    connections = sockets on the path / 2,   expected: connections of the application × `Datapath.connections`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from lab.cluster import Cluster, Part, Process
from lab.meter import Meter
from lab.meter.processes import alive, gone, leader, namespace, of_arm, on_path, part, subject
from lab.meter.sockets import Socket, SocketMemory, established, owned, structure_bytes
from lab.meter.tracer import Opening, Tracer
from lab.record import Block, Reading, Window


@dataclass(frozen=True)
class Hop:
    """A process on the path with its established sockets, `strangers` (see `hops`) left out."""

    process: Process
    sockets: tuple[Socket, ...]

    @property
    def memory(self) -> SocketMemory:
        """What the kernel holds for all of them."""
        return sum((s.memory for s in self.sockets), SocketMemory())


@dataclass(frozen=True)
class Path:
    """All hops of one arm. `pending` are sockets in namespaces of its pods that wait to be accepted.

    `left_over` are not on the path: a proxy keeps connections to its upstream when the engine they were opened for has
    gone.
    """

    hops: tuple[Hop, ...]
    pending: int
    left_over: int

    @property
    def sockets(self) -> int:
        """Established sockets on the path, pending ones too."""
        return sum(len(hop.sockets) for hop in self.hops) + self.pending

    @property
    def app_connections(self) -> int:
        """What the application opened: the sockets of the load's own processes."""
        return sum(len(hop.sockets) for hop in self.hops if hop.process.spec.part is Part.LOAD)

    @property
    def connections(self) -> float:
        """TCP connections on the path: half the sockets. Not whole when a connection was caught half open."""
        return self.sockets / 2


def path(processes: Iterable[Process], pods: Iterable[str], before: frozenset[int] = frozenset()) -> Path:
    """The path of one arm: its living processes; its pods by name, as a node's namespace is shared with other arms.

    Sockets whose inodes are in `before` are left over from earlier engines.
    """
    by_namespace: dict[int, list[Process]] = defaultdict(list)
    for process in processes:
        by_namespace[namespace(process)].append(process)
    places = frozenset(pods)
    found: list[Hop] = []
    pending = left_over = 0
    for members in by_namespace.values():
        sockets = established(leader(members[0]))
        there = hops(members, sockets)
        fresh = [Hop(hop.process, tuple(s for s in hop.sockets if s.inode not in before)) for hop in there]
        found += fresh
        left_over += sum(len(hop.sockets) for hop in there) - sum(len(hop.sockets) for hop in fresh)
        if members[0].where in places:
            pending += sum(1 for s in sockets if not s.inode)
    return Path(tuple(found), pending, left_over)


def hops(processes: Iterable[Process], sockets: Iterable[Socket]) -> list[Hop]:
    """The sockets of one namespace, put to the processes that hold them.

    Left out: a socket whose other end is in the same namespace and belongs to none of these processes. That is a
    stranger's connection, such as the lab's to an admin port. (Behind REDIRECT the other end has another address and is
    not found: it stays.)
    """
    there = tuple(sockets)
    held = {process: _owned(process) for process in processes}
    ours = set().union(*held.values()) | {0}
    ends = {(s.local, s.remote): s.inode for s in there}
    on_path = [s for s in there if ends.get((s.remote, s.local), 0) in ours]
    return [Hop(process, tuple(s for s in on_path if s.inode in inodes)) for process, inodes in held.items()]


def _owned(process: Process) -> set[int]:
    try:
        return owned(process.pids())
    except OSError as error:
        raise gone(process, error) from error


class Connections(Meter):
    """At the end of each window, the sockets of its arm.

    Metrics by `place/process`: `sockets`, `socket_memory_bytes`, `socket_received_bytes`, `socket_sent_bytes`,
    `socket_reserved_bytes`, `socket_backlog_bytes`, and `socket_structure_bytes` where the kernel tells it. Part
    kernel, subject `path`: `sockets`, `sockets_pending`, `sockets_left_over`, `connections`, and
    `connections_per_app_connection` where the arm has load.
    """

    name = "connections"

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.there: tuple[Process, ...] = ()
        self.before: frozenset[int] = frozenset()

    def open(self, block: Block) -> None:
        super().open(block)
        self.before = frozenset().union(*map(_owned, alive(self.cluster.processes)))

    def begin(self, window: Window) -> None:
        self.there = of_arm(self.cluster.processes, window.arm)

    def end(self, window: Window) -> tuple[Reading, ...]:
        for process in self.there:
            leader(process)  # one that ended has taken its sockets with it: an error, not a smaller count
        pods = (p.name for p in self.cluster.mesh.pods if p.arm == window.arm)
        found = path(on_path(of_arm(self.cluster.processes, window.arm)), pods, self.before)
        figures = {
            "sockets": found.sockets,
            "sockets_pending": found.pending,
            "sockets_left_over": found.left_over,
            "connections": found.connections,
        }
        if found.app_connections:
            figures["connections_per_app_connection"] = found.connections / found.app_connections
        whole = [self.reading(window.arm, window.index, "kernel", "path", name, x) for name, x in figures.items()]
        return (*whole, *(reading for hop in found.hops for reading in self._hop(hop, window)))

    def _hop(self, hop: Hop, window: Window) -> list[Reading]:
        memory, size = hop.memory, structure_bytes()
        figures = {
            "sockets": len(hop.sockets),
            "socket_memory_bytes": memory.total,
            "socket_received_bytes": memory.received,
            "socket_sent_bytes": memory.sent,
            "socket_reserved_bytes": memory.reserved,
            "socket_backlog_bytes": memory.backlog,
        }
        if size is not None:
            figures["socket_structure_bytes"] = size * len(hop.sockets)
        who = (part(hop.process), subject(hop.process))
        return [self.reading(window.arm, window.index, *who, name, value) for name, value in figures.items()]


class Openings(Meter):
    """Connections that became established while the block was open, as a tracepoint in the kernel saw them (window -1).

    Part kernel, subject = the place; metrics `opened` (by connect) and `accepted`. Part kernel, subject `path`:
    `opened`, the number of TCP connections on the arm's path. In a node's namespace, connections are put to the arm
    whose pod or service is at the other end.
    """

    name = "openings"

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.tracer: Tracer | None = None
        self.places: dict[int, str] = {}

    def open(self, block: Block) -> None:
        super().open(block)
        self.tracer = Tracer.start()

    def begin(self, window: Window) -> None:
        self._learn()  # engines live by now

    def close(self) -> tuple[Reading, ...]:
        tracer, self.tracer = self.tracer, None
        if tracer is None:
            return ()
        with tracer:
            self._learn()
            openings = tracer.openings()
        return self._readings(openings)

    def _learn(self) -> None:
        for process in self.cluster.processes:
            if process.pids():
                self.places[namespace(process)] = process.where

    def _readings(self, openings: Iterable[Opening]) -> tuple[Reading, ...]:
        counts: dict[tuple[str, str, str], int] = defaultdict(int)
        for opening in openings:
            place = self.places.get(opening.namespace)
            arm = self._arm(place, opening) if place else None
            if place and arm and not self._beside(opening):
                role = "opened" if opening.active else "accepted"
                counts[arm, place, role] += opening.count
                if opening.active:
                    counts[arm, "path", role] += opening.count
        return tuple(self.reading(arm, -1, "kernel", place, role, n) for (arm, place, role), n in counts.items())

    def _arm(self, place: str | None, opening: Opening) -> str | None:
        mesh = self.cluster.mesh
        owners = {pod.name: pod.arm for pod in mesh.pods}
        addresses = {pod.address: pod.arm for pod in mesh.pods} | {s.address: s.arm for s in mesh.services}
        return owners.get(place or "") or addresses.get(opening.remote)

    def _beside(self, opening: Opening) -> bool:
        """A connection to an admin port on loopback: not on the path, unless it is the service's own port."""
        ports = {service.port for service in self.cluster.mesh.services}
        return opening.remote.startswith("127.") and opening.port not in ports
