"""A bad network between two pods, and whether the kernel's counts survive it.

`PYTHONPATH=. python tests/bpf_disorder.py [--requests 1000000]` asks so many requests as fast as it can through links
that drop and reorder packets, and prints what was sent and what each side counted as JSON. Needs root, nginx, h2load.
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bpf_mesh import ARM, CLIENT, PORT, SERVER, pods, web_server
from pyroute2 import IPRoute

from datapaths.bpf.http import HttpWatch
from datapaths.bpf.libbpf import Object
from datapaths.ebpf import identities
from lab import compile
from lab.cluster import Part, ProcessSpec
from lab.cluster.local import LocalCluster

SOURCE = Path(__file__).with_name("disorder.bpf.c")
TOTALS = ("dropped", "delayed")
_INGRESS = 0xFFFFFFF2  # TC_H_CLSACT | TC_H_MIN_INGRESS


@contextmanager
def disorder(cluster: LocalCluster, pod: str, drop: int = 50, delay: int = 20) -> Iterator[Object]:
    """Of the packets that reach a pod one in `drop` is lost and one in `delay` is overtaken, until it is left."""
    with Object(compile.bpf(SOURCE)) as bad:
        bad.set(".rodata.options", struct.pack("=II", drop, delay))
        bad.load()
        fd = bad.programs()["disorder"]
        cluster.inside(pod).inside(functools.partial(_put, fd))
        try:
            yield bad
        finally:
            cluster.inside(pod).inside(_take)


def happened(bad: Object) -> dict[str, int]:
    """Packets dropped and delayed."""
    return bad.map("totals").counters(TOTALS)


def _put(fd: int) -> None:
    with IPRoute() as link:
        (index,) = link.link_lookup(ifname="eth0")
        link.tc("add", "clsact", index)
        link.tc("add-filter", "bpf", index, ":1", fd=fd, name="disorder", parent=_INGRESS, direct_action=True)


def _take() -> None:
    with IPRoute() as link:
        (index,) = link.link_lookup(ifname="eth0")
        link.tc("del", "clsact", index)


def asked(cluster: LocalCluster, number: int, connections: int) -> tuple[int, float]:
    """So many requests by h2load: how many succeeded, and in how many seconds."""
    url = f"http://{cluster.mesh.service(SERVER).address}:{PORT}/bad-network"
    argv = ("h2load", "--h1", "-n", str(number), "-c", str(connections), url)
    start = time.monotonic()
    process = cluster.run(CLIENT, ARM, ProcessSpec("h2load", argv, Part.LOAD))
    code = process.wait(900)
    told = process.read("stdout").decode()
    found = re.search(r"(\d+) succeeded", told)
    if code or not found:
        raise RuntimeError(f"h2load ended with {code}: {told[-300:]}")
    return int(found[1]), time.monotonic() - start


def counted(number: int, connections: int, drop: int, delay: int) -> dict[str, object]:
    """Both sides' counts of so many requests over a bad network."""
    with ExitStack() as stack:
        cluster = stack.enter_context(pods(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        cluster.run(SERVER, ARM, web_server(PORT))
        names = identities(cluster.mesh)
        watches = {
            side: stack.enter_context(HttpWatch([folder], names, side))
            for side, pod in (("server", SERVER), ("client", CLIENT))
            if (folder := cluster.mesh.pod(pod).cgroup)
        }
        bad = {pod: stack.enter_context(disorder(cluster, pod, drop, delay)) for pod in (CLIENT, SERVER)}
        succeeded, took_s = asked(cluster, number, connections)
        return {
            "requests": number,
            "succeeded": succeeded,
            "seconds": round(took_s, 1),
            "rate_per_s": round(number / took_s),
            "network": {pod: happened(one) for pod, one in bad.items()},
            "counted": {side: watch.totals() for side, watch in watches.items()},
        }


def main() -> int:
    """Exit code 1 where a count is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--drop", type=int, default=1000, help="one packet in so many is lost")
    parser.add_argument("--delay", type=int, default=20, help="one packet in so many is overtaken")
    told = parser.parse_args()
    found = counted(told.requests, told.connections, told.drop, told.delay)
    print(json.dumps(found, indent=1))
    totals = found["counted"]
    assert isinstance(totals, dict)
    return int(any(each["answered"] != told.requests for each in totals.values()))


if __name__ == "__main__":
    sys.exit(main())
