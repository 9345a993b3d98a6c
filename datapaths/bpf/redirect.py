"""Socket-level redirection to a node's proxy: `redirect.bpf.c` loaded and attached to pods and to the proxy."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from pathlib import Path

from datapaths.bpf.closing import Closing
from datapaths.bpf.libbpf import Object
from datapaths.bpf.openmetrics import Family, counters
from datapaths.bpf.part import Told
from lab import compile
from lab.cluster import cgroup
from lab.record import Failed

SOURCE = Path(__file__).with_name("redirect.bpf.c")
FLAGS = ("-mcpu=v3",)
POD_PROGRAMS = ("redirect", "peer_name", "note")
PROXY_PROGRAMS = ("original_destination",)
TOTALS = ("redirected", "answered", "not_found")  # as in redirect.bpf.c
TOLD = ("services",)
HELPS = {
    "redirected": "Connections brought to the node's proxy.",
    "answered": "Questions for the original destination that were answered.",
    "not_found": "Questions for the original destination that could not be answered.",
}

Place = tuple[str, int]
"""An IPv4 address and a port."""


class Redirect(Closing):
    """Connections of the pods in `cgroups` to `services` go to `proxy`, which is told where they wanted to go.

    `proxy_cgroup` holds the proxy's process, and not the pods'. A context manager: leaving it detaches everything.
    """

    def __init__(
        self,
        cgroups: Iterable[Path],
        services: Iterable[Place],
        proxy: Place,
        proxy_cgroup: Path,
        pins: Path | None = None,
    ) -> None:
        self.object = Object(compile.bpf(SOURCE, *FLAGS), pins, f"{TOTALS}", TOLD)
        try:
            self._set_up(tuple(services), proxy)
            self.object.cover([proxy_cgroup], PROXY_PROGRAMS)
            self.object.cover(cgroups, POD_PROGRAMS)
        except BaseException:
            self.object.close()
            raise

    def _set_up(self, services: tuple[Place, ...], proxy: Place) -> None:
        self.object.set(".rodata.options", _place(proxy))
        self.object.resize("services", max(len(services), 1))
        self.object.load()
        listed = self.object.map("services")
        for service in services:
            listed[_place(service)] = struct.pack("=I", 1)
        self._totals, self._originals = self.object.map("totals"), self.object.map("originals")

    def totals(self) -> dict[str, int]:
        """Connections redirected, and questions for an original destination answered and not answered."""
        return self._totals.counters(TOTALS)

    def families(self) -> Iterable[Family]:
        """What /metrics shows of it."""
        yield from counters("mesh_redirect", self.totals(), HELPS)
        yield Family(
            "mesh_redirect_open", "gauge", "Redirected connections not yet closed.", [({}, self.open_connections())]
        )

    def open_connections(self) -> int:
        """Redirected connections that have not been closed."""
        return sum(1 for _ in self._originals)

    def close(self) -> None:
        """Detach. Idempotent."""
        self.object.close()


def part(told: Told, pins: Path | None) -> Redirect:
    """The part `redirect`. It is told `proxy` ("ADDRESS:PORT"), and `proxy_cgroup` if not the agent's own parent."""
    services = [(str(service["address"]), int(service["port"])) for service in told["services"]]
    address, _, port = str(told["proxy"]).rpartition(":")
    proxy_cgroup = Path(told["proxy_cgroup"]) if "proxy_cgroup" in told else _siblings()
    cgroups = [Path(cgroup) for cgroup in told["cgroups"]]
    return Redirect(cgroups, services, (address, int(port)), proxy_cgroup, pins)


def _siblings() -> Path:
    """The node's folder: the parent of this process's cgroup, where the node's proxy has its own."""
    proc = Path("/proc/self")
    return own_place((proc / "mountinfo").read_text(), (proc / "cgroup").read_text()).parent


def own_place(mountinfo: str, memberships: str) -> Path:
    """The cgroup v2 folder of a process, from the texts of its /proc/PID/mountinfo and /proc/PID/cgroup."""
    mounts = [m for m in cgroup.mounts(mountinfo) if m.kind == "cgroup2"]
    inside = [line[3:] for line in memberships.splitlines() if line.startswith("0::")]
    if not mounts or not inside:
        raise Failed("this process is in no cgroup v2 tree; mount one: mount -t cgroup2 none /sys/fs/cgroup/unified")
    mount = next((m for m in mounts if m.root == "/"), mounts[0])
    path = Path(inside[0])
    return mount.point / path.relative_to(mount.root if path.is_relative_to(mount.root) else "/")


def _place(place: Place) -> bytes:
    """`struct place`: address and port as they stand in a packet."""
    return struct.pack("!4sHxx", socket.inet_aton(place[0]), place[1])
