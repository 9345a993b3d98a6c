"""What the agent's maps and programs weigh by the size of the mesh: `python -m datapaths.bpf.memory`; needs root.

Each part is made for a pretended mesh, attached to nothing, and its file descriptors are read as the kernel charges
them (`memlock` in /proc/self/fdinfo). What a connection costs is not in there: it is the value of the sockets' storage
and its head, rounded up as the kernel's allocator does.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datapaths.bpf.part import find
from lab.record import LabError

SIZES = (10, 100, 1000)  # pods
PODS_A_SERVICE, PODS_A_NODE, ROUTES = 5, 10, 20
PARTS = ("http", "balance", "policy")
_SOCKET_STORAGE = "24"  # BPF_MAP_TYPE_SK_STORAGE
STORAGE_HEAD_BYTES = 72  # of struct bpf_local_storage_elem, with its data's own head


def mesh(pods: int) -> dict[str, Any]:
    """A mesh file: five pods of one identity a service, ten pods a node, twenty routes, a rule for each service."""
    addresses = [f"10.78.{i // 250}.{i % 250 + 1}" for i in range(pods)]
    groups = [addresses[i : i + PODS_A_SERVICE] for i in range(0, pods, PODS_A_SERVICE)]
    return {
        "node": "node0",
        "cgroups": [],
        "identities": {address: f"app-{i}" for i, group in enumerate(groups) for address in group},
        "local": addresses[:PODS_A_NODE],
        "services": [_service(i, group) for i, group in enumerate(groups)],
        "routes": [f"/r{i}/{{id}}" for i in range(ROUTES)],
        "policy": {
            "mode": "enforce",
            "default": "deny",
            "connections": [{"from": "*", "to": f"app-{i}"} for i in range(len(groups))],
            "requests": [
                {"from": "*", "to": f"app-{i}", "methods": ["GET"], "routes": ["/r1/*"]} for i in range(len(groups))
            ],
        },
    }


def _service(number: int, addresses: list[str]) -> dict[str, Any]:
    endpoints = [{"address": a, "port": 8080, "node": "node0", "weight": 1} for a in addresses]
    address = f"10.79.{number // 250}.{number % 250 + 1}"
    return {"name": f"s{number}", "address": address, "port": 80, "protocol": "tcp", "endpoints": endpoints}


def charged(part: str, pods: int) -> tuple[int, int, int]:
    """Bytes of a part in a mesh of so many pods: charged for its maps, for its programs; allocated for a connection."""
    before = _held().keys()
    made = find(part)(mesh(pods), None)
    try:
        found = [fields for key, fields in _held().items() if key not in before]
    finally:
        made.close()
    maps, programs = (sum(int(f["memlock"]) for f in found if kind in f) for kind in ("map_id", "prog_id"))
    stored = (int(f["value_size"]) for f in found if f.get("map_type") == _SOCKET_STORAGE)
    return maps, programs, sum(map(allocated, stored))


def allocated(storage_bytes: int) -> int:
    """What the kernel allocates for a value in a socket: whole kmalloc sizes (96, 192, powers of two)."""
    wanted = storage_bytes + STORAGE_HEAD_BYTES
    return min(size for size in (96, 192, *(1 << n for n in range(3, 23))) if size >= wanted)


def _held() -> dict[str, dict[str, str]]:
    """What this process holds of BPF, by kind and number."""
    found: dict[str, dict[str, str]] = {}
    for info in Path("/proc/self/fdinfo").iterdir():
        try:
            lines = info.read_text().splitlines()
        except OSError:
            continue  # the descriptor that lists them
        fields = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
        for kind in ("map_id", "prog_id"):
            if kind in fields and "memlock" in fields:
                found[f"{kind} {fields[kind]}"] = fields
    return found


def rows() -> Iterator[str]:
    """The table of docs/ebpf.md, in Markdown."""
    yield f"| part | {' | '.join(f'{pods} pods' for pods in SIZES)} | programs | a connection |"
    yield f"|---|{'---:|' * (len(SIZES) + 2)}"
    for part in PARTS:
        try:
            found = [charged(part, pods) for pods in SIZES]
        except (LabError, ImportError) as error:
            yield f"| {part} | {str(error).splitlines()[0]} |"
            continue
        sizes = " | ".join(f"{maps / 1e6:.2f} MB" for maps, _, _ in found)
        yield f"| {part} | {sizes} | {found[-1][1] / 1e3:.0f} KB | {found[-1][2]:,} B |"


def main() -> int:
    """Print the table."""
    for row in rows():
        print(row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
