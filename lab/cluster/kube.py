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

from lab.cluster import Cluster, Layout, Mesh, Node, Process, ProcessSpec, Resident, Selector
from lab.cluster.kubernetes import manifests, names, nodes, remains, residents, rights
from lab.cluster.kubernetes.arrival import arrived, departed
from lab.cluster.kubernetes.client import ApiClient, Json
from lab.cluster.kubernetes.placed import mesh
from lab.cluster.kubernetes.process import KubeProcess
from lab.cluster.kubernetes.rooms import Rooms
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
        self._rooms: Rooms | None = None  # while there is a deployment
        self._clocks: dict[str, tuple[int, int]] = {}  # boot of a node: (ahead, error)
        self._facts: dict[str, str] = {}
        self._errors_ns: dict[str, int] = {}
        self._made = False
        self._others: list[Json] = []  # of kinds that are not Kubernetes' own
        self._stopping = threading.Event()

    @property
    def size(self) -> int:
        return len(self._nodes)

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
        remains.left(self.client)
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
        except LabError as error:
            rest = f"what the run made may be left: mesh-lab clean --cluster kube:{self.client.context}"
            raise Failed(f"{error}; {rest}") from error
        finally:
            self.client.close()

    def deploy(self, layout: Layout) -> Mesh:
        self._opened()
        if self._rooms is not None:
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
            for each in self._others:
                self.client.remove(each)
            self._others = []
            for kind in ("Service", "ConfigMap"):
                for each in self.client.every(kind, names.namespace(self.name), names.OURS):
                    self.client.delete(kind, each["metadata"]["name"], names.namespace(self.name))
        self._rooms = None
        self._clocks.clear()
        self.processes, self.mesh = [], _EMPTY

    def run(self, where: str, arm: str, spec: ProcessSpec) -> Process:
        if self._stopping.is_set():
            raise Failed(f"{spec.name} in {where} was not started: the deployment is being stopped")
        process = KubeProcess(spec, where, arm, self._deployed().of(where, arm, spec))
        self.processes.append(process)
        process.start()
        return process

    def residents(self, selector: Selector) -> tuple[Resident, ...]:
        self._opened()
        return residents.found(self.client, selector, self._calls())

    def fetch(self, where: str, port: int, path: str) -> bytes:
        space, _, pod = where.partition("/")
        if pod:
            return self.client.proxied(space, pod, port, path)
        return self._deployed().any(where).say("get", str(port), path)

    def clock(self, where: str) -> int:
        """Of the machine it is on: nodes that are containers of one machine, perhaps of this one, share a clock."""
        node = self._deployed().node(where)
        info = self._nodes[int(node.removeprefix("node"))].get("status", {}).get("nodeInfo", {})
        boot = info.get("bootID", node)
        if boot not in self._clocks:
            own = boot == _BOOT.read_text().strip() if _BOOT.exists() else False
            self._clocks[boot] = (0, 0) if own else self._deployed().near(node).clock()
        ahead_ns, error_ns = self._clocks[boot]
        self._errors_ns[f"{node}_clock_error_ns"] = error_ns
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
        self._others = manifests.others(self.name, layout)
        others = [each for each in made if each["kind"] not in ("Namespace", "ServiceAccount")]
        answers = self._in_parallel([partial(self.client.create, each) for each in others])
        own, space = names.dns, names.namespace(self.name)
        pods = arrived(self.client, space, [own(p.name) for p in layout.pods], self.name, self._stopping)
        self._rooms = Rooms(self.client, self.name, self.image, self._nodes, self._stopping)
        for spec in layout.pods:
            self._rooms.add_pod(spec.name, f"node{spec.node}", pods[own(spec.name)])
        self.processes += residents.joined(self.client, layout, pods, self._calls())
        self.processes += residents.installed(self.client, layout, self._calls())
        given = {each["metadata"]["name"]: each for each in answers if each["kind"] == "Service"}
        return mesh(layout, self._nodes, pods, given)

    def _calls(self) -> dict[str, str]:
        """What a deployment calls the nodes that it uses, by the cluster's names."""
        return {node["metadata"]["name"]: f"node{number}" for number, node in enumerate(self._nodes)}

    def _ensure(self, manifest: Json) -> None:
        """Namespaces outlive deployments; the next one may need another Pod Security level."""
        meta = manifest["metadata"]
        there = self.client.get(manifest["kind"], meta["name"], meta.get("namespace"))
        if there is None:
            self.client.create(manifest)
        elif manifest["kind"] == "Namespace" and not meta["labels"].items() <= there["metadata"]["labels"].items():
            self.client.label("Namespace", meta["name"], meta["labels"])

    def _node_work(self, node: Node, layout: Layout) -> list[Callable[[], None]]:
        """One piece of work for each arm: its pod on this node, then its processes, each once the last is ready."""
        by_arm: dict[str, list[ProcessSpec]] = {}
        for arm, spec in layout.node_processes(node, self.mesh):
            by_arm.setdefault(arm, []).append(spec)

        def work(arm: str, specs: Sequence[ProcessSpec]) -> Callable[[], None]:
            def do() -> None:
                self._deployed().add_node_pod(node.name, arm, specs)
                self._work(node.name, arm, specs)()

            return do

        return [work(arm, specs) for arm, specs in by_arm.items()]

    def _work(self, where: str, arm: str, specs: Sequence[ProcessSpec]) -> Callable[[], None]:
        def work() -> None:
            for spec in specs:
                self.run(where, arm, spec)

        return work

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

    def _deployed(self) -> Rooms:
        if self._rooms is None:
            raise Mistake("there is no deployment on this cluster; call deploy first")
        return self._rooms

    def _opened(self) -> None:
        if not self._nodes:
            raise Mistake("this cluster is not open; use it as: with KubeCluster(...) as cluster")
