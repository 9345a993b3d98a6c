"""One proxy with a table of a given size and no traffic: what does it hold?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lab import subject
from lab.cluster import Cluster, Layout, PodSpec, Process
from lab.question import Case
from lab.record import Failed
from lab.study.weight import cpu_s, weigh
from lab.subject import Proxy, Table

POD = ARM = "proxy"


def observe(cluster: Cluster, case: Case) -> Iterator[tuple[str, float]]:
    """Memory at rest in every way of counting; CPU seconds that it took to get there."""
    proxy, table = subject.find(case.subject), Table.of(case.parameters)
    cluster.deploy(Layout((PodSpec(POD, 0, ARM, "server"),), ()))
    process = started(cluster, proxy, table)[-1]
    yield from weigh([process])
    yield "start_cpu_s", cpu_s(process)
    yield from proxy.allocated(cluster, POD).items()
    prove(cluster, proxy, table)


def facts(case: Case) -> Mapping[str, str]:
    """The proxy's version."""
    return {case.subject: subject.find(case.subject).version()}


def started(cluster: Cluster, proxy: Proxy, table: Table) -> list[Process]:
    """Its control plane and the proxy, last, in the pod."""
    return [cluster.run(POD, ARM, spec) for spec in proxy.processes(table)]


def prove(cluster: Cluster, proxy: Proxy, table: Table) -> None:
    """`Failed` unless the proxy has what it was given, by its own count."""
    told = proxy.holds(cluster, POD)
    wrong = {name: count for name, count in told.items() if count != getattr(table, name)}
    if wrong:
        given = {name: getattr(table, name) for name in wrong}
        raise Failed(f"the proxy holds {wrong} where it was given {given}; see its stderr")
