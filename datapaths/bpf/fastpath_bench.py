"""How much two pods of one node get through: `python -m datapaths.bpf.fastpath_bench [--rounds 10] [--seconds 2]`.

No mesh, visibility, and the fast path stand side by side; h2load asks each in turn as fast as it can, in a new random
order each round, for a small answer and for one of 100 KB. One JSON object on stdout: requests per second and CPU
seconds of client and server together per request, and the ratios to `none` round by round: median, least and most. It
needs root, nginx and h2load.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from datapaths.bpf import target
from lab import datapath
from lab.cluster import Layout, Mesh, Node, Part, PodSpec, Process, ProcessSpec, ServiceSpec
from lab.cluster.local import LocalCluster
from lab.record import Failed

ARMS = ("none", "ebpf", "ebpf_fastpath")
PATHS = ("/small", "/large")
_CONNECTIONS, _LARGE = 32, 100_000
_PAGES = "location /small { return 200 hello; } location /large { root {dir}; }"
Round = dict[str, float]


def main() -> int:
    """Measure and print."""
    asked = _parser().parse_args()
    rounds: dict[str, dict[str, list[Round]]] = {path: {arm: [] for arm in ARMS} for path in PATHS}
    dice = random.Random(asked.seed)  # noqa: S311 - an order of trials is no secret
    with (
        tempfile.TemporaryDirectory() as state,
        LocalCluster(f"splice-{os.getpid()}", nodes=1, state=Path(state)) as cluster,
    ):
        cluster.deploy(_layout())
        for _ in range(asked.rounds):
            for path in PATHS:
                for arm in dice.sample(ARMS, len(ARMS)):
                    rounds[path][arm].append(_loaded(cluster, arm, path, asked.seconds))
    found = {path: {arm: _beside(each[arm], each[ARMS[0]]) for arm in ARMS} for path, each in rounds.items()}
    print(json.dumps({"connections": _CONNECTIONS, "seconds": asked.seconds, "found": found}, indent=1))
    return 0


def _beside(own: Sequence[Round], base: Sequence[Round]) -> dict[str, dict[str, float]]:
    return {
        name: {"median": statistics.median(values), "least": min(values), "most": max(values)}
        for metric in own[0]
        for name, values in (
            (metric, [one[metric] for one in own]),
            (f"{metric}_ratio", [a[metric] / b[metric] for a, b in zip(own, base, strict=True)]),
        )
    }


def _loaded(cluster: LocalCluster, arm: str, path: str, seconds: float) -> Round:
    server = next(p for p in cluster.processes if p.where == _server(arm) and p.spec.name == "nginx")
    before = _cpu_s(server)
    url = f"http://{cluster.mesh.service(_server(arm)).address}:{target.PORT}{path}"
    argv = ("h2load", "--h1", "-c", str(_CONNECTIONS), "-D", f"{seconds:g}", url)
    client = cluster.run(_client(arm), arm, ProcessSpec("h2load", argv, Part.LOAD))
    if code := client.wait(seconds + 20):
        raise Failed(f"h2load of {arm} ended with exit code {code}")
    told = client.read("stdout").decode()
    done, failed = (int(re.search(rf"(\d+) {word}", told)[1]) for word in ("succeeded", "failed"))  # type: ignore[index]
    if failed or not done:
        raise Failed(f"{arm}: {done} requests succeeded and {failed} failed")
    return {"rate_per_s": done / seconds, "cpu_s_per_request": (_cpu_s(server) - before + _cpu_s(client)) / done}


def _cpu_s(process: Process) -> float:
    """Of its cgroup, to the microsecond."""
    if process.cgroup is None:
        raise Failed(f"the cgroup of {process.spec.name} is not known")
    words = (process.cgroup / "cpu.stat").read_text().split()
    return int(words[words.index("usage_usec") + 1]) / 1e6


def _layout() -> Layout:
    nginx = target.nginx(_PAGES, {"large": "x" * _LARGE})
    found = {arm: datapath.find(arm) for arm in ARMS}
    pods = [PodSpec(_client(arm), 0, arm, "client") for arm in ARMS]
    pods += [PodSpec(_server(arm), 0, arm, "server", (nginx,)) for arm in ARMS]

    def on_node(node: Node, mesh: Mesh) -> Sequence[tuple[str, ProcessSpec]]:
        return [(arm, spec) for arm, one in found.items() for spec in one.node_processes(node, mesh.only(arm))]

    services = tuple(ServiceSpec(_server(arm), arm, target.PORT, (_server(arm),)) for arm in ARMS)
    return Layout(tuple(found[pod.arm].shape(pod) for pod in pods), services, on_node)


def _client(arm: str) -> str:
    return f"{arm}-client"


def _server(arm: str) -> str:
    return f"{arm}-server"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m datapaths.bpf.fastpath_bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=2.0, help="of load in each")
    parser.add_argument("--seed", type=int, default=1, help="of the order in each round")
    return parser


if __name__ == "__main__":
    sys.exit(main())
