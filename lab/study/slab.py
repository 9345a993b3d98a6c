"""The kernel's own memory for its objects, from /proc/slabinfo: of the whole machine, so others' doings are in it."""

from __future__ import annotations

from pathlib import Path

from lab.record import CannotRun

SOCKETS = frozenset({"TCP", "sock_inode_cache", "filp", "dentry", "eventpoll_epi", "eventpoll_pwq", "tcp_bind_bucket"})
TRACKING = "nf_conntrack"
GENERAL = "kmalloc-"  # extensions of tracked connections are in these, and much else


def caches() -> dict[str, int]:
    """Bytes of the objects in use, by cache: active objects × their size (slabinfo(5))."""
    try:
        lines = Path("/proc/slabinfo").read_text().splitlines()[2:]
    except OSError as error:
        raise CannotRun(
            f"/proc/slabinfo cannot be read ({error}); run as root, on a kernel with CONFIG_SLUB_DEBUG"
        ) from error
    return {name: int(active) * int(size) for name, active, _, size, *_ in map(str.split, lines)}


def grown(before: dict[str, int], after: dict[str, int]) -> dict[str, float]:
    """What came in between: all caches, those of sockets, that of connection tracking, those of any purpose."""
    change = {name: after[name] - before.get(name, 0) for name in after}
    return {
        "slab_bytes": sum(change.values()),
        "socket_slab_bytes": sum(change.get(name, 0) for name in SOCKETS),
        "tracking_slab_bytes": change.get(TRACKING, 0),
        "general_slab_bytes": sum(size for name, size in change.items() if name.startswith(GENERAL)),
    }
