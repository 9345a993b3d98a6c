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
    """A claim in our own words. `source`: a section of the post; `scenario`: what measures it, or empty."""

    id: str
    statement: str
    source: str
    scenario: str
    rule: Rule

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


def _open(number: str, statement: str, source: str) -> Claim:
    return Claim(number, statement, source, "", _unmeasured(number))


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
    _open("C3", "Which proxy it is hardly matters", "eBPF-based L7 Tracing & Metrics without Sidecars"),
    _open(
        "C4",
        "Almost none of the overhead is the proxy's own logic: it comes from injecting it, redirecting to it, ending "
        "connections and opening new ones",
        "eBPF-based L7 Tracing & Metrics without Sidecars",
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
        "C9", "Injecting the proxy at the socket is shorter than redirecting packets", "eBPF Accelerated Per-Node Proxy"
    ),
    _open(
        "C10",
        "A node proxy with many tenants can be kept fair, with listeners as namespaces",
        "Sidecar vs per-Node Proxy",
    ),
    _open("C11", "The mesh is transparent: applications do not change", "What is Service Mesh?"),
    _open("C12", "Proxies carry only some protocols", "What is Service Mesh?"),
    _open(
        "C13",
        "Service load balancing by iptables works at the network level only, and kube-proxy shows its limit",
        "Unlocking the Kernel Service Mesh with eBPF",
    ),
    _open(
        "C14",
        "The mesh offers L7 routing, canaries, retries, rate limits, circuit breaking, TLS, tracing, topology-aware "
        "routing and ingress",
        "Want to get Involved?",
    ),
    _open("C15", "What eBPF alone cannot do falls back to the proxy of the node", "eBPF Accelerated Per-Node Proxy"),
    _open("C16", "Both ends authenticate each other by identities", "What is Service Mesh?"),
)
