"""The rules for claims of what is held: C5 (connections and their sockets), C7 (the memory of 15,000 proxies)."""

from __future__ import annotations

from fractions import Fraction

from lab.claims import words
from lab.record import Verdict, Word
from lab.summary import Memory, Summary

HOLD_SCENARIO = "connections"
POST_CONNECTIONS = {"ebpf": 1, "pernode": 2, "sidecar": 3}

FLEET_SCENARIO = "proxies_15k"
NODES = 500
PODS_PER_NODE = 30
PROXIES = NODES * PODS_PER_NODE
MB, MIB = 10**6, 2**20
POST_MEGABYTES = 70
POST_SIDECARS_BYTES = 15 * 10**11  # 1.5 TB, as printed
POST_LEAST_BYTES = 145 * 10**10  # what rounds to 1.5 TB
POST_NODES_BYTES = 34 * 2**30  # 34 GB as printed; its own inputs make 34.2 GiB, so GiB are meant
NEAR = 0.01  # of a count: a socket that was caught opening or closing
POOLING = "each proxy opens one connection upstream for each one downstream, as configured here; pools make it fewer"


def connections_multiply(summary: Summary) -> Verdict:
    """C5. Each connection of the application is 1 on its whole path with eBPF, 2 per node, 3 with sidecars (±1 %).

    Counted in every namespace on the path.
    """
    seen = [s for s in summary.sockets if s.scenario == HOLD_SCENARIO and s.datapath in POST_CONNECTIONS]
    evidence = tuple(words.sockets(s) for s in summary.sockets if s.scenario == HOLD_SCENARIO)
    missing = sorted(set(POST_CONNECTIONS) - {s.datapath for s in seen})
    off = [s for s in seen if abs(s.observed_per_connection / POST_CONNECTIONS[s.datapath] - 1) > NEAR]
    if off:
        because = "; ".join(f"{s.arm} has {s.observed_per_connection:g} with {s.connections}" for s in off)
        return Verdict("C5", Word.DOES_NOT_HOLD, f"connections for each of the application's: {because}", evidence)
    if missing:
        because = f"sockets of {', '.join(missing)} were not counted; measure them with: mesh-lab run {HOLD_SCENARIO}"
        return Verdict("C5", Word.UNDECIDED, because, evidence, measured=False)
    because = "one connection of the application is 1 with eBPF, 2 with a proxy per node, 3 with sidecars"
    return Verdict("C5", Word.HOLDS, because, evidence, (POOLING, *_socket_memory(summary)))


def _socket_memory(summary: Summary) -> tuple[str, ...]:
    """Does the memory of sockets multiply with their number? At the most connections that were held."""
    held = [s for s in summary.sockets if s.scenario == HOLD_SCENARIO]
    most = max((s.connections for s in held), default=0)
    sizes = {s.arm: s.memory_bytes_per_connection for s in held if s.connections == most}
    one, three = sizes.get("ebpf", 0.0), sizes.get("sidecar", 0.0)
    if not one or not three:
        return ()
    return (f"socket memory is {three / one:.2f} times eBPF's with sidecars, while {most} connections were held",)


def arithmetic() -> tuple[str, ...]:
    """The post's multiplication done again in whole bytes, for MB and for MiB."""
    lines = [
        f"{count:,} × {POST_MEGABYTES} {unit} = {words.size(count * POST_MEGABYTES * size)}"
        for count in (PROXIES, NODES)
        for unit, size in (("MB", MB), ("MiB", MIB))
    ]
    each = Fraction(POST_SIDECARS_BYTES, PROXIES)
    return (*lines, f"1.5 TB would need {words.size(each)} for each of {PROXIES:,} proxies")


def fleet_memory(summary: Summary) -> Verdict:
    """C7. As measured, 15,000 sidecars hold 1.5 TB even with shared pages once a node; 500 node proxies 34 GB at most.

    The post's own multiplication is done again beside it. Holds if: only with shared pages counted for every process.
    """
    evidence = arithmetic()
    sidecar = _measured(summary, "sidecar")
    pernode = _measured(summary, "pernode")
    if sidecar is None or pernode is None:
        because = f"no footprint was measured; measure it with: mesh-lab run {FLEET_SCENARIO}"
        return Verdict("C7", Word.UNDECIDED, because, evidence, measured=False)
    agent = _measured(summary, "ebpf")
    evidence += (*_fleet(sidecar, PROXIES), *_fleet(pernode, NODES), *(_fleet(agent, NODES) if agent else ()))
    pss = {"sidecar": PROXIES * _each(sidecar, "pss"), "pernode": NODES * _each(pernode, "pss")}
    times = f"sidecars hold {float(pss['sidecar'] / pss['pernode']):.1f} times what node proxies hold, by PSS"
    low, high = _shared_once(sidecar), PROXIES * _each(sidecar, "rss")
    measured = f"measured here, {PROXIES:,} sidecars hold {words.size(low)} to {words.size(high)}"
    slip = f"{PROXIES:,} × {POST_MEGABYTES} MB is {words.size(PROXIES * POST_MEGABYTES * MB)}, not 1.5 TB"
    if low >= POST_LEAST_BYTES and pss["pernode"] <= POST_NODES_BYTES:
        return Verdict("C7", Word.HOLDS, f"{measured}, as much as the post says, though {slip}", evidence, (times,))
    if high >= POST_LEAST_BYTES:
        conditions = ("shared pages are counted once for every process (RSS)", times)
        return Verdict("C7", Word.HOLDS_IF, f"{measured}; and {slip}", evidence, conditions)
    return Verdict("C7", Word.DOES_NOT_HOLD, f"{slip}; {measured}", evidence, (f"what remains: {times}",))


def _measured(summary: Summary, arm: str) -> Memory | None:
    found = [m for m in summary.memories if m.scenario == FLEET_SCENARIO and m.arm == arm and m.part == "datapath"]
    return found[0] if found else None


def _each(m: Memory, kind: str) -> int:
    """Bytes in one pod or node, BPF memory included, whole."""
    return round((float(getattr(m, f"{kind}_bytes")) + m.bpf_bytes) / m.places)


def _shared_once(sidecar: Memory) -> int:
    """The least a fleet can hold: private memory of every sidecar, and what they share once a node."""
    private, resident = _each(sidecar, "private"), _each(sidecar, "rss")
    return NODES * (PODS_PER_NODE * private + (resident - private))


def _fleet(m: Memory, count: int) -> tuple[str, ...]:
    kinds = (("PSS", "pss"), ("private memory", "private"), ("RSS", "rss"))
    lines = [
        f"{m.arm}, {name}: {count:,} × {words.size(_each(m, k))} = {words.size(count * _each(m, k))}"
        for name, k in kinds
    ]
    if count == PROXIES:
        lines.append(
            f"{m.arm}, private memory of {count:,} and shared pages once a node: {words.size(_shared_once(m))}"
        )
    return tuple(lines)
