"""Removing what the lab made on a cluster: its namespaces, found by label, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Sequence

from lab.cluster.kubernetes import names
from lab.cluster.kubernetes.client import ApiClient
from lab.record import Failed

PATIENCE_S = 180.0
PAUSE_S = 0.5


def clean(client: ApiClient, run: str | None = None) -> tuple[str, ...]:
    """Delete every namespace of the lab, or of one run; one line for each. Whatever it made is in one of them."""
    found = held(client, run)
    gone(client, [name for name, _ in found])
    return tuple(f"namespace {name} (run {whose})" for name, whose in found)


def held(client: ApiClient, run: str | None = None) -> tuple[tuple[str, str], ...]:
    """The lab's namespaces and the runs they belong to."""
    labels = names.OURS if run is None else f"{names.OURS},{names.RUN}={names.dns(run)}"
    metas = [each["metadata"] for each in client.every("Namespace", labels=labels)]
    return tuple(sorted((meta["name"], meta["labels"].get(names.RUN, "unknown")) for meta in metas))


def left(client: ApiClient) -> None:
    """Wait for namespaces of the lab that are being deleted already, by the run before or a cleaner."""
    every = client.every("Namespace", labels=names.OURS)
    gone(client, [each["metadata"]["name"] for each in every if "deletionTimestamp" in each["metadata"]])


def gone(client: ApiClient, namespaces: Sequence[str]) -> None:
    """Delete them and return once they are gone; pods with agents first are given their time to detach."""
    for name in sorted(namespaces, key=lambda each: not each.endswith("-nodes")):
        client.delete("Namespace", name)
    deadline = time.monotonic() + PATIENCE_S
    while left := [name for name in namespaces if client.get("Namespace", name)]:
        if time.monotonic() > deadline:
            raise Failed(
                f"namespaces {', '.join(left)} are still being deleted after {PATIENCE_S:g} s;"
                f" see: kubectl get namespace {left[0]} -o yaml"
            )
        time.sleep(PAUSE_S)
