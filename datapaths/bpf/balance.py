"""Load balancing at the socket and policy by identity: `balance.bpf.c` loaded and attached to a node's pods."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from datapaths.bpf.closing import Closing
from datapaths.bpf.libbpf import Object
from datapaths.bpf.openmetrics import Family, counters
from datapaths.bpf.part import Told
from datapaths.bpf.tables import Tables, pod, tables
from lab import compile
from lab.record import Failed, Mistake

SOURCE = Path(__file__).with_name("balance.bpf.c")
FLAGS = ("-mcpu=v3",)
PROGRAMS = tuple(f"{hook}{version}" for hook in ("connect", "sendmsg", "getpeername", "recvmsg") for version in (4, 6))

HELPS = {  # in the order of balance.bpf.c
    "balanced": "Connections that were given an endpoint of a service.",
    "talked": "Services that unconnected sockets began to talk to.",
    "moved": "Unconnected sockets that went on with another endpoint, because theirs was one no longer.",
    "forgotten": "Services that an unconnected socket forgot for a newer one; its next datagram there chooses anew.",
    "no_endpoint": "Connections and datagrams refused because their service had no endpoint.",
    "no_memory": "Connections and datagrams refused because the kernel gave no memory.",
    "permitted": "Connections and datagrams that a rule, or the default, let through.",
    "refused_no_rule": "Connections and datagrams refused: both ends known, no rule for them.",
    "refused_unknown": "Connections and datagrams refused: the identity of one end is not known.",
    "audited_no_rule": "Connections and datagrams let through in audit mode: both ends known, no rule for them.",
    "audited_unknown": "Connections and datagrams let through in audit mode: the identity of one end is not known.",
}
TOTALS = tuple(HELPS)
_NUMBER = struct.Struct("=I")
_ZERO = _NUMBER.pack(0)
_SMALLEST = {"services": 64, "members": 256, "identities": 256, "rules": 256, "slots": 256}
_NR_MEMBARRIER = {"x86_64": 324, "aarch64": 283}
_MEMBARRIER_GLOBAL = 1
_LONGEST_PROGRAM_S = 0.1


class Balance(Closing):
    """Sockets of the pods of `mesh` get endpoints of services, where policy lets them; a context manager.

    Maps have room for at least twice what `mesh` holds, and for 64 services, 256 endpoints, addresses and rules, in
    each of two banks. With `pins` what is there is taken up and stays when this ends; else all is detached.
    """

    def __init__(self, mesh: Told, pins: Path | None = None) -> None:
        self._room = {name: _room(least, count) for name, least, count in _sizes(tables(mesh, 0))}
        self.object = _loaded(self._room, pins)
        try:
            self.update(mesh)
        except BaseException:
            self.object.close()
            raise

    @property
    def generation(self) -> int:
        """How many updates there have been; the lowest bit is the bank in use."""
        return int.from_bytes(self.object.map("generation")[_ZERO], sys.byteorder)

    def update(self, mesh: Told) -> None:
        """Change over to another mesh, in one step for each socket call; sockets keep the endpoints they have.

        Unconnected UDP sockets move from an endpoint that is no longer one, with their next datagram. `Mistake`, and
        nothing changed, where the mesh is wrong or larger than the maps.
        """
        following = (self.generation + 1) % 2**32
        bank = following & 1
        cgroups = [Path(each) for each in mesh.get("cgroups", ())]
        made, pods = tables(mesh, bank), [pod(mesh, i) for i in range(len(cgroups))]
        for name, _, count in _sizes(made):
            if count > self._room[name]:
                raise Mistake(f"{count} {name}, and room for {self._room[name]}; start the agent anew with this mesh")
        _grace()  # the idle bank was in use until the last update
        self._fill(made, bank)
        self.object.map("generation")[_ZERO] = _NUMBER.pack(following)
        self._cover(cgroups, pods)

    def totals(self) -> dict[str, int]:
        """Counters by the names in `HELPS`, which says what they count."""
        return self.object.map("totals").counters(TOTALS)

    def families(self) -> Iterable[Family]:
        return counters("mesh_balance", self.totals(), HELPS)

    def close(self) -> None:
        """Detach, unless pinned. Idempotent."""
        self.object.close()

    def _fill(self, made: Tables, bank: int) -> None:
        for name, entries in made.hashes().items():
            target = self.object.map(name)
            for key in [k for k in target if _bank(name, k) == bank and k not in entries]:
                del target[key]
            for key, value in entries.items():
                target[key] = value
        slots = self.object.map("slots")
        for i, slot in enumerate(made.slots):
            slots[_NUMBER.pack(2 * i + bank)] = slot
        self.object.map("settings")[_NUMBER.pack(bank)] = made.settings

    def _cover(self, cgroups: list[Path], pods: list[bytes]) -> None:
        """Attach to the pods and say who each is. Until then a pod is unknown: refused rather than let."""
        self.object.cover(cgroups, PROGRAMS)
        try:
            self._identify(cgroups, pods)
        except Failed:  # pinned attachments whose maps were forgotten: what they keep for a pod belongs to the old map
            self.object.cover((), PROGRAMS)
            self.object.cover(cgroups, PROGRAMS)
            self._identify(cgroups, pods)

    def _identify(self, cgroups: list[Path], pods: list[bytes]) -> None:
        known = self.object.map("pods")
        for cgroup, who in zip(cgroups, pods, strict=True):
            known[struct.pack("=Q", cgroup.stat().st_ino)] = who


def _loaded(room: Mapping[str, int], pins: Path | None) -> Object:
    """With reasons for refusals where the kernel has them (5.18), else without."""
    try:
        return _load(room, pins, reasons=True)
    except Failed:
        return _load(room, pins, reasons=False)


def _load(room: Mapping[str, int], pins: Path | None, reasons: bool) -> Object:
    opened = Object(compile.bpf(SOURCE, *FLAGS), pins, " ".join(TOTALS))
    try:
        opened.set(".rodata.options", _NUMBER.pack(reasons))
        for name, entries in room.items():
            opened.resize(name, 2 * entries)
        opened.load()
    except BaseException:
        opened.close()
        raise
    return opened


def _sizes(made: Tables) -> list[tuple[str, int, int]]:
    counts = {name: len(entries) for name, entries in made.hashes().items()} | {"slots": len(made.slots)}
    return [(name, least, counts[name]) for name, least in _SMALLEST.items()]


def _room(least: int, count: int) -> int:
    """A power of two, so that an agent that starts over pinned maps seldom finds them too small."""
    return max(least, 1 << (2 * count).bit_length())


def _bank(name: str, key: bytes) -> int:
    """`struct rule` ends with it, `struct place` too; `struct member` holds two places, the service's first."""
    if name == "rules":
        return int(struct.unpack_from("=H", key, 10)[0])
    return key[19]


def _grace() -> None:
    """Return once no program runs that was running: membarrier(2) waits for a grace period of RCU, which programs hold
    up. Where the kernel refuses (nohz_full), wait far longer than any of them takes."""
    number = _NR_MEMBARRIER.get(os.uname().machine)
    if number is None or ctypes.CDLL(None, use_errno=True).syscall(number, _MEMBARRIER_GLOBAL, 0, 0):
        time.sleep(_LONGEST_PROGRAM_S)
