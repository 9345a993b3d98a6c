"""One proxy that carries many connections which do nothing: what does it hold for each?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from lab import subject
from lab.cluster import Cluster, Layout, PodSpec, Process
from lab.meter.sockets import established
from lab.question import Case
from lab.record import Failed
from lab.study import ends
from lab.study.kinds import table as one
from lab.study.weight import weigh
from lab.subject import Table

SETTLE_S = 0.5
ADMIN = 4  # connections beside the client's: administration, probes that are closing


def observe(cluster: Cluster, case: Case) -> Iterator[tuple[str, float]]:
    """Memory of the proxy, and the sockets in its pod with their buffers, while `connections` are held as `how` says.

    `ends` is how many sockets of the proxy each of them is expected to take.
    """
    count, how, proxy = case.number("connections"), str(case.parameters["how"]), subject.find(case.subject)
    pods = (PodSpec(one.POD, 0, one.ARM, "server"), _pod(ends.SERVER), _pod(ends.CLIENT))
    mesh = cluster.deploy(Layout(pods, ()))
    cluster.run(ends.SERVER, one.ARM, ends.server())
    upstream = f"{mesh.pod(ends.SERVER).address}:{ends.PORT}"
    process = one.started(cluster, proxy, Table.of(case.parameters, upstream))[-1]
    if count:
        cluster.run(ends.CLIENT, one.ARM, ends.client(mesh.pod(one.POD).address, proxy.port, count, how))
    time.sleep(SETTLE_S)
    yield from weigh([process])
    yield from proxy.allocated(cluster, one.POD).items()
    yield from _sockets(process, count * case.number("ends"))


def facts(case: Case) -> Mapping[str, str]:
    """The proxy's version."""
    return one.facts(case)


def _pod(name: str) -> PodSpec:
    return PodSpec(name, 1, one.ARM, name)


def _sockets(process: Process, expected: int) -> Iterator[tuple[str, float]]:
    found = established(process.pids()[0])
    if not expected <= len(found) <= expected + ADMIN:
        raise Failed(f"{len(found)} established sockets where {expected} were to be")
    yield "established_sockets", len(found)
    yield "socket_buffer_bytes", sum(s.memory.total for s in found)
