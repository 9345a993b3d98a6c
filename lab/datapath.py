"""The seam: what a datapath is, and finding one by its file name in `datapaths/`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence

from lab.cluster import Cluster, Mesh, Node, PodSpec, ProcessSpec
from lab.record import Feature, Mistake, Need, RequestCount


class Datapath:
    """A function from the topology to processes. Every hook defaults to nothing, which is the datapath `none`.

    `connections` is the number of TCP connections that one connection of the application becomes on its way.
    """

    features: frozenset[Feature] = frozenset()
    needs: frozenset[Need] = frozenset()
    connections: int = 1

    def shape(self, pod: PodSpec) -> PodSpec:
        """The pod as this datapath wants it: a sidecar adds an init step and a proxy."""
        return pod

    def node_processes(self, node: Node, mesh: Mesh) -> Sequence[ProcessSpec]:
        """What must run on the node before its pods start: a node proxy, an eBPF agent. `mesh` is this arm's part."""
        return ()

    def seen(self, cluster: Cluster, mesh: Mesh) -> tuple[RequestCount, ...]:
        """Its own count, one entry per observer on the path; each must equal the requests sent. Empty: sees nothing."""
        return ()


def names() -> tuple[str, ...]:
    """Every datapath there is, sorted: the modules of the package `datapaths` that define one."""
    import datapaths

    return tuple(sorted(m.name for m in pkgutil.iter_modules(datapaths.__path__) if not m.ispkg))


def find(name: str) -> Datapath:
    """The datapath defined in `datapaths/<name>.py`."""
    if name not in names():
        raise Mistake(f"no datapath {name!r}; there are {', '.join(names())}")
    module = importlib.import_module(f"datapaths.{name}")
    found = [
        c
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, Datapath) and c.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise Mistake(f"datapaths/{name}.py defines {len(found)} datapaths; it must define exactly one")
    return found[0]()
