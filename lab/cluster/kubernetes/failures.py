"""Why a pod does not come up, read from its status and its events; quickly where waiting would not help."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lab.record import CannotRun, Failed, LabError

Json = Mapping[str, Any]

NO_IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError"})
NO_CONTAINER = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
PATIENCE = frozenset(
    {"FailedScheduling", "FailedMount", "FailedCreatePodSandBox", "FailedAttachVolume", "NetworkNotReady"}
)


def running(pod: Json) -> bool:
    """Do all its containers run, and are they ready, and has it an address? A mesh's own may need a while for that.

    Native sidecars are init containers that restart; Kubernetes starts the others after them.
    """
    status = pod.get("status", {})
    sidecars = [c["name"] for c in pod["spec"].get("initContainers", ()) if c.get("restartPolicy") == "Always"]
    states = (
        *(s for s in status.get("initContainerStatuses", ()) if s["name"] in sidecars),
        *status.get("containerStatuses", ()),
    )
    complete = len(states) == len(pod["spec"]["containers"]) + len(sidecars)
    up = complete and all("running" in s.get("state", {}) and s.get("ready") for s in states)
    return bool(up and status.get("podIP"))


def verdict(pod: Json) -> LabError | None:
    """What is wrong with a pod and will not mend itself; None while it may still come up.

    The text ends with `log:CONTAINER` where that container's last lines tell more (see `story`).
    """
    status, name = pod.get("status", {}), pod["metadata"]["name"]
    for state in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        if found := _container(name, state, init=state in status.get("initContainerStatuses", ())):
            return found
    if status.get("phase") == "Failed":
        why = " ".join(filter(None, (status.get("reason"), status.get("message")))) or "no reason given"
        return CannotRun(f"pod {name} was refused by node {pod['spec'].get('nodeName')}: {why}; free what it lacks")
    for condition in status.get("conditions", ()):
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return CannotRun(f"pod {name} cannot be scheduled: {condition.get('message')}")
    return None


def _container(pod: str, status: Json, *, init: bool) -> LabError | None:
    name, state = status["name"], status.get("state", {})
    reason = state.get("waiting", {}).get("reason", "")
    message = state.get("waiting", {}).get("message", "")
    if reason in NO_IMAGE:
        return CannotRun(
            f"pod {pod}: the node has no image {status.get('image')} and cannot pull it ({reason}); build it and bring"
            " it to the nodes: docker save IMAGE -o image.tar && kind load image-archive image.tar"
        )
    if reason in NO_CONTAINER:
        return Failed(f"pod {pod}: container {name} cannot be made ({reason}): {message}")
    ended = state.get("terminated") or (status.get("lastState", {}).get("terminated") if reason else None)
    if ended and (not init or ended.get("exitCode")):
        why = " ".join(filter(None, (ended.get("reason"), ended.get("message"))))
        return Broken(f"pod {pod}: container {name} ended with exit code {ended.get('exitCode')} ({why})", name)
    return None


class Broken(Failed):
    """A container that ended; its last lines tell why."""

    def __init__(self, text: str, container: str) -> None:
        super().__init__(text)
        self.container = container

    def with_log(self, log: str) -> Failed:
        """The same with its last lines."""
        last = "\n".join(f"  {line}" for line in log.strip().splitlines()[-15:]) or "  (nothing)"
        return Failed(f"{self}; its last output:\n{last}")


def waiting(pod: Json, events: Iterable[Json]) -> str:
    """What a pod that is not up in time is waiting for: its containers' own words and the newest warnings."""
    uid = pod["metadata"].get("uid")
    status = pod.get("status", {})
    states = (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ()))
    words = [f"{s['name']}: {s['state']['waiting'].get('reason')}" for s in states if "waiting" in s.get("state", {})]
    told = [
        f"{event.get('reason')}: {event.get('message')}"
        for event in events
        if event.get("type") == "Warning" and event.get("involvedObject", {}).get("uid") == uid
    ]
    return (
        "; ".join([*words, *dict.fromkeys(told[-3:])])
        or f"phase {status.get('phase', 'unknown')}, nothing else is said"
    )
