"""Many connections between two pods and nothing between them: what does the kernel hold for each?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from lab.cluster import Cluster, Layout, Line, Part, PodSpec, Process, ProcessSpec, ServiceSpec
from lab.meter.sockets import established, inside
from lab.question import Case
from lab.record import Failed
from lab.study import ends, slab

ARM = "sockets"
SETTLE_S = 0.7  # objects freed by RCU, delayed acknowledgements
COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")
NODES = ("node0", "node1")


def observe(cluster: Cluster, case: Case) -> Iterator[tuple[str, float]]:
    """What grew while `connections` were opened, as `how` says; with `tracked`, through a service, on two nodes."""
    count, how, tracked = case.number("connections"), str(case.parameters["how"]), case.number("tracked")
    services = (ServiceSpec("peer", ARM, ends.PORT, (ends.SERVER,)),) if tracked else ()
    pods = (PodSpec(ends.CLIENT, 0, ARM, ends.CLIENT), PodSpec(ends.SERVER, 1, ARM, ends.SERVER))
    mesh = cluster.deploy(Layout(pods, services))
    server = cluster.run(ends.SERVER, ARM, ends.server())
    host = mesh.services[0].address if tracked else mesh.pod(ends.SERVER).address
    first = cluster.run(ends.CLIENT, ARM, ends.client(host, ends.PORT, 0, how))  # a client of none, to start from
    time.sleep(SETTLE_S)
    before = slab.caches()
    client = cluster.run(ends.CLIENT, ARM, ends.client(host, ends.PORT, count, how)) if count else first
    time.sleep(SETTLE_S)
    yield from slab.grown(before, slab.caches()).items()
    found = [s for process in (server, client) for s in established(process.pids()[0])]
    if len(found) != 2 * count:
        raise Failed(f"{len(found)} established sockets where {2 * count} were to be")
    yield "buffer_bytes", sum(s.memory.total for s in found)
    if tracked:
        yield "tracked_entries", _tracked(cluster)


def facts(case: Case) -> Mapping[str, str]:  # noqa: ARG001 - every kind is asked
    """Nothing: the kernel's release is among the cluster's facts."""
    return {}


def _tracked(cluster: Cluster) -> int:
    """Entries of both nodes' tables: the count that a thread inside each node's namespace reads."""
    agents: list[Process] = [cluster.run(node, ARM, _sleeper()) for node in NODES]
    try:
        return sum(inside(agent.pids()[0], lambda: int(COUNT.read_text())) for agent in agents)
    except OSError as error:
        raise Failed(f"{COUNT} cannot be read inside a node: {error}; is nf_conntrack loaded?") from error


def _sleeper() -> ProcessSpec:
    return ProcessSpec("sleeper", ("sh", "-c", "echo ready; exec sleep 60"), Part.INSTRUMENT, ready=Line("ready"))
