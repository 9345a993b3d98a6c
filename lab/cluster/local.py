"""The embedded cluster: nodes and pods are network namespaces and cgroups on this machine.

It needs root and nothing installed but nftables: no container engine, no Kubernetes. It leaves the root namespace as it
found it, and whatever a killed run leaves behind `clean` removes.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Literal

from lab.cluster import Cluster, Layout, Mesh, Node, Pod, PodSpec, ProcessSpec, Service, service
from lab.cluster.home import Home, cgroup_tree, state_folder
from lab.cluster.launch import LocalProcess
from lab.cluster.netns import Namespace
from lab.cluster.network import Network, node_address
from lab.cluster.ready import await_ready, get
from lab.cluster.remains import clean
from lab.cluster.topology import check, named
from lab.record import Failed, Mistake

__all__ = ["LocalCluster", "clean"]

_EMPTY = Mesh((), (), (), {})
_INIT_S = 30.0
_FETCH_S = 10.0
_GRACE_S = 2.0
_AT_ONCE = 16


class LocalCluster(Cluster):
    """One at a time on a machine (for one `state` folder); opened and closed by `with`.

    Opening raises `CannotRun` when not root and `Mistake` when another is open. `cpus="per_node"` binds the processes
    of each node to its own share of the cores, where there are at least as many cores as nodes.
    """

    kind = "local"

    def __init__(
        self,
        run: str,
        nodes: int = 2,
        overlay: bool = False,
        state: Path | None = None,
        cpus: Literal["shared", "per_node"] = "shared",
    ) -> None:
        self.name, self.nodes, self.overlay, self.cpus = named("run", run), nodes, overlay, cpus
        self.mesh, self.processes = _EMPTY, []
        self._state = state_folder(state)
        self._network = Network(nodes, overlay)
        self._home: Home | None = None
        self._places: dict[str, tuple[int, Namespace]] = {}  # pod or node name: (node, namespace)
        self._stopping = threading.Event()

    @property
    def size(self) -> int:
        return self.nodes

    def __enter__(self) -> LocalCluster:
        self._home = Home(self._state, self.name)
        # Forks come from one thread that lives as long as the cluster: children die with the thread that forked them.
        self._launcher = ThreadPoolExecutor(1, "launcher")
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.undeploy()
        except KeyboardInterrupt:  # an impatient second Ctrl-C must not leave half of it behind
            self.undeploy()
            raise
        finally:
            home, self._home = self._home, None
            if home is not None:
                self._launcher.shutdown()
                home.close()

    def deploy(self, layout: Layout) -> Mesh:
        self._opened()
        if self._places:
            raise Mistake("this cluster holds a deployment; call undeploy before the next deploy")
        check(layout, self.nodes)
        self._stopping.clear()
        try:
            self.mesh = self._place(layout)
            self._in_parallel([work for node in self.mesh.nodes for work in self._node_work(node, layout)])
            self._in_parallel([self._pod_work(pod) for pod in layout.pods])
        except BaseException:
            self.undeploy()
            raise
        return self.mesh

    def undeploy(self) -> None:
        self._stopping.set()
        if self._home is not None:
            self._launcher.submit(lambda: None).result()  # whatever was being forked is now in the list
            self._stop()
            self._home.empty()
        self._network.close()
        self._places.clear()
        self.processes, self.mesh = [], _EMPTY

    def run(self, where: str, arm: str, spec: ProcessSpec) -> LocalProcess:
        _, namespace = self._place_of(where)
        process = self._launcher.submit(self._fork, where, arm, spec).result()
        await_ready(process, namespace, self._stopping)
        return process

    def fetch(self, where: str, port: int, path: str) -> bytes:
        url = f"http://127.0.0.1:{port}{path} in {where}"
        namespace = self.inside(where)
        try:
            status, body = namespace.inside(lambda: get(port, path, _FETCH_S))
        except Exception as error:
            raise Failed(f"GET {url}: {type(error).__name__}: {error}") from error
        if status != 200:
            raise Failed(f"GET {url} answers {status}, not 200: {body[:200]!r}")
        return body

    def facts(self) -> Mapping[str, str]:
        return {
            "kernel": os.uname().release,
            "cores": str(len(os.sched_getaffinity(0))),
            "cpus": self.cpus,
            "nodes": str(self.nodes),
            "overlay": "vxlan" if self.overlay else "none",
            "cgroup": str(cgroup_tree(self._state).mode),
            "mtu_bytes": str(self._network.mtu),
        }

    def inside(self, where: str) -> Namespace:
        """The network namespace of a pod or node, for meters and tests that open sockets there."""
        return self._place_of(where)[1]

    def _place(self, layout: Layout) -> Mesh:
        """Namespaces, links, cgroups and service rules; no process yet."""
        self._network.build()
        nodes = tuple(Node(f"node{i}", i, node_address(i)) for i in range(self.nodes))
        self._places |= {n.name: (n.index, self._network.nodes[n.index]) for n in nodes}
        pods = tuple(self._place_pod(pod) for pod in layout.pods)
        addresses = {pod.name: pod.address for pod in pods}
        services = tuple(
            Service(s.name, s.arm, service.address(i), s.port, tuple(addresses[p] for p in s.pods))
            for i, s in enumerate(layout.services)
        )
        for namespace in self._network.nodes:
            service.install(namespace, services)
        arms = dict.fromkeys((*(p.arm for p in pods), *(s.arm for s in services)))
        return Mesh(nodes, pods, services, {arm: slot for slot, arm in enumerate(arms)})

    def _place_pod(self, spec: PodSpec) -> Pod:
        namespace, address = self._network.add_pod(spec.node)
        self._places[spec.name] = spec.node, namespace
        folder = self._opened().cgroup / spec.arm / spec.name
        folder.mkdir(parents=True)
        return Pod(spec.name, f"node{spec.node}", spec.arm, spec.app, address, folder)

    def _node_work(self, node: Node, layout: Layout) -> list[Callable[[], None]]:
        """One piece of work for each arm: its processes on this node, each once the one before is ready."""
        by_arm: dict[str, list[ProcessSpec]] = {}
        for arm, spec in layout.node_processes(node, self.mesh):
            by_arm.setdefault(arm, []).append(spec)
        return [self._work(node.name, arm, specs) for arm, specs in by_arm.items()]

    def _work(self, where: str, arm: str, specs: Sequence[ProcessSpec]) -> Callable[[], None]:
        def work() -> None:
            for spec in specs:
                self.run(where, arm, spec)

        return work

    def _pod_work(self, pod: PodSpec) -> Callable[[], None]:
        def work() -> None:
            for spec in pod.init:
                step = self.run(pod.name, pod.arm, spec)
                if code := step.wait(_INIT_S):
                    raise Failed(step.story(f"is an init step and ended with exit code {code}"))
            self._work(pod.name, pod.arm, pod.processes)()

        return work

    def _in_parallel(self, work: Sequence[Callable[[], None]]) -> None:
        """Do all of it; raise what broke first, after the rest was stopped."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            try:
                futures = [pool.submit(each) for each in work]
                for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                    future.result()
            except BaseException:
                self._stopping.set()
                self._stop()
                pool.shutdown(cancel_futures=True)
                raise

    def _fork(self, where: str, arm: str, spec: ProcessSpec) -> LocalProcess:
        """Runs in the launcher thread, one at a time: `processes` is never behind what was forked."""
        if self._stopping.is_set():
            raise Failed(f"{spec.name} in {where} was not started: the deployment is being stopped")
        node, namespace = self._place_of(where)
        home, name = self._opened(), self._free_name(where, named("arm", arm), named("process", spec.name))
        process = LocalProcess(
            spec, where, arm, home.cgroup / arm / where / name, home.folder / f"{arm}+{where}+{name}"
        )
        self.processes.append(process)
        process.start(namespace.path, self._cores(node))
        return process

    def _free_name(self, where: str, arm: str, name: str) -> str:
        """A process that is run again (an engine, once a block) has a folder and cgroup of its own: name-2, name-3."""
        taken = {p.name for p in self._opened().cgroup.joinpath(arm, where).glob("*")}
        return next(each for each in (name, *(f"{name}-{n}" for n in range(2, len(taken) + 3))) if each not in taken)

    def _stop(self) -> None:
        """All are asked, then all share one time of grace, then none is."""
        started = [p for p in self.processes if isinstance(p, LocalProcess)]
        for process in started:
            process.terminate()
        deadline = time.monotonic() + _GRACE_S
        for process in started:
            process.end(deadline)

    def _opened(self) -> Home:
        if self._home is None:
            raise Mistake("this cluster is not open; use it as: with LocalCluster(...) as cluster")
        return self._home

    def _place_of(self, where: str) -> tuple[int, Namespace]:
        if where not in self._places:
            there = ", ".join(sorted(self._places)) or "nothing (call deploy first)"
            raise Mistake(f"no pod or node {where!r} in this deployment; there are {there}")
        return self._places[where]

    def _cores(self, node: int) -> Sequence[int] | None:
        cores = sorted(os.sched_getaffinity(0))
        share = len(cores) // self.nodes
        if self.cpus == "shared" or not share:
            return None
        return cores[node * share : (node + 1) * share]
