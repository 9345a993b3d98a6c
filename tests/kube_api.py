"""A small API server for tests: it keeps objects, lets pods come up, and runs `exec` for real, in guests here.

Every container of a pod that runs is a guest process of its own folder; a command by exec is run against it. Services
get addresses that lead nowhere.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection
from wsproto.utilities import LocalProtocolError

from lab.cluster.place import PROJECT, PYTHON
from lab.compile import ROOT

Json = dict[str, Any]
KINDS = {
    "namespaces": "Namespace",
    "nodes": "Node",
    "pods": "Pod",
    "services": "Service",
    "configmaps": "ConfigMap",
    "serviceaccounts": "ServiceAccount",
    "events": "Event",
    "daemonsets": "DaemonSet",
    "ciliumnetworkpolicies": "CiliumNetworkPolicy",
}
ALONE = frozenset({"namespaces", "nodes"})  # kinds that are in no namespace
INFO = [
    "architecture",
    "bootID",
    "containerRuntimeVersion",
    "kernelVersion",
    "kubeProxyVersion",
    "kubeletVersion",
    "machineID",
    "operatingSystem",
    "osImage",
    "systemUUID",
]
UP = {"state": {"running": {}}, "image": "i", "imageID": "i", "ready": True, "restartCount": 0}


def node(name: str, number: int, *, taints: list[Json] | None = None, ready: bool = True) -> Json:
    """As a kubelet reports it."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"node-role.kubernetes.io/control-plane": ""} if taints else {}},
        "spec": {"taints": taints} if taints else {},
        "status": {
            "addresses": [{"type": "InternalIP", "address": f"192.0.2.{number}"}],
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "nodeInfo": dict.fromkeys(INFO, "x") | {"kubeletVersion": "v1.33.1", "bootID": f"boot-{number}"},
            "capacity": {"cpu": "4"},
        },
    }


class Api:
    """Objects by (kind, namespace, name). `refuse`: the status that pods get instead of running, by pod name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.version = "v1.33.1"
        self.objects: dict[tuple[str, str, str], Json] = {}
        self.refuse: dict[str, Json] = {}
        self.denied: set[tuple[str, str]] = set()  # (verb, resource or resource/subresource)
        self.forbidden: dict[str, str] = {}  # kind: why it cannot be created
        self.inject: Callable[[Json], None] = lambda _: None  # what a mesh's webhook does to a pod that is created
        self.pages: dict[str, bytes] = {}  # what pods answer through the server: by `namespace/pod:port/path`
        self.longest = 0  # message to a command's input, in bytes
        self.said: list[str] = []  # what was created, run and deleted, in order
        self.guests: dict[tuple[str, str], subprocess.Popen[bytes]] = {}
        self.uids: dict[str, str] = {}  # of pods
        self._numbers = itertools.count(10)
        self.lock = threading.RLock()
        taint = [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]
        for made in (node("master", 1, taints=taint), node("one", 2), node("two", 3)):
            self.objects["nodes", "", made["metadata"]["name"]] = made

    def create(self, kind: str, space: str, made: Json) -> Json:
        name = made["metadata"]["name"]
        number = next(self._numbers)
        made["metadata"] |= {"uid": f"uid-{number}", "creationTimestamp": "2026-01-01T00:00:00Z"}
        if kind == "services":
            made["spec"]["clusterIP"] = f"198.51.100.{number}"
        if kind == "pods":
            self.uids[name] = f"uid-{number}"
            made["status"] = {"phase": "Pending"} | self.refuse.get(name, {})
            made["status"] |= {"startTime": "2026-01-01T00:00:00Z"}
            self.inject(made)
        self.objects[kind, space, name] = made
        self.said.append(f"create {KINDS[kind]} {name}")
        return made

    def look(self, pod: Json) -> Json:
        """A pod that is looked at has come up since, if nothing keeps it from that."""
        name = pod["metadata"]["name"]
        if pod["status"]["phase"] == "Pending" and name not in self.refuse:
            number = int(pod["metadata"]["uid"].removeprefix("uid-"))
            pod["status"] = {
                "phase": "Running",
                "podIP": f"203.0.113.{number}",
                "containerStatuses": [_up(c, number) for c in _by_name(pod["spec"]["containers"])],
                "initContainerStatuses": [
                    _up(c, number, over=c.get("restartPolicy") != "Always")
                    for c in _by_name(pod["spec"].get("initContainers", ()))
                ],
            }
            for container in pod["spec"]["containers"]:
                if any("guest.py" in word for word in container.get("command", ())):
                    self._serve(name, container["name"])
        return pod

    def _serve(self, pod: str, container: str) -> None:
        home = self._home(pod, container)
        home.mkdir(parents=True)
        self.guests[pod, container] = subprocess.Popen(
            [sys.executable, "-IS", str(ROOT / "lab/cluster/guest.py"), "serve"], env=self._env(pod, container)
        )
        while not (home / "guest.sock").exists():
            threading.Event().wait(0.005)

    def _home(self, pod: str, container: str) -> Path:
        """Short: the path of a Unix socket has 107 letters at most. A pod that is made again has a new one."""
        return self.folder / f"{self.uids[pod]}.{container}"

    def _env(self, pod: str, container: str) -> dict[str, str]:
        return {**os.environ, "MESH_LAB_GUEST": str(self._home(pod, container)), "PYTHONPATH": str(ROOT)}

    def delete(self, kind: str, space: str, name: str) -> None:
        self.objects.pop((kind, space, name))
        self.said.append(f"delete {KINDS[kind]} {name}")
        if kind == "namespaces":
            for other in [key for key in self.objects if key[1] == name]:
                self.delete(*other)
        for key in [key for key in self.guests if kind == "pods" and key[0] == name]:
            guest = self.guests.pop(key)
            guest.terminate()
            guest.wait()

    def left(self) -> list[str]:
        """Whatever is not a node or kube-system's."""
        return [f"{kind}/{name}" for kind, space, name in self.objects if kind != "nodes" and space != "kube-system"]

    def run(self, pod: str, container: str, command: list[str]) -> subprocess.Popen[bytes]:
        words = [word.replace(PYTHON, sys.executable).replace(PROJECT, str(ROOT)) for word in command]
        self.said.append(f"exec {pod}/{container} {words[3]}")
        pipe = subprocess.PIPE
        return subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, env=self._env(pod, container))


class Handler(BaseHTTPRequestHandler):
    """One request."""

    api: ClassVar[Api]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/version":
            return self._answer({"gitVersion": self.api.version})
        kind, space, name, sub = self._parts(url.path)
        if sub == "exec" and (kind, space, name) not in self.api.objects:
            return self._refuse(404, "NotFound", f"{kind} {name} not found")
        if sub == "exec":
            return self._exec(name, parse_qs(url.query))
        if sub == "proxy":
            return self._proxied(space, name, url.path.partition("/proxy")[2])
        if sub == "log":
            return self._answer("its last words\n")
        with self.api.lock:
            if name:
                found = self.api.objects.get((kind, space, name))
                return self._answer(found) if found else self._refuse(404, "NotFound", f"{kind} {name} not found")
            wanted = parse_qs(url.query).get("labelSelector", [""])[0]
            pairs = {tuple(pair.split("=")) for pair in wanted.split(",") if pair}
            items = [
                self.api.look(each) if kind == "pods" else each
                for key, each in list(self.api.objects.items())
                if key[0] == kind
                and (key[1] == space or not (space or kind in ALONE))
                and pairs <= set(each["metadata"].get("labels", {}).items())
            ]
        return self._answer({"kind": f"{KINDS[kind]}List", "apiVersion": "v1", "metadata": {}, "items": items})

    def do_POST(self) -> None:
        given: Json = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("selfsubjectaccessreviews"):
            asked = given["spec"]["resourceAttributes"]
            resource = "/".join(filter(None, (asked["resource"], asked.get("subresource"))))
            return self._answer({"status": {"allowed": (asked["verb"], resource) not in self.api.denied}})
        kind, space, _, _ = self._parts(urlsplit(self.path).path)
        if why := self.api.forbidden.get(KINDS[kind]):
            return self._refuse(403, "Forbidden", why)
        with self.api.lock:
            return self._answer(self.api.create(kind, space, given), 201)

    def do_PATCH(self) -> None:
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        kind, space, name, _ = self._parts(urlsplit(self.path).path)
        found = self.api.objects[kind, space, name]
        found["metadata"]["labels"] |= given["metadata"]["labels"]
        self.api.said.append(f"label {KINDS[kind]} {name}")
        self._answer(found)

    def do_DELETE(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind, space, name, _ = self._parts(urlsplit(self.path).path)
        with self.api.lock:
            if (kind, space, name) not in self.api.objects:
                return self._refuse(404, "NotFound", f"{kind} {name} not found")
            self.api.delete(kind, space, name)
        return self._answer({"kind": "Status", "status": "Success"})

    def _proxied(self, space: str, name: str, path: str) -> None:
        page = self.api.pages.get(f"{space}/{name}{path}")
        return self._answer(page.decode()) if page is not None else self._refuse(503, "ServiceUnavailable", "no answer")

    def _parts(self, path: str) -> tuple[str, str, str, str]:
        """Kind, namespace, name, subresource of a path below /api/v1 or /apis/GROUP/VERSION."""
        parts = path.strip("/").split("/")
        parts = parts[2:] if parts[0] == "api" else parts[3:]
        space = parts[1] if parts[0] == "namespaces" and len(parts) > 2 else ""
        kind, name, sub, *_ = [*(parts[2:] if space else parts), "", "", ""]
        return kind, space, name, sub

    def _answer(self, body: Json | str, code: int = 200) -> None:
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _refuse(self, code: int, reason: str, message: str) -> None:
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        self._answer(status | {"message": message, "reason": reason, "code": code}, code)

    def _exec(self, pod: str, query: dict[str, list[str]]) -> None:
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.send_header("Sec-WebSocket-Protocol", "v5.channel.k8s.io")
        self.end_headers()
        self.close_connection = True
        wire, child = Connection(ConnectionType.SERVER), self.api.run(pod, query["container"][0], query["command"])
        hearing = threading.Thread(target=self._hear, args=(wire, child), daemon=True)
        hearing.start()
        assert child.stdout is not None
        assert child.stderr is not None
        while data := os.read(child.stdout.fileno(), 1 << 15):
            self._say(wire, b"\x01" + data)
        if said := child.stderr.read():
            self._say(wire, b"\x02" + said)
        self._say(wire, b"\x03" + json.dumps(_status(child.wait())).encode())
        hearing.join(5)
        child.stdout.close()
        child.stderr.close()

    def _hear(self, wire: Connection, child: subprocess.Popen[bytes]) -> None:
        assert child.stdin is not None
        message = b""  # comes in pieces, as the network has them
        with child.stdin as stdin, contextlib.suppress(OSError):
            while data := self.connection.recv(1 << 16):
                wire.receive_data(data)
                for event in wire.events():
                    if isinstance(event, CloseConnection):
                        return
                    if not isinstance(event, BytesMessage):
                        continue
                    message += event.data
                    if event.message_finished:
                        self._pass(message, stdin)
                        message = b""

    def _pass(self, message: bytes, stdin: IO[bytes]) -> None:
        """What a client says on the channel that is the message's first byte."""
        self.api.longest = max(self.api.longest, len(message))
        if message[:1] == b"\x00":
            stdin.write(message[1:])
            stdin.flush()
        elif message[:1] == b"\xff":
            stdin.close()

    def _say(self, wire: Connection, message: bytes) -> None:
        with contextlib.suppress(OSError, LocalProtocolError):  # who asked may have gone
            self.wfile.write(wire.send(BytesMessage(message)))

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


def _up(container: Json, number: int, over: bool = False) -> Json:
    """As a kubelet reports one that runs, or one that was an init step and is over."""
    state = {"terminated": {"exitCode": 0}} if over else {"running": {}}
    number = number * 1000 + sum(container["name"].encode())
    return {**UP, "state": state, "name": container["name"], "containerID": f"containerd://{number:064x}"}


def _by_name(containers: Iterable[Json]) -> list[Json]:
    """The order in which kubelets report them."""
    return sorted(containers, key=lambda container: str(container["name"]))


def _status(code: int) -> Json:
    if not code:
        return {"metadata": {}, "status": "Success"}
    causes = [{"reason": "ExitCode", "message": str(code)}]
    return {"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[tuple[Api, Path]]:
    """A server while the block lasts, and a kubeconfig that leads to it by the context `test`."""
    place = tempfile.TemporaryDirectory(prefix="api.")
    api = Api(Path(place.name))
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"api": api}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(f"""\
apiVersion: v1
kind: Config
clusters: [{{name: test, cluster: {{server: "http://127.0.0.1:{server.server_port}"}}}}]
contexts: [{{name: test, context: {{cluster: test, user: test}}}}]
users: [{{name: test, user: {{token: secret}}}}]
current-context: test
""")
    try:
        yield api, kubeconfig
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        for guest in api.guests.values():
            guest.terminate()
            guest.wait()
        place.cleanup()
