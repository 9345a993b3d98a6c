"""The API server, by lightkube: what the lab asks it for, in plain JSON, and its refusals as errors of the lab."""

from __future__ import annotations

import functools
import io
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import msgspec
from httpx2.websockets import HTTPXWSException, WebSocketUpgradeError
from lightkube import ApiError, Client, codecs
from lightkube.config.client_adapter import Client as Http
from lightkube.config.client_adapter import ConnectionParams, verify_cluster
from lightkube.config.kubeconfig import KubeConfig
from lightkube.core import decoders
from lightkube.core.exceptions import ConfigError
from lightkube.resources.apps_v1 import DaemonSet
from lightkube.resources.core_v1 import (
    ConfigMap,
    Event,
    Namespace,
    Node,
    Pod,
    Service,
    ServiceAccount,
)
from lightkube.types import PatchType

from lab.cluster.kubernetes.turns import taking_turns
from lab.record import CannotRun, Failed, LabError, Mistake

Json = dict[str, Any]

KINDS: Mapping[str, Any] = {
    kind.__name__: kind for kind in (ConfigMap, DaemonSet, Event, Namespace, Node, Pod, Service, ServiceAccount)
}
TIMEOUT_S = 15.0
EXEC_S = 60.0
TRIPS = 12  # of which the quickest counts
_V5, _V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
OLDEST = (1, 30)  # the first whose API server lets a command's input end (v5.channel.k8s.io)


class ApiClient:
    """One cluster, as a context of a kubeconfig leads to it. Its methods may be called by several threads.

    `kubeconfig`: a file; None: $KUBECONFIG, else ~/.kube/config. `Mistake` where there is none, or no such context.
    """

    def __init__(self, context: str | None = None, kubeconfig: Path | None = None) -> None:
        self.config = _config(context, kubeconfig)
        self.context = self.config.context_name
        _prepare()
        self._timeout = httpx2.Timeout(TIMEOUT_S)
        with self._words("read the credentials"):
            self._client = Client(self.config, timeout=self._timeout, trust_env=False, transport=self._transport())
            shared = ConnectionParams(timeout=self._timeout, trust_env=False, transport=self._transport())
            self._http = Http(self.config, shared)

    def _transport(self) -> httpx2.HTTPTransport:
        config = self.config
        context = verify_cluster(config.cluster, config.user, config.abs_file, trust_env=False)
        return httpx2.HTTPTransport(verify=taking_turns(context), trust_env=False)

    def close(self) -> None:
        """Let go of its connections."""
        self._client.close()
        self._http.close()

    def create(self, manifest: Json, *, dry_run: bool = False) -> Json:
        """The object as the server made it."""
        meta = manifest["metadata"]
        with self._words(f"create {manifest['kind']} {meta['name']}"):
            if manifest["kind"] not in KINDS and not manifest["apiVersion"].startswith("rbac."):
                answer = self._http.post(path(manifest), json=manifest, params={"dryRun": "All"} if dry_run else {})
                answer.raise_for_status()
                return dict(answer.json())
            made = self._client.create(codecs.from_dict(manifest), dry_run=dry_run)
            return dict(made.to_dict())  # type: ignore[no-untyped-call]

    def label(self, kind: str, name: str, labels: Mapping[str, str]) -> None:
        """Set labels of an object that has no namespace."""
        with self._words(f"label {kind} {name}"):
            self._client.patch(KINDS[kind], name, {"metadata": {"labels": dict(labels)}}, patch_type=PatchType.MERGE)

    def get(self, kind: str, name: str, namespace: str | None = None) -> Json | None:
        """An object; None where there is none of that name."""
        with self._words(f"get {kind} {name}"):
            try:
                return dict(self._client.get(KINDS[kind], name, **_of(namespace)).to_dict())
            except ApiError as error:
                if error.status.code == 404:
                    return None
                raise

    def every(self, kind: str, namespace: str | None = None, labels: str = "") -> tuple[Json, ...]:
        """All objects of a kind that bear the labels, written as `a=b,c=d`."""
        wanted: dict[str, Any] = dict(pair.split("=", 1) for pair in labels.split(",") if pair)
        with self._words(f"list {kind}s"):
            found = self._client.list(KINDS[kind], labels=wanted or None, **_of(namespace))
            return tuple(dict(each.to_dict()) for each in found)

    def delete(self, kind: str, name: str, namespace: str | None = None, grace_s: int | None = None) -> None:
        """Ask for its removal; it may take its time. Idempotent."""
        with self._words(f"delete {kind} {name}"):
            try:
                self._client.delete(KINDS[kind], name, grace_period=grace_s, **_of(namespace))
            except ApiError as error:
                if error.status.code != 404:
                    raise

    def remove(self, manifest: Json) -> None:
        """Ask for the removal of an object of a kind that only this cluster knows. Idempotent."""
        with self._words(f"delete {manifest['kind']} {manifest['metadata']['name']}"):
            answer = self._http.delete(f"{path(manifest)}/{manifest['metadata']['name']}")
            if answer.status_code != 404:
                answer.raise_for_status()

    def proxied(self, namespace: str, pod: str, port: int, path: str) -> bytes:
        """What a pod answers to GET at a port of its own address, through the API server."""
        with self._words(f"ask pod {namespace}/{pod} at port {port} for {path}"):
            answer = self._http.get(f"/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy{path}")
            answer.raise_for_status()
            return bytes(answer.content)

    def may(self, verb: str, resource: str, group: str = "", subresource: str = "") -> bool:
        """Whether who asks has the right, in all namespaces."""
        attributes = {"verb": verb, "resource": resource, "group": group, "subresource": subresource}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "metadata": {},
            "spec": {"resourceAttributes": {name: value for name, value in attributes.items() if value}},
        }
        with self._words("ask for its rights"):
            answer = self._http.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", json=review)
            answer.raise_for_status()
            return bool(answer.json()["status"]["allowed"])

    def version(self) -> str:
        """The server's, such as `v1.33.1`. `CannotRun` where it is older than the lab can do with."""
        with self._words("ask for its version"):
            answer = self._http.get("/version")
            answer.raise_for_status()
            said = str(answer.json()["gitVersion"])
        number = re.match(r"v(\d+)\.(\d+)", said)
        if number and (int(number[1]), int(number[2])) < OLDEST:
            raise CannotRun(
                f"context {self.context!r} is Kubernetes {said}; the lab needs v1.30 or newer, for its exec"
            )
        return said

    def log(self, pod: str, namespace: str, container: str) -> str:
        """A container's last lines; empty where there are none to be had."""
        try:
            return "".join(self._client.log(pod, namespace=namespace, container=container, tail_lines=15))
        except (ApiError, httpx2.HTTPError):
            return ""

    def exec(
        self,
        pod: str,
        namespace: str,
        container: str,
        command: Sequence[str],
        stdin: bytes | None = None,
        timeout_s: float = EXEC_S,
    ) -> tuple[int, bytes, bytes]:
        """Exit code, standard output and standard error of a command in a container."""
        with self._words(f"exec in {pod}/{container}"):
            done = self._client.exec(
                pod,
                namespace=namespace,
                container=container,
                command=list(command),
                stdin=None if stdin is None else io.BytesIO(stdin),  # as a file it goes in pieces; servers take 32 MB
                stdout=True,
                stderr=True,
                decode=None,
                timeout=timeout_s,
            )
            return done.exit_code, _bytes(done.stdout), _bytes(done.stderr)

    def trips(self, pod: str, namespace: str, container: str, command: Sequence[str]) -> Sequence[tuple[int, int, int]]:
        """Send lines to a command one by one: (sent, the number that it answers, received) of each, by our clock.

        The times are of this process's CLOCK_MONOTONIC, in nanoseconds.
        """
        url = f"/api/v1/namespaces/{namespace}/pods/{pod}/exec"
        params: Json = {"command": list(command), "container": container}
        params |= {"stdin": True, "stdout": True, "stderr": True}
        found = []
        with (
            self._words(f"exec in {pod}/{container}"),
            self._http.websocket(url, params=params, subprotocols=[_V5, _V4]) as socket,
        ):
            for _ in range(TRIPS):
                sent = time.monotonic_ns()
                socket.send_bytes(b"\x00\n")
                said = _line(socket.receive_bytes, time.monotonic() + TIMEOUT_S)
                found.append((sent, said, time.monotonic_ns()))
        return found

    @contextmanager
    def _words(self, what: str) -> Iterator[None]:
        """Refusals, in the lab's words. Nothing of a kubeconfig but the context's name is ever shown."""
        try:
            yield
        except ApiError as error:
            raise refused(what, self.context, error.status.code, str(error)) from error
        except httpx2.HTTPStatusError as error:
            raise refused(what, self.context, error.response.status_code, error.response.text[:300]) from error
        except (httpx2.HTTPError, OSError) as error:
            raise Failed(
                f"could not {what}: the API server of context {self.context!r} does not answer"
                f" ({type(error).__name__}: {error}); is the cluster running and reachable?"
            ) from error
        except WebSocketUpgradeError as error:
            response = error.response
            raise refused(what, self.context, response.status_code, _text(response)) from error
        except (HTTPXWSException, BaseExceptionGroup) as error:
            raise Failed(f"could not {what} in context {self.context!r}: {type(error).__name__}: {error}") from error


@functools.cache
def _prepare() -> None:
    """Have lightkube's decoders learn every type, in one thread: msgspec crashes where several learn one at once."""
    for kind in KINDS.values():
        for learn, text in ((decoders.decode_object, b"{}"), (decoders.decode_list, b'{"items": [{}]}')):
            with suppress(msgspec.ValidationError):  # learned all the same
                learn(text, kind)
    decoders.decode_status(b"{}")


def path(manifest: Json) -> str:
    """Where objects of a kind that is not Kubernetes' own are: custom resources are called by their kind's plural."""
    kind = manifest["kind"].lower()
    plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
    return f"/apis/{manifest['apiVersion']}/namespaces/{manifest['metadata']['namespace']}/{plural}"


def refused(what: str, context: str, code: int | None, message: str) -> LabError:
    """The error for an answer of the API server that is not what was hoped for."""
    if code == 401:
        return CannotRun(f"could not {what}: context {context!r} is not let in; renew its credentials")
    if code == 403 and "exceeded quota" in message:
        return CannotRun(f"could not {what}: {message}; raise the quota, or use another cluster")
    if code == 403:
        return CannotRun(f"could not {what}: {message}; `mesh-lab manifests --rights` prints the role that is needed")
    if code == 404:
        return Failed(f"could not {what}: that is not there any more ({message}); did somebody delete it, or its node?")
    return Failed(f"could not {what} (context {context!r}, answer {code}): {message}")


def _line(receive: Any, deadline: float) -> int:
    """The next line of standard output, which is a number."""
    text = b""
    while not text.endswith(b"\n"):
        message = receive(timeout=max(0.1, deadline - time.monotonic()))
        if message[:1] == b"\x01":
            text += message[1:]
        elif message[:1] == b"\x03" or (message[:1] == b"\x02" and len(message) > 1):
            raise Failed(f"the guest's clock does not answer: {message[1:200]!r}")
    return int(text)


def _text(response: httpx2.Response) -> str:
    """What a refused upgrade says, where it can still be read."""
    try:
        return response.read().decode(errors="replace")[:300]
    except (httpx2.HTTPError, httpx2.StreamError):
        return f"HTTP {response.status_code}"


def _of(namespace: str | None) -> Json:
    return {"namespace": namespace} if namespace else {}


def _bytes(said: object) -> bytes:
    return said if isinstance(said, bytes) else b""


def current() -> str:
    """The name of the kubeconfig's current context; `Mistake` where there is none."""
    return str(_config(None, None).context_name)


def _config(context: str | None, kubeconfig: Path | None) -> Any:
    """lightkube's configuration of one context."""
    file = kubeconfig or Path(os.environ.get("KUBECONFIG", "~/.kube/config")).expanduser()
    try:
        found = KubeConfig.from_file(file)
    except ConfigError:
        raise Mistake(f"there is no kubeconfig {file}; set KUBECONFIG, or make one with your cluster's tool") from None
    except Exception as error:
        raise Mistake(
            f"{file} is no kubeconfig that can be read ({type(error).__name__}); try `kubectl config view`"
        ) from error
    if context is not None and context not in found.contexts:
        there = ", ".join(sorted(found.contexts)) or "none"
        raise Mistake(f"no context {context!r} in {file}; there are {there}")
    try:
        return found.get(context)
    except (ConfigError, KeyError) as error:
        raise Mistake(f"{file}: {error}; name a context: kube:CONTEXT") from error
