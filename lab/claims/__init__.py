"""The ledger: what the post claims, in our words, and the rule that judges each claim from a summary alone.

The post: Thomas Graf, "How eBPF will solve Service Mesh - Goodbye Sidecars", Isovalent blog, 2021.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from lab.claims import footprint, growth, latency, order
from lab.claims.cases import SCENARIO
from lab.record import Verdict, Word
from lab.summary import Summary

POST = "https://isovalent.com/blog/post/2021-12-08-ebpf-servicemesh/"

Rule = Callable[[Summary], Verdict]


@dataclass(frozen=True)
class Claim:
    """A claim in our own words. `source`: a section of the post; `scenario`: what measures it, or empty.

    `lacks`, where no scenario does: why, and what would.
    """

    id: str
    statement: str
    source: str
    scenario: str
    rule: Rule
    lacks: str = ""

    @property
    def demands(self) -> str:
        """What the rule asks for, in a sentence: the first paragraph of its docstring, without the claim's number."""
        said = (inspect.getdoc(self.rule) or "").partition("\n\n")[0]
        return " ".join(said.removeprefix(f"{self.id}.").split())


def judge(summary: Summary) -> tuple[Verdict, ...]:
    """A verdict on every claim, in the ledger's order, from the summary and nothing else."""
    return tuple(claim.rule(summary) for claim in CLAIMS)


def _unmeasured(number: str) -> Rule:
    def rule(_: Summary) -> Verdict:
        """Nothing yet: no scenario measures it."""
        return Verdict(number, Word.NOT_MEASURABLE, "no scenario measures it yet", measured=False)

    return rule


def _open(number: str, statement: str, source: str, lacks: str) -> Claim:
    return Claim(number, statement, source, "", _unmeasured(number), lacks)


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "C1",
        "Putting sidecars in the path raises latency by up to three or four times",
        "The Cost of Sidecar Injection",
        SCENARIO,
        latency.sidecars_multiply,
    ),
    Claim(
        "C2",
        "At a steady 10,000 HTTP requests/s on fixed connections between two pods on two nodes, seeing HTTP by eBPF "
        "costs no significant mean latency",
        "eBPF-based L7 Tracing & Metrics without Sidecars",
        SCENARIO,
        latency.ebpf_costs_nothing,
    ),
    _open(
        "C3",
        "Which proxy it is hardly matters",
        "eBPF-based L7 Tracing & Metrics without Sidecars",
        "Every proxy among the arms is Envoy. It needs sidecars with nginx and HAProxy behind the same redirection, "
        "each with the features of the Envoy arm and no others, and a count of its own.",
    ),
    _open(
        "C4",
        "Almost none of the overhead is the proxy's own logic: it comes from injecting it, redirecting to it, "
        "ending connections and opening new ones",
        "eBPF-based L7 Tracing & Metrics without Sidecars",
        "The arms differ in several of these at once, so no difference between them has one cause. It needs one arm "
        "for each combination: bytes passed on, heads parsed, all filters; reached directly, by packet rules, at "
        "the socket; once and twice on the path.",
    ),
    Claim(
        "C5",
        "One connection of an application stays one with eBPF, becomes two with a proxy per node, three with sidecars",
        "Proxies per Connection",
        footprint.HOLD_SCENARIO,
        footprint.connections_multiply,
    ),
    Claim(
        "C6",
        "A proxy per node is worse than eBPF alone and better than sidecars",
        "Sidecar vs per-Node Proxy",
        SCENARIO,
        order.order_of_arms,
    ),
    Claim(
        "C7",
        "500 nodes of 30 pods hold 1.5 TB in sidecars of 70 MB each, and no more than 34 GB in proxies per node",
        "Total number of proxies required",
        footprint.FLEET_SCENARIO,
        footprint.fleet_memory,
    ),
    Claim(
        "C8",
        "Each proxy's memory grows with the cluster; partial tables help",
        "Total number of proxies required",
        growth.STUDY,
        growth.tables_grow,
    ),
    _open(
        "C9",
        "Injecting the proxy at the socket is shorter than redirecting packets",
        "eBPF Accelerated Per-Node Proxy",
        "The proxy of the node is reached by rewriting connect() only. It needs the same proxy behind REDIRECT, "
        "TPROXY and sockets joined by a sockmap, with everything else alike.",
    ),
    _open(
        "C10",
        "A node proxy with many tenants can be kept fair, with listeners as namespaces",
        "Sidecar vs per-Node Proxy",
        "Every client here is offered the same load. It needs two tenants behind one proxy, one steady and one that "
        "asks for more and more, with and without limits, and sidecars beside them.",
    ),
    _open(
        "C11",
        "The mesh is transparent: applications do not change",
        "What is Service Mesh?",
        "Every arm has the same client and server, unmodified; what an application could notice (addresses, headers, "
        "closing, errors, half-open connections) is not compared. It needs a suite of exchanges whose bytes must be "
        "the same in every arm, and the hashes of both programs in the run.",
    ),
    _open(
        "C12",
        "Proxies carry only some protocols",
        "What is Service Mesh?",
        "The engine speaks HTTP/1.1. It needs an exchange of TCP, UDP, HTTP/2, gRPC, WebSocket and of a server that "
        "speaks first through every arm: what each carries, and what it sees of it.",
    ),
    _open(
        "C13",
        "Service load balancing by iptables works at the network level only, and kube-proxy shows its limit",
        "Unlocking the Kernel Service Mesh with eBPF",
        "One service is resolved in every arm. It needs 10 to 10,000 of them, by DNAT and by rewriting connect(): "
        "the cost of setting up, of a connection and of a packet. `nox -s bench -- connect` times connect() by "
        "both, at one size.",
    ),
    _open(
        "C14",
        "The mesh offers L7 routing, canaries, retries, rate limits, circuit breaking, TLS, tracing, topology-aware "
        "routing and ingress",
        "Want to get Involved?",
        "It needs a test of each feature on each arm, and its price. Tracing, policy and balancing of the eBPF arms "
        "have prices (`mesh-lab run ebpf_features`); the proxies have none of these features switched on here.",
    ),
    _open(
        "C15",
        "What eBPF alone cannot do falls back to the proxy of the node",
        "eBPF Accelerated Per-Node Proxy",
        "No arm does both. It needs one that hands connections whose policy asks for it to the proxy of the node, "
        "and leaves the others in the kernel, measured at several shares of each.",
    ),
    _open(
        "C16",
        "Both ends authenticate each other by identities",
        "What is Service Mesh?",
        "No arm authenticates. It needs TLS with identities on both sides in the proxies, and a counterpart beside "
        "eBPF's policy, which knows who a pod is but proves it to nobody.",
    ),
)
