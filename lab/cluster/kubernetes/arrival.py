"""Waiting for pods to come and to go, and saying soon and plainly when they will not."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Collection, Mapping

from lab.cluster.kubernetes import failures, names
from lab.cluster.kubernetes.client import ApiClient, Json
from lab.record import CannotRun, Failed, LabError

PATIENCE_S = 120.0
PAUSE_S = 0.25


def arrived(
    client: ApiClient, namespace: str, wanted: Collection[str], run: str, stopping: threading.Event
) -> Mapping[str, Json]:
    """The pods by name, once all containers of all of them run and they have addresses.

    At once `CannotRun` or `Failed` where one cannot (no image, refused, ended), with its last lines; after
    `PATIENCE_S` with what it waits for.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        labels = f"{names.OURS},{names.RUN}={names.dns(run)}"
        there = {p["metadata"]["name"]: p for p in client.every("Pod", namespace, labels)}
        pods = {name: there[name] for name in wanted if name in there}
        for pod in pods.values():
            _complain(client, namespace, pod)
        late = [name for name in wanted if name not in pods or not failures.running(pods[name])]
        if not late:
            return pods
        if time.monotonic() > deadline:
            raise Failed(_late(client, namespace, late[0], pods.get(late[0])))
        if stopping.wait(PAUSE_S):
            raise Failed(f"pod {late[0]} was stopped before it was up")


def _complain(client: ApiClient, namespace: str, pod: Json) -> None:
    trouble = failures.verdict(pod)
    if isinstance(trouble, failures.Broken):
        raise trouble.with_log(client.log(pod["metadata"]["name"], namespace, trouble.container))
    if trouble is not None:
        raise trouble


def _late(client: ApiClient, namespace: str, name: str, pod: Json | None) -> str:
    if pod is None:
        return f"pod {name} has gone from namespace {namespace}; did somebody delete it?"
    events: tuple[Json, ...] = ()
    with contextlib.suppress(LabError):  # who may not read events still hears what the pod's status says
        events = client.every("Event", namespace)
    node = pod["spec"].get("nodeName")
    return f"pod {name} on {node} is not up after {PATIENCE_S:g} s ({failures.waiting(pod, events)})"


def departed(client: ApiClient, namespace: str, patience_s: float = PATIENCE_S) -> None:
    """Delete all pods of the lab in a namespace, and return once they are gone. Idempotent."""
    deadline = time.monotonic() + patience_s
    while left := client.every("Pod", namespace, names.OURS):
        for pod in left:
            if "deletionTimestamp" not in pod["metadata"]:
                client.delete("Pod", pod["metadata"]["name"], namespace)
        if time.monotonic() > deadline:
            stuck = ", ".join(p["metadata"]["name"] for p in left)
            raise CannotRun(f"pods {stuck} are still there after {patience_s:g} s; is their node's kubelet running?")
        time.sleep(PAUSE_S)
