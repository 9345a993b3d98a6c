"""Is a layout one that a cluster of so many nodes can place? Names become folders, so they are checked too."""

from __future__ import annotations

import re

from lab.cluster import Layout
from lab.record import Mistake

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def named(what: str, name: str) -> str:
    """The name itself; `Mistake` when it cannot be a folder's."""
    if not _NAME.fullmatch(name):
        raise Mistake(f"{what} name {name!r}; allowed are letters, digits, '_', '.', '-', at most 100, no sign first")
    return name


def check(layout: Layout, nodes: int) -> None:
    """`Mistake` for a pod that is placed nowhere, two of one name, or a service in front of nobody."""
    names = [f"node{i}" for i in range(nodes)]
    for pod in layout.pods:
        named("arm", pod.arm)
        if named("pod", pod.name) in names:
            raise Mistake(f"two pods or nodes are called {pod.name!r}; give each a name of its own")
        if not 0 <= pod.node < nodes:
            raise Mistake(f"pod {pod.name!r} is placed on node {pod.node}; this cluster has nodes 0 to {nodes - 1}")
        names.append(pod.name)
    for service in layout.services:
        for name in service.pods:
            if name not in names[nodes:]:
                raise Mistake(f"service {service.name!r} points to pod {name!r}; there are {', '.join(names[nodes:])}")
