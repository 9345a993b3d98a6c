"""The embedded cluster: nodes and pods are network namespaces and cgroups on this machine.

It needs root and nothing installed but nftables: no container engine, no Kubernetes. It leaves the root namespace as it
found it, and whatever a killed run leaves behind `clean` removes.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Literal

from lab.cluster import Cluster, Layout, Mesh, Node, Pod, PodSpec, ProcessSpec, Service, cgroup, service
from lab.cluster.launch import LocalProcess
from lab.cluster.netns import Namespace
from lab.cluster.network import Network, node_address
from lab.cluster.ready import await_ready, get
from lab.cluster.state import Lock, cgroup_tree, clean, mount_cgroup2, need_root, state_folder, sweep, tag
from lab.record import Failed, Mistake

__all__ = ["LocalCluster", "clean"]

_EMPTY = Mesh((), (), (), {})
_INIT_S = 30.0
_FETCH_S = 10.0
_GRACE_S = 2.0
_AT_ONCE = 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class LocalCluster(Cluster):
    """One at a time on a machine (for one `state` folder); opened and closed by `with`.

    `cpus="per_node"` binds the processes of each node to its own share of the cores, where there are enough cores.
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
        self.name, self.nodes, self.overlay, self.cpus = _named("run", run), nodes, overlay, cpus
        self.mesh, self.processes = _EMPTY, []
        self._state = state_folder(state)
        self._network = Network(nodes, overlay)
        self._lock: Lock | None = None
        self._places: dict[str, tuple[int, Namespace]] = {}  # pod or node name: (node, namespace)
        self._stopping = threading.Event()

    def __enter__(self) -> LocalCluster:
        """Take the machine: `CannotRun` when not root, `Mistake` when another local cluster is open."""
        need_root()
        self._lock = Lock(self._state, self.name)
        try:
            sweep(self._state)  # what a killed run left would be in the way, and the lock says nobody uses it
            self._tree = cgroup_tree(self._state)
            self._cgroup = (self._tree.path or mount_cgroup2(self._state)) / tag(self._state) / self.name
            self._folder = Path(tempfile.mkdtemp(prefix=f"{tag(self._state)}.{self.name}."))
            self._folder.chmod(0o711)  # processes of any user pass through to their own folder
            # Forks come from one thread that lives as long as the cluster: children die with the thread that forked them.
            self._launcher = ThreadPoolExecutor(1, "launcher")
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.undeploy()
        except KeyboardInterrupt:  # an impatient second Ctrl-C must not leave half of it behind
            self.undeploy()
            raise
        finally:
            self._leave()

    def _leave(self) -> None:
        if self._lock is not None:
            if hasattr(self, "_launcher"):
                self._launcher.shutdown()
            sweep(self._state)
            self._lock.release()
            self._lock = None

    def deploy(self, layout: Layout) -> Mesh:
        if self._lock is None:
            raise Mistake("this cluster is not open; use it as: with LocalCluster(...) as cluster")
        if self._places:
            raise Mistake("this cluster holds a deployment; call undeploy before the next deploy")
        _check(layout, self.nodes)
        self._stopping.clear()
        try:
            self.mesh = self._place(layout)
            self._in_parallel([self._node_work(node, layout) for node in self.mesh.nodes])
            self._in_parallel([self._pod_work(pod) for pod in layout.pods])
        except BaseException:
            self.undeploy()
            raise
        return self.mesh

    def undeploy(self) -> None:
        self._stopping.set()
        if self._places:
            self._launcher.submit(lambda: None).result()  # whatever was being forked is now in the list
        _stop([p for p in self.processes if isinstance(p, LocalProcess)])
        if self._lock is not None and hasattr(self, "_cgroup"):
            cgroup.remove(self._cgroup)
            for folder in self._folder.glob("*"):
                shutil.rmtree(folder)
        self._network.close()
        self._places.clear()
        self.processes, self.mesh = [], _EMPTY

    def run(self, where: str, arm: str, spec: ProcessSpec) -> LocalProcess:
        node, namespace = self._place_of(where)
        process = self._launcher.submit(self._fork, where, arm, spec, node, namespace).result()
        await_ready(process, namespace, self._stopping)
        return process

    def fetch(self, where: str, port: int, path: str) -> bytes:
        _, namespace = self._place_of(where)
        url = f"http://127.0.0.1:{port}{path} in {where}"
        try:
            status, body = namespace.inside(lambda: get(port, path, _FETCH_S))
        except Exception as error:
            raise Failed(f"GET {url}: {type(error).__name__}: {error}") from error
        if status != 200:
            raise Failed(f"GET {url} answers {status}, not 200: {body[:200]!r}")
        return body

    def facts(self) -> Mapping[str, str]:
        """What a reader of results must know of this cluster."""
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
        folder = self._cgroup / _named("arm", spec.arm) / spec.name
        folder.mkdir(parents=True)
        return Pod(spec.name, f"node{spec.node}", spec.arm, spec.app, address, folder)

    def _node_work(self, node: Node, layout: Layout) -> Callable[[], None]:
        def work() -> None:
            for arm, spec in layout.node_processes(node, self.mesh):
                self.run(node.name, arm, spec)

        return work

    def _pod_work(self, pod: PodSpec) -> Callable[[], None]:
        def work() -> None:
            for spec in pod.init:
                step = self.run(pod.name, pod.arm, spec)
                if code := step.wait(_INIT_S):
                    raise Failed(step.story(f"is an init step and ended with exit code {code}"))
            for spec in pod.processes:
                self.run(pod.name, pod.arm, spec)

        return work

    def _in_parallel(self, work: Sequence[Callable[[], None]]) -> None:
        """Run all; raise what the first that broke raised, after the others were told to stop and did."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            try:
                futures = [pool.submit(each) for each in work]
                wait(futures, return_when="FIRST_EXCEPTION")
                for future in futures:
                    if future.done():
                        future.result()
            except BaseException:
                self._stopping.set()
                pool.shutdown(cancel_futures=True)
                raise

    def _fork(self, where: str, arm: str, spec: ProcessSpec, node: int, namespace: Namespace) -> LocalProcess:
        """Runs in the launcher thread, so that `processes` is never behind what was forked."""
        if self._stopping.is_set():
            raise Failed(f"{spec.name} in {where} was not started: the deployment is being stopped")
        name = self._free_name(where, _named("arm", arm), _named("process", spec.name))
        process = LocalProcess(
            spec, where, arm, self._cgroup / arm / where / name, self._folder / f"{arm}.{where}.{name}"
        )
        process.start(namespace.path, self._cores(node))
        self.processes.append(process)
        return process

    def _free_name(self, where: str, arm: str, name: str) -> str:
        """A process that is run again (an engine, once a block) gets a folder and a cgroup of its own: name-2, name-3."""
        again = sum(1 for p in self.processes if (p.where, p.arm, p.spec.name) == (where, arm, name))
        return f"{name}-{again + 1}" if again else name

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


def _stop(processes: Sequence[LocalProcess]) -> None:
    """All are asked, then all share one time of grace, then none is."""
    for process in processes:
        process.ask_to_stop()
    for process in processes:
        process.end(_GRACE_S)


def _check(layout: Layout, nodes: int) -> None:
    names = [_named("pod", pod.name) for pod in layout.pods]
    taken = {f"node{i}" for i in range(nodes)}
    for name in names:
        if name in taken:
            raise Mistake(f"two pods or nodes are called {name!r}; give each a name of its own")
        taken.add(name)
    for pod in layout.pods:
        if not 0 <= pod.node < nodes:
            raise Mistake(f"pod {pod.name!r} is placed on node {pod.node}; this cluster has nodes 0 to {nodes - 1}")
    for each in layout.services:
        for name in set(each.pods) - set(names):
            raise Mistake(f"service {each.name!r} points to pod {name!r}; there are {', '.join(names)}")


def _named(what: str, name: str) -> str:
    """The name, which becomes a folder's."""
    if not _NAME.fullmatch(name):
        raise Mistake(f"{what} name {name!r}; allowed are letters, digits, '_', '.', '-', up to 100, no leading sign")
    return name
