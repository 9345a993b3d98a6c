"""Two pods on two nodes of a local cluster, for tests that attach BPF programs to them."""

from __future__ import annotations

import functools
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from lab import doctor
from lab.cluster import Layout, Part, PodSpec, Port, ProcessSpec, ServiceSpec
from lab.cluster.local import LocalCluster
from lab.record import Need

ARM, PORT = "bpf", 8080
CLIENT, SERVER = f"{ARM}-client", f"{ARM}-server"


@contextmanager
def pods(state: Path) -> Iterator[LocalCluster]:
    """A deployment with an empty client and an empty server behind the service `bpf-server`."""
    specs = (PodSpec(CLIENT, 0, ARM, "client"), PodSpec(SERVER, 1, ARM, "server"))
    with LocalCluster(f"bpf-{os.getpid()}", state=state) as cluster:
        cluster.deploy(Layout(specs, (ServiceSpec(SERVER, ARM, PORT, (SERVER,)),)))
        yield cluster


def script(name: str, *argv: str) -> ProcessSpec:
    """Some Python beside the application."""
    return ProcessSpec(name, (sys.executable, *argv), Part.APP)


BIG_BYTES = 100_000


def web_server(port: int) -> ProcessSpec:
    """An nginx that answers /big with so many bytes and everything else with a word."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {{dir}}/{kind};" for kind in kinds)
    pages = 'location / { return 200 "hello"; } location /big { root {dir}; }'
    text = (
        "daemon off; pid {dir}/pid; error_log stderr; events { worker_connections 4096; }"
        f"http {{ access_log off; keepalive_requests 1000000; {temporary} server {{ listen {port}; {pages} }} }}"
    )
    files = {"nginx.conf": text, "big": "x" * BIG_BYTES}
    argv = ("nginx", "-e", "stderr", "-c", "{dir}/nginx.conf")
    return ProcessSpec("nginx", argv, Part.APP, files, ready=Port(port))


@functools.cache
def there() -> frozenset[Need]:
    """What this machine has."""
    return frozenset(p.need for p in doctor.probe(frozenset(Need) & doctor.PROBES.keys()) if p.there)


def needs(what: frozenset[Need]) -> pytest.MarkDecorator:
    """Skip, with the reason, where this machine lacks something."""
    wanted = {Need.ROOT, Need.NETWORK_NAMESPACES, Need.NFTABLES} | what
    lacks = sorted(wanted - there())
    return pytest.mark.skipif(bool(lacks), reason=f"lacks {', '.join(lacks)}")


def speak_ipv6(cluster: LocalCluster) -> dict[str, str]:
    """Give the nodes and pods IPv6 addresses of their own, beside IPv4 and inside their namespaces; pods' by name."""
    addresses = {}
    for i, node in enumerate(cluster.mesh.nodes):
        (pod,) = cluster.mesh.on(node)
        addresses[pod.name] = f"fd00:78:{i}::2"
        routes = {f"fd00:78:{other}::/64": f"fd00:77::{other + 1}" for other in range(2) if other != i}
        links = {"underlay": f"fd00:77::{i + 1}", "pod0": f"fd00:78:{i}::1"}
        cluster.inside(node.name).inside(functools.partial(_ipv6, links, routes))
        cluster.inside(pod.name).inside(
            functools.partial(_ipv6, {"eth0": f"fd00:78:{i}::2"}, {"default": links["pod0"]})
        )
    return addresses


def _ipv6(links: dict[str, str], routes: dict[str, str]) -> None:
    for name, value in (("disable_ipv6", "0"), ("accept_dad", "0"), ("dad_transmits", "0"), ("forwarding", "1")):
        for scope in ("all", "default", *links):
            Path(f"/proc/sys/net/ipv6/conf/{scope}/{name}").write_text(value)
    with IPRoute() as link:
        for name, address in links.items():
            (index,) = link.link_lookup(ifname=name)
            link.addr("add", index=index, address=address, prefixlen=64)
        for target, gateway in routes.items():
            link.route("add", family=socket.AF_INET6, dst=target, gateway=gateway)
