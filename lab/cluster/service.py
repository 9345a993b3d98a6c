"""Service addresses as kube-proxy makes them: destination NAT in each node's namespace, for its pods and for itself."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

from lab.cluster import Service
from lab.cluster.netns import Namespace
from lab.record import CannotRun, Failed

_TABLE: dict[str, Any] = {"family": "ip", "table": "services"}


def address(number: int) -> str:
    """Of the number-th service of a deployment, from 0."""
    return f"10.79.{(number + 1) // 256}.{(number + 1) % 256}"


def install(node: Namespace, services: Sequence[Service]) -> None:
    """Replace nothing, add everything: called once for each node of a deployment."""
    nft = shutil.which("nft")
    if nft is None:
        raise CannotRun("nft is missing; install it with: apt-get install nftables")
    text = json.dumps(ruleset(services))
    done = node.inside(
        lambda: subprocess.run([nft, "-j", "-f", "-"], input=text, capture_output=True, text=True, check=False)
    )
    if done.returncode:
        raise Failed(f"nft refused the service rules: {done.stderr.strip() or done.stdout.strip()}")


def ruleset(services: Sequence[Service]) -> dict[str, Any]:
    """As `nft -j` reads it (libnftables-json(5)). A new connection goes to a random endpoint; conntrack keeps it."""
    made: list[dict[str, Any]] = [
        {"table": {"family": "ip", "name": "services"}},
        {"chain": _TABLE | {"name": "services"}},
        *(_hook(hook) for hook in ("prerouting", "output")),
        *({"rule": _TABLE | {"chain": "services", "expr": _rule(s)}} for s in services if s.endpoints),
        *(
            {"rule": _TABLE | {"chain": hook, "expr": [{"jump": {"target": "services"}}]}}
            for hook in ("prerouting", "output")
        ),
    ]
    return {"nftables": [{"add": each} for each in made]}


def _hook(hook: str) -> dict[str, Any]:
    return {"chain": _TABLE | {"name": hook, "type": "nat", "hook": hook, "prio": -100, "policy": "accept"}}


def _rule(service: Service) -> list[dict[str, Any]]:
    return [
        _equal("ip", "daddr", service.address),
        _equal("tcp", "dport", service.port),
        {"dnat": {"addr": _endpoint(service.endpoints), "port": service.port}},
    ]


def _equal(protocol: str, name: str, value: str | int) -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"payload": {"protocol": protocol, "field": name}}, "right": value}}


def _endpoint(endpoints: Sequence[str]) -> str | dict[str, Any]:
    if len(endpoints) == 1:
        return endpoints[0]
    key = {"numgen": {"mode": "random", "mod": len(endpoints), "offset": 0}}
    return {"map": {"key": key, "data": {"set": [[n, each] for n, each in enumerate(endpoints)]}}}
