"""The processes of a node-level datapath that knows many endpoints: their memory and their BPF maps and programs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from lab import datapath
from lab.cluster import Cluster, Layout, Mesh, Node, Part, Pod, PodSpec, ProcessSpec
from lab.meter.memory import bpf_memory
from lab.meter.sockets import established
from lab.question import Case
from lab.record import Failed
from lab.study import ends
from lab.study.weight import weigh

ARM = "agent"
NODE = 1  # the server's: the datapath watches there
ELSEWHERE = "node9"


def observe(cluster: Cluster, case: Case) -> Iterator[tuple[str, float]]:
    """Memory of the server node's agent and what BPF holds, with `endpoints` more in the mesh."""
    found, count = datapath.find(case.subject), case.number("connections")

    def on_node(node: Node, mesh: Mesh) -> Sequence[tuple[str, ProcessSpec]]:
        wide = replace(mesh, pods=(*mesh.pods, *_others(case.number("endpoints"))))
        return [(ARM, spec) for spec in found.node_processes(node, wide)]

    pods = tuple(
        found.shape(PodSpec(name, number, ARM, name)) for number, name in enumerate((ends.CLIENT, ends.SERVER))
    )
    mesh = cluster.deploy(Layout(pods, (), on_node))
    server = cluster.run(ends.SERVER, ARM, ends.server())
    if count:
        cluster.run(ends.CLIENT, ARM, ends.client(mesh.pod(ends.SERVER).address, ends.PORT, count, "used"))
    time.sleep(0.5)
    agents = [p for p in cluster.processes if p.spec.part is Part.DATAPATH and p.where == f"node{NODE}" and p.pids()]
    if not agents:
        raise Failed(f"datapath {case.subject} runs nothing on the server's node; name one that does")
    yield from weigh(agents)
    held = bpf_memory(agents).values()
    yield "bpf_map_bytes", sum(m.memory_bytes for each in held for m in each.maps)
    yield "bpf_program_bytes", sum(p.memory_bytes for each in held for p in each.programs)
    yield "socket_storage_bytes", sum(s.memory.options for s in established(server.pids()[0]))


def facts(case: Case) -> Mapping[str, str]:  # noqa: ARG001 - every kind is asked
    """Nothing beyond the cluster's facts."""
    return {}


def _others(count: int) -> tuple[Pod, ...]:
    """Pods of other nodes: the agent must know their names, and nothing else of them is needed."""
    addresses = (f"10.{96 + n // 62_500}.{n % 62_500 // 250}.{n % 250 + 1}" for n in range(count))
    return tuple(Pod(f"other{n}", ELSEWHERE, ARM, f"s{n // 15}", a, None) for n, a in enumerate(addresses))
