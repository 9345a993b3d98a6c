"""Many equal proxies at once, each in a pod of its own: how much of each do they share?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lab import subject
from lab.cluster import Cluster, Layout, Part, PodSpec
from lab.question import Case
from lab.record import Failed
from lab.study.kinds import table as one
from lab.study.weight import weigh
from lab.subject import Table

NODES = 2


def observe(cluster: Cluster, case: Case) -> Iterator[tuple[str, float]]:
    """The memory of all of them together; `proxies` says how many."""
    proxy, table, count = subject.find(case.subject), Table.of(case.parameters), case.number("proxies")
    specs = proxy.processes(table)
    pods = tuple(PodSpec(f"proxy{n}", n % NODES, one.ARM, "server", specs) for n in range(count))
    cluster.deploy(Layout(pods, ()))
    running = [p for p in cluster.processes if p.spec.part is Part.DATAPATH and p.pids()]
    if len(running) != count:
        raise Failed(f"{len(running)} proxies run where {count} were started")
    yield from weigh(running)


def facts(case: Case) -> Mapping[str, str]:
    """The proxy's version."""
    return one.facts(case)
