"""Any Kubernetes cluster, as a context of a kubeconfig leads to it.

Everything the lab makes is in two namespaces of its own, which are gone when it is left. All words to a process go by
`exec` through the API server, so that no address of a pod or node needs to be reachable from here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from lab.cluster import Cluster, Container, Layout, Mesh, Node, Process, ProcessSpec
from lab.cluster.kubernetes import manifests, names, nodes, remains, rights
from lab.cluster.kubernetes.arrival import arrived, departed
from lab.cluster.kubernetes.client import ApiClient, Json
from lab.cluster.kubernetes.placed import mesh
from lab.cluster.kubernetes.process import KubeProcess, Room
from lab.cluster.topology import check, named
from lab.record import CannotRun, Failed, LabError, Mistake

T = TypeVar("T")
_EMPTY = Mesh((), (), (), {})
_AT_ONCE = 8
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class KubeCluster(Cluster):
    """One deployment of one run at a time; opened and closed by `with`.

    `context` None: the kubeconfig's current one. `image` None: $MESH_LAB_IMAGE, else mesh-datapath-lab:<version>.
    `only` names the nodes to use, in order; empty: $MESH_LAB_KUBE_NODES (comma-separated), else the cluster's workers.
    Opening raises `CannotRun` where the server does not answer or rights or nodes are lacking, `Mistake` where another
    run holds the cluster.
    """

    kind = "kubernetes"
    here = False
    lead_s = 2.5

    def __init__(
        self,
        run: str,
        context: str | None = None,
        kubeconfig: Path | None = None,
        image: str | None = None,
        count: int = 2,
        only: Sequence[str] = (),
    ) -> None:
        self.name = named("run", run)
        self.image = image or os.environ.get("MESH_LAB_IMAGE") or names.image()
        self.mesh, self.processes = _EMPTY, []
        self.client = ApiClient(context, kubeconfig)
        listed = os.environ.get("MESH_LAB_KUBE_NODES", "")
        self._count, self._only = count, tuple(only) or tuple(filter(None, listed.split(",")))
        self._nodes: tuple[Mapping[str, Any], ...] = ()
        self._rooms: dict[str, dict[str, Room]] = {}  # pod or node name: container (of a node: and pod): room
        self._clocks: dict[str, tuple[int, int]] = {}  # boot of a node: (ahead, error)
        self._facts: dict[str, str] = {}
        self._errors_ns: dict[str, int] = {}
        self._made = False
        self._placing: dict[str, threading.Lock] = {}  # of each node: one pod at a time is added
        self._stopping = threading.Event()

    def __enter__(self) -> KubeCluster:
        try:
            self._open()
        except BaseException:
            self.client.close()
            raise
        return self

    def _open(self) -> None:
        version = self.client.version()
        rights.check(self.client)
        if others := remains.held(self.client):
            raise Mistake(
                f"run {others[0][1]} holds this cluster (namespace {others[0][0]}); wait for it, or remove what it"
                f" left: mesh-lab clean --cluster kube:{self.client.context}"
            )
        self._nodes = nodes.chosen(self.client.every("Node"), self._count, self._only)
        self._facts = {"kubernetes": version, "image": self.image, **self._network(), **nodes.facts(self._nodes)}

    def __exit__(self, *_: object) -> None:
        try:
            self._leave()
        except KeyboardInterrupt:  # an impatient second Ctrl-C must not leave half of it behind
            self._leave()
            raise
        finally:
            self.client.close()

    def deploy(self, layout: Layout) -> Mesh:
        self._opened()
        if self._rooms:
            raise Mistake("this cluster holds a deployment; call undeploy before the next deploy")
        if any(pod.node >= len(self._nodes) for pod in layout.pods):
            there = ", ".join(n["metadata"]["name"] for n in self._nodes)
            raise CannotRun(
                f"this deployment wants {max(p.node for p in layout.pods) + 1} nodes, and pods can be placed on"
                f" {there}; add a node, or ask for --placement same_node"
            )
        check(layout, len(self._nodes))
        self._stopping.clear()
        try:
            self.mesh = self._place(layout)
            self._in_parallel([work for node in self.mesh.nodes for work in self._node_work(node, layout)])
            self._in_parallel([self._work(pod.name, pod.arm, pod.processes) for pod in layout.pods])
        except BaseException:
            self.undeploy()
            raise
        return self.mesh

    def undeploy(self) -> None:
        self._stopping.set()
        if self._made:
            departed(self.client, names.node_namespace(self.name))  # agents detach while the pods are still there
            departed(self.client, names.namespace(self.name))
            for kind in ("Service", "ConfigMap"):
                for each in self.client.every(kind, names.namespace(self.name), names.OURS):
                    self.client.delete(kind, each["metadata"]["name"], names.namespace(self.name))
        self._rooms.clear()
        self._clocks.clear()
        self.processes, self.mesh = [], _EMPTY

    def run(self, where: str, arm: str, spec: ProcessSpec) -> Process:
        if self._stopping.is_set():
            raise Failed(f"{spec.name} in {where} was not started: the deployment is being stopped")
        process = KubeProcess(spec, where, arm, self._room(where, arm, spec))
        self.processes.append(process)
        process.start()
        return process

    def fetch(self, where: str, port: int, path: str) -> bytes:
        return self._any_room(where).say("get", str(port), path)

    def clock(self, where: str) -> int:
        """Of the machine it is on: nodes that are containers of one machine, perhaps of this one, share a clock."""
        number = self._number(where)
        boot = self._nodes[number].get("status", {}).get("nodeInfo", {}).get("bootID", str(number))
        if boot not in self._clocks:
            own = boot == _BOOT.read_text().strip() if _BOOT.exists() else False
            self._clocks[boot] = (0, 0) if own else self._near(number).clock()
        ahead_ns, error_ns = self._clocks[boot]
        self._errors_ns[f"node{number}_clock_error_ns"] = error_ns
        return ahead_ns

    def facts(self) -> Mapping[str, str]:
        return self._facts | {name: str(error) for name, error in sorted(self._errors_ns.items())}

    def _network(self) -> dict[str, str]:
        """Who carries packets and service addresses; `unknown` where that may not be read."""
        try:
            sets = self.client.every("DaemonSet", "kube-system")
            mode = nodes.proxy_mode(self.client.get("ConfigMap", "kube-proxy", "kube-system"), sets)
        except LabError:
            return {"cni": "unknown", "kube_proxy": "unknown"}
        return {"cni": nodes.cni(sets), "kube_proxy": mode}

    def _place(self, layout: Layout) -> Mesh:
        """Namespaces, services and pods with idle guests; nothing of a scenario runs yet."""
        self._made = True
        placed = [node["metadata"]["name"] for node in self._nodes]
        made = manifests.everything(self.name, layout, placed, self.image)
        for each in made:
            if each["kind"] in ("Namespace", "ServiceAccount"):
                self._ensure(each)
        others = [each for each in made if each["kind"] not in ("Namespace", "ServiceAccount")]
        answers = self._in_parallel([partial(self.client.create, each) for each in others])
        own, space = names.dns, names.namespace(self.name)
        pods = arrived(self.client, space, [own(p.name) for p in layout.pods], self.name, self._stopping)
        self._placing = {f"node{i}": threading.Lock() for i in range(len(placed))}
        self._rooms = {node: {} for node in self._placing}
        self._rooms |= {spec.name: self._rooms_of(pods[own(spec.name)]) for spec in layout.pods}
        given = {each["metadata"]["name"]: each for each in answers if each["kind"] == "Service"}
        return mesh(layout, self._nodes, pods, given)

    def _ensure(self, manifest: Json) -> None:
        """Namespaces outlive deployments; the next one may need another Pod Security level."""
        meta = manifest["metadata"]
        there = self.client.get(manifest["kind"], meta["name"], meta.get("namespace"))
        if there is None:
            self.client.create(manifest)
        elif manifest["kind"] == "Namespace" and there["metadata"].get("labels", {}).items() < meta["labels"].items():
            self.client.label("Namespace", meta["name"], meta["labels"])

    def _node_work(self, node: Node, layout: Layout) -> list[Callable[[], None]]:
        """One piece of work for each arm: its pod on this node, then its processes, each once the last is ready."""
        by_arm: dict[str, list[ProcessSpec]] = {}
        for arm, spec in layout.node_processes(node, self.mesh):
            by_arm.setdefault(arm, []).append(spec)

        def work(arm: str, specs: Sequence[ProcessSpec]) -> Callable[[], None]:
            def do() -> None:
                self._add_node_pod(node.name, arm, specs)
                self._work(node.name, arm, specs)()

            return do

        return [work(arm, specs) for arm, specs in by_arm.items()]

    def _work(self, where: str, arm: str, specs: Sequence[ProcessSpec]) -> Callable[[], None]:
        def work() -> None:
            for spec in specs:
                self.run(where, arm, spec)

        return work

    def _add_node_pod(self, where: str, arm: str, specs: Sequence[ProcessSpec], suffix: str = "") -> None:
        name = names.dns(f"{where}-{arm}{suffix}")
        placed = self._nodes[self._number(where)]["metadata"]["name"]
        self.client.create(manifests.node_pod(self.name, name, arm, placed, specs, self.image))
        pods = arrived(self.client, names.node_namespace(self.name), [name], self.name, self._stopping)
        rooms = self._rooms_of(pods[name])
        self._rooms[where] |= {f"{arm}/{container}": room for container, room in rooms.items()}

    def _rooms_of(self, pod: Json) -> dict[str, Room]:
        meta = pod["metadata"]
        return {
            s["name"]: Room(
                self.client,
                meta["namespace"],
                meta["name"],
                s["name"],
                Container(meta["uid"], s["containerID"].rpartition("://")[2]),
            )
            for s in pod["status"]["containerStatuses"]
        }

    def _room(self, where: str, arm: str, spec: ProcessSpec) -> Room:
        """The container that a process belongs in."""
        rooms, label = self._rooms_at(where), names.dns(spec.name)
        if where in self._placing:
            return self._node_room(where, arm, spec)
        if label not in rooms and manifests.LOAD not in rooms:
            raise Mistake(f"pod {where} has no container for {spec.name}; it has {', '.join(rooms)}")
        return rooms.get(label) or rooms[manifests.LOAD]

    def _node_room(self, where: str, arm: str, spec: ProcessSpec) -> Room:
        """Its own where it was deployed with one; else one that all of its arm with the same rights share."""
        rooms, own = self._rooms[where], f"{arm}/{names.dns(spec.name)}"
        shared = manifests.shared(spec)
        with self._placing[where]:
            if own not in rooms and f"{arm}/{shared.name}" not in rooms:
                self._add_node_pod(where, arm, [shared], f"-{shared.name}")
        return rooms.get(own) or rooms[f"{arm}/{shared.name}"]

    def _any_room(self, where: str) -> Room:
        rooms = self._rooms_at(where)
        if not rooms:
            raise Mistake(f"nothing of the lab runs on {where} itself; run a process there first")
        return next(iter(rooms.values()))

    def _near(self, number: int) -> Room:
        """Any container on a node: they all have its clock."""
        there = [f"node{number}", *(pod.name for pod in self.mesh.pods if pod.node == f"node{number}")]
        return self._any_room(next((place for place in there if self._rooms[place]), there[0]))

    def _rooms_at(self, where: str) -> dict[str, Room]:
        if where not in self._rooms:
            there = ", ".join(sorted(self._rooms)) or "nothing (call deploy first)"
            raise Mistake(f"no pod or node {where!r} in this deployment; there are {there}")
        return self._rooms[where]

    def _number(self, where: str) -> int:
        self._rooms_at(where)
        home = next((pod.node for pod in self.mesh.pods if pod.name == where), where)
        return int(home.removeprefix("node"))

    def _in_parallel(self, work: Sequence[Callable[[], T]]) -> list[T]:
        """Do all of it; raise what broke first. Who is still waiting then is not waited for: its pod is removed."""
        pool = ThreadPoolExecutor(_AT_ONCE)
        try:
            futures = [pool.submit(each) for each in work]
            for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                future.result()
            return [future.result() for future in futures]
        except BaseException:
            self._stopping.set()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _leave(self) -> None:
        self.undeploy()
        if self._made:
            remains.gone(self.client, [names.namespace(self.name), names.node_namespace(self.name)])
            self._made = False

    def _opened(self) -> None:
        if not self._nodes:
            raise Mistake("this cluster is not open; use it as: with KubeCluster(...) as cluster")
