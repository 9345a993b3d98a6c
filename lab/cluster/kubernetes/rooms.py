"""The containers of a deployment, found by the place that they are in; on nodes, added when something needs one."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lab.cluster import Container, ProcessSpec
from lab.cluster.kubernetes import manifests, names
from lab.cluster.kubernetes.arrival import arrived
from lab.cluster.kubernetes.client import ApiClient, Json
from lab.cluster.kubernetes.process import Room
from lab.record import Mistake


class Rooms:
    """Of one deployment of a run on the nodes `used`, which it calls node0, node1, …"""

    def __init__(
        self, client: ApiClient, run: str, image: str, used: Sequence[Mapping[str, Any]], stopping: threading.Event
    ) -> None:
        self._client, self._run, self._image, self._stopping = client, run, image, stopping
        self._used = {f"node{i}": str(node["metadata"]["name"]) for i, node in enumerate(used)}
        self._adding = {node: threading.Lock() for node in self._used}  # one pod at a time on each
        self._rooms: dict[str, dict[str, Room]] = {node: {} for node in self._used}
        self._homes = {node: node for node in self._used}  # place: node

    def add_pod(self, place: str, node: str, pod: Json) -> None:
        """A pod of the layout, as the API server shows it once it runs."""
        self._homes[place], self._rooms[place] = node, self._of(pod)

    def add_node_pod(self, node: str, arm: str, specs: Sequence[ProcessSpec], suffix: str = "") -> None:
        """Make a pod with the node's own network, with a container for each of `specs`; return once it runs."""
        name, space = names.dns(f"{node}-{arm}{suffix}"), names.node_namespace(self._run)
        self._client.create(manifests.node_pod(self._run, name, arm, self._used[node], specs, self._image))
        pods = arrived(self._client, space, [name], self._run, self._stopping)
        self._rooms[node] |= {f"{arm}/{container}": room for container, room in self._of(pods[name]).items()}

    def of(self, place: str, arm: str, spec: ProcessSpec) -> Room:
        """The container that a process belongs in."""
        rooms, label = self._at(place), names.dns(spec.name)
        if place in self._adding:
            return self._on_node(place, arm, spec)
        if label not in rooms and manifests.LOAD not in rooms:
            raise Mistake(f"pod {place} has no container for {spec.name}; it has {', '.join(rooms)}")
        return rooms.get(label) or rooms[manifests.LOAD]

    def any(self, place: str) -> Room:
        """Some container of a pod, or of a node's own pods."""
        rooms = self._at(place)
        if not rooms:
            raise Mistake(f"nothing of the lab runs on {place} itself; run a process there first")
        return next(iter(rooms.values()))

    def near(self, node: str) -> Room:
        """Some container on a node, whoever's: they all have its clock."""
        there = (place for place, home in self._homes.items() if home == node and self._rooms[place])
        return self.any(next(there, node))

    def node(self, place: str) -> str:
        """The node that a place is on: itself, or a pod's."""
        self._at(place)
        return self._homes[place]

    def _on_node(self, node: str, arm: str, spec: ProcessSpec) -> Room:
        """Its own where it was deployed with one; else one that all of its arm with the same rights share."""
        rooms, own, shared = self._rooms[node], f"{arm}/{names.dns(spec.name)}", manifests.shared(spec)
        with self._adding[node]:
            if own not in rooms and f"{arm}/{shared.name}" not in rooms:
                self.add_node_pod(node, arm, [shared], f"-{shared.name}")
        return rooms.get(own) or rooms[f"{arm}/{shared.name}"]

    def _of(self, pod: Json) -> dict[str, Room]:
        """Containers with a guest: others, which a mesh has put there, are nobody's to start something in."""
        meta, states = pod["metadata"], pod["status"]["containerStatuses"]
        ours = {c["name"] for c in pod["spec"]["containers"] if tuple(c.get("command", ())[:3]) == manifests.GUEST}
        there = _containers(meta["uid"], (state for state in states if state["name"] in ours))
        return {name: self._room(meta, name, known) for name, known in there}

    def _room(self, meta: Json, name: str, known: Container) -> Room:
        return Room(self._client, meta["namespace"], meta["name"], name, known)

    def _at(self, place: str) -> dict[str, Room]:
        if place not in self._rooms:
            raise Mistake(f"no pod or node {place!r} in this deployment; there are {', '.join(sorted(self._rooms))}")
        return self._rooms[place]


def _containers(uid: str, states: Iterable[Json]) -> Iterable[tuple[str, Container]]:
    """By name; ids without the runtime's name in front of them."""
    return ((s["name"], Container(uid, s["containerID"].rpartition("://")[2])) for s in states)
