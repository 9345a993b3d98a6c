"""One process in a container: everything it is told goes through the guest that started it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from lab.cluster import Container, Http, Line, Port, Process, ProcessSpec
from lab.cluster.kubernetes.client import EXEC_S, ApiClient
from lab.cluster.kubernetes.manifests import GUEST, told
from lab.cluster.place import portable
from lab.record import Failed, Mistake

READY_S = 90.0  # an instrument compiles its programs first; on a full machine that takes its time


@dataclass(frozen=True)
class Room:
    """A container with a guest in it."""

    client: ApiClient
    namespace: str
    pod: str
    container: str
    known: Container  # by its pod's uid and its own id

    def say(self, *words: str, stdin: bytes | None = None, timeout_s: float = EXEC_S) -> bytes:
        """What the guest answers; `Failed` with its words where it could not."""
        code, out, err = self.client.exec(
            self.pod, self.namespace, self.container, (*GUEST, *words), stdin=stdin, timeout_s=timeout_s
        )
        if code:
            text = err.decode(errors="replace").strip() or f"exit code {code}"
            raise Failed(f"{self.pod}/{self.container}: {text}")
        return out

    def clock(self) -> tuple[int, int]:
        """Nanoseconds by which its CLOCK_MONOTONIC is ahead of ours, and how far that may be off: of the quickest trip.

        The guest reads its clock at some moment of the trip; the middle is off by half of the trip at most.
        """
        trips = self.client.trips(self.pod, self.namespace, self.container, (*GUEST, "clock"))
        sent, said, received = min(trips, key=lambda trip: trip[2] - trip[0])
        return said - (sent + received) // 2, (received - sent + 1) // 2


class KubeProcess(Process):
    """A child of a guest. Its folder, with what it printed, lives as long as its pod."""

    cgroup: Path | None = None

    def __init__(self, spec: ProcessSpec, where: str, arm: str, room: Room) -> None:
        self.spec, self.where, self.arm, self.room = spec, where, arm, room
        self.container = room.known
        self.name = spec.name  # in its container: a second one of a name has a number
        self._code: int | None = None

    def start(self) -> None:
        """Have it started, and return once it is ready."""
        spec = {**told(self.spec), "ready": _ready(self.spec), "ready_s": READY_S}
        line = json.dumps(spec).encode() + b"\n"
        said = json.loads(self.room.say("start", stdin=line, timeout_s=READY_S + EXEC_S))
        self.name = said["name"]

    def pids(self) -> tuple[int, ...]:
        """As the container's own /proc numbers them; none once it has ended."""
        return () if self._code is not None else tuple(json.loads(self.room.say("pids", self.name)))

    def tell(self, line: str) -> None:
        if "\n" in line.rstrip("\n"):
            raise Mistake(f"{self.spec.name} was told {line!r}; tell it one line at a time")
        self.room.say("tell", self.name, line.rstrip("\n"))

    def wait(self, timeout_s: float) -> int:
        if self._code is None:
            self._code = int(self.room.say("wait", self.name, f"{timeout_s:g}", timeout_s=timeout_s + EXEC_S))
        return self._code

    def read(self, name: str) -> bytes:
        """A file of its own folder. What it was given is known here, with its folder in place of `{dir}`."""
        if name in self.spec.files:
            text = portable(self.spec).files[name]
            return text.replace("{dir}", f"/run/mesh-lab/{self.name}").encode()
        return self.room.say("read", self.name, name)


def _ready(spec: ProcessSpec) -> dict[str, int | str] | None:
    match spec.ready:
        case Port(port):
            return {"port": port}
        case Http(port, path):
            return {"port": port, "path": path}
        case Line(text):
            return {"line": text}
    return None
