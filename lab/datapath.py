"""The seam: what a datapath is, and finding one by its file name in `datapaths/` or in a folder of one's own.

Folders that the variable `MESH_LAB_DATAPATHS` lists (as PATH does) are searched after the project's own. A file there
is imported as `datapaths.<name>`, so it looks and works as one of the project's, and needs no copy in it.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.cluster import Cluster, Mesh, Node, PodSpec, ProcessSpec, Selector, ServiceSpec
from lab.record import Feature, Mistake, Need, RequestCount


class Datapath:
    """A function from the topology to processes. Every hook defaults to nothing, which is the datapath `none`.

    `connections` is the number of TCP connections that one connection of the application becomes on its way; None: it
    pools them, so that there is no such number. What a datapath needs of a cluster and does not bring along is said by
    `found`, with `install`, the command that would put it there; the pods of it that are its cost are `residents`.
    """

    features: frozenset[Feature] = frozenset()
    needs: frozenset[Need] = frozenset()
    connections: int | None = 1
    install: str = ""
    residents: tuple[Selector, ...] = ()
    rights: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = ()  # on Kubernetes: group, resources, verbs

    def found(self, cluster: Cluster) -> Mapping[str, str]:
        """What of it the open cluster has: versions and places, as facts. `CannotRun` where that is not enough."""
        return {}

    def shape(self, pod: PodSpec) -> PodSpec:
        """The pod as this datapath wants it: a sidecar adds an init step and a proxy."""
        return pod

    def node_processes(self, node: Node, mesh: Mesh) -> Sequence[ProcessSpec]:
        """What must run on the node before its pods start: a node proxy, an eBPF agent. `mesh` is this arm's part."""
        return ()

    def objects(self, arm: str, services: Sequence[ServiceSpec]) -> Sequence[Mapping[str, Any]]:
        """Objects of kinds that only Kubernetes knows, as plain JSON without a namespace, for the arm's own pods."""
        return ()

    def seen(self, cluster: Cluster, mesh: Mesh) -> tuple[RequestCount, ...]:
        """Its own count, one entry per observer on the path; each must equal the requests sent. Empty: sees nothing."""
        return ()

    def taken(self, cluster: Cluster, mesh: Mesh) -> Mapping[str, int]:
        """By observer, connections that it took from the clients; each must equal those that they opened.

        The proof of a datapath that carries connections and does not look into them. Empty: it does not count any.
        """
        return {}


FOLDERS = "MESH_LAB_DATAPATHS"


def names() -> tuple[str, ...]:
    """Every datapath there is, sorted: modules of the package `datapaths`, and those in folders of one's own.

    `Mistake` for a folder that is not there, or a name that is taken twice.
    """
    found = [m.name for place in _places() for m in pkgutil.iter_modules([place]) if not m.ispkg]
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise Mistake(f"{FOLDERS}={os.environ[FOLDERS]}: {twice[0]}.py is there twice; rename yours")
    return tuple(sorted(found))


def find(name: str) -> Datapath:
    """The datapath defined in `<name>.py`, in `datapaths/` or a folder of one's own."""
    if name not in names():
        raise Mistake(f"no datapath {name!r}; there are {', '.join(names())}")
    module = importlib.import_module(f"datapaths.{name}")
    found = [
        c
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, Datapath) and c.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise Mistake(f"{module.__file__} defines {len(found)} datapaths; it must define exactly one")
    return found[0]()


def _places() -> list[str]:
    """Where datapaths are looked for. The package's own search path follows, so that they can be imported."""
    import datapaths

    if not _PROJECTS:
        _PROJECTS.extend(datapaths.__path__)
    own = [Path(word).expanduser().absolute() for word in os.environ.get(FOLDERS, "").split(os.pathsep) if word]
    lacking = next((folder for folder in own if not folder.is_dir()), None)
    if lacking:
        raise Mistake(f"{FOLDERS} lists {lacking}, which is no folder; make it, or leave it out")
    if datapaths.__path__[:] != [*_PROJECTS, *map(str, own)]:
        datapaths.__path__[:] = [*_PROJECTS, *map(str, own)]
        importlib.invalidate_caches()
    return list(datapaths.__path__)


_PROJECTS: list[str] = []  # the package's search path as it was found
