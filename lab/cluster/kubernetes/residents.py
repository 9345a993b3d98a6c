"""Whom the lab did not start and yet counts: pods that are there already, and what others put into its own pods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lab.cluster import Container, Layout, Part, PodSpec, Process, ProcessSpec, Resident, Selector
from lab.cluster.kubernetes import names
from lab.cluster.kubernetes.client import ApiClient, Json
from lab.record import Failed, Mistake

ALL = (0,)  # no process has this number: it stands for all processes of a container


class ResidentProcess(Process):
    """All that runs in a container of somebody else's. Instruments can read it; it can be told nothing."""

    cgroup: Path | None = None

    def __init__(self, client: ApiClient, resident: Resident, where: str, arm: str) -> None:
        self.spec = ProcessSpec(resident.name, (), Part.DATAPATH)
        self.where, self.arm, self.node, self.container = where, arm, resident.node, resident.known
        self._client, self._place = client, resident.place

    def pids(self) -> tuple[int, ...]:
        return ALL

    def tell(self, line: str) -> None:
        raise Mistake(f"{self._place}/{self.spec.name} is not the lab's; it can only be watched")

    def wait(self, timeout_s: float) -> int:
        raise Mistake(f"{self._place}/{self.spec.name} is not the lab's; it can only be watched")

    def read(self, name: str) -> bytes:
        """Its last lines as `stdout`; of other files it has none that the lab could read."""
        space, _, pod = self._place.partition("/")
        return self._client.log(pod, space, self.spec.name).encode() if name == "stdout" else b""


def found(client: ApiClient, selector: Selector, used: Mapping[str, str]) -> tuple[Resident, ...]:
    """Who runs, in order; `used` are the deployment's nodes: its name of each, by the cluster's."""
    pods = client.every("Pod", selector.namespace or "*", selector.labels)
    return tuple(sorted((r for pod in pods for r in _of(pod, used)), key=lambda r: (r.place, r.name)))


def installed(client: ApiClient, layout: Layout, used: Mapping[str, str]) -> list[Process]:
    """The processes of pods that are there already, each on its arm's bill; on other nodes nobody could watch them."""
    return [
        ResidentProcess(client, resident, resident.node if selector.carries else resident.place, arm)
        for arm, selector in layout.residents
        for resident in found(client, selector, used)
        if resident.watched
    ]


def joined(client: ApiClient, layout: Layout, pods: Mapping[str, Json], used: Mapping[str, str]) -> list[Process]:
    """The processes that others put into the layout's pods; `Failed` where one did not come."""
    return [
        _joined(client, spec, name, pods[names.dns(spec.name)], used) for spec in layout.pods for name in spec.joined
    ]


def _joined(client: ApiClient, spec: PodSpec, name: str, pod: Json, used: Mapping[str, str]) -> Process:
    there = {resident.name: resident for resident in _of(pod, used)}
    if name not in there:
        raise Failed(
            f"pod {pod['metadata']['name']} came up without container {name}: nobody put it there; it has"
            f" {', '.join(sorted(there))}. Is the mesh's injector running, and does it take namespace"
            f" {pod['metadata']['namespace']}?"
        )
    return ResidentProcess(client, there[name], spec.name, spec.arm)


def _of(pod: Json, used: Mapping[str, str]) -> Iterator[Resident]:
    meta, node = pod["metadata"], pod["spec"].get("nodeName", "")
    for state in _states(pod):
        if "running" in state.get("state", {}):
            yield Resident(
                place=f"{meta['namespace']}/{meta['name']}",
                node=used.get(node, node),
                name=state["name"],
                image=_image(pod, state),
                known=Container(meta["uid"], state["containerID"].rpartition("://")[2]),
                watched=node in used,
            )


def _states(pod: Json) -> Sequence[Json]:
    status = pod.get("status", {})
    return (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ()))


def _image(pod: Json, state: Json) -> str:
    """As it was asked for: a runtime may say nothing but its hash."""
    asked = (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"])
    return next((str(c["image"]) for c in asked if c["name"] == state["name"]), str(state.get("image", "")))
