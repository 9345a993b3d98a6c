"""What a mesh file may say in place of a cgroup v2 folder, where only the node can know it.

`pod:UID`: the folder of that pod (on Kubernetes). `port:NUMBER`: the folder of whoever listens on that TCP port in the
agent's own network namespace.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from datapaths.bpf.closing import Closing
from datapaths.bpf.part import Told
from lab.cluster.pods import Groups
from lab.record import Failed

LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp
_PROC = Path("/proc")


class Places(Closing):
    """Makes folders of them. Those that pods did not have before are removed at the end."""

    def __init__(self) -> None:
        self._groups: Groups | None = None

    def settled(self, told: Told) -> Told:
        """The mesh file with folders only. `Failed` where a pod or listener is not on this node."""
        found = dict(told)
        if "cgroups" in told:
            found["cgroups"] = [self._folder(each) for each in told["cgroups"]]
        if "proxy_cgroup" in told:
            found["proxy_cgroup"] = self._folder(told["proxy_cgroup"])
        return found

    def close(self) -> None:
        if self._groups is not None:
            self._groups.close()
            self._groups = None

    def _folder(self, text: str) -> str:
        kind, _, name = text.partition(":")
        if kind not in ("pod", "port"):
            return text
        self._groups = self._groups or Groups()
        return str(self._groups.pod(name) if kind == "pod" else self._groups.holder(listener(int(name))))


def listener(port: int) -> int:
    """The process that listens on a TCP port in this network namespace. `Failed` where there is none."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    for pid in sorted(int(p.name) for p in _PROC.glob("[0-9]*")):
        if sockets.intersection(_open(pid)):
            return pid
    raise Failed(f"nobody who can be seen listens on TCP port {port}; start the proxy first, in a pod with hostNetwork")


def _listening(port: int) -> Iterator[str]:
    """Inodes. A row of /proc/net/tcp: place, local address:port in hexadecimal, remote, state, …, inode."""
    for table in ("tcp", "tcp6"):
        for row in (_PROC / "self/net" / table).read_text().splitlines()[1:]:
            words = row.split()
            if words[3] == LISTEN and int(words[1].rpartition(":")[2], 16) == port:
                yield words[9]


def _open(pid: int) -> Iterator[str]:
    try:
        for fd in (_PROC / str(pid) / "fd").iterdir():
            yield str(fd.readlink())
    except OSError:
        return  # it has ended, or closed that file
