"""Which cluster a word means: `local`, `kind`, `kind:NAME`, `kube:CONTEXT`, and `kube` for the current context."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from lab.cluster import Cluster
from lab.record import Mistake

LOCAL = "local"
ALLOWED = "local, kind, kind:NAME, kube:CONTEXT"


def settled(word: str) -> str:
    """The word as plans record it, with its name: of the kind cluster, or of the kubeconfig's context."""
    which, _, name = word.partition(":")
    if word == LOCAL or (which in ("kind", "kube") and name):
        return word
    if word == "kind":
        from lab.cluster.kind import NAME  # noqa: PLC0415 - each kind of cluster is imported when it is asked for

        return f"kind:{os.environ.get('MESH_LAB_KIND_NAME', NAME)}"
    if word == "kube":
        from lab.cluster.kubernetes.client import current  # noqa: PLC0415

        return f"kube:{current()}"
    raise Mistake(f"--cluster {word!r} is unknown; allowed: {ALLOWED}")


def here(word: str) -> bool:
    """Do its processes run on this machine, so that this machine must have what they need?"""
    return word == LOCAL


@contextmanager
def opened(word: str, run: str, overlay: bool, cpus: Literal["shared", "per_node"]) -> Iterator[Cluster]:
    """The cluster, open for a run; what it made is gone afterwards."""
    which, _, name = settled(word).partition(":")
    if which == LOCAL:
        from lab.cluster.local import LocalCluster  # noqa: PLC0415

        with LocalCluster(run, overlay=overlay, cpus=cpus) as local:
            yield local
        return
    from lab.cluster.kube import KubeCluster  # noqa: PLC0415

    if which == "kube":
        with KubeCluster(run, name) as kube:
            yield kube
        return
    from lab.cluster.kind import Kind, Settings  # noqa: PLC0415

    with Kind(Settings.of(os.environ, name)) as kind, KubeCluster(run, kind.context, kind.kubeconfig) as kube:
        yield kube


def clean(word: str, run: str | None = None) -> tuple[str, ...]:
    """Remove what the lab, or one run of it, left on a Kubernetes cluster; one line for each thing removed."""
    from lab.cluster.kubernetes.client import ApiClient  # noqa: PLC0415
    from lab.cluster.kubernetes.remains import clean as removed  # noqa: PLC0415

    which, _, name = settled(word).partition(":")
    client = ApiClient(name if which == "kube" else f"kind-{name}")
    try:
        return removed(client, run)
    finally:
        client.close()
