"""What does the kernel hold for each TCP socket, each tracked connection, each connection that an eBPF agent watches?

Slab figures are of the whole machine (`/proc/slabinfo`), so a quiet machine measures better; many connections and
several repeats keep what others do small beside them.
"""

from lab.question import Amount, Case, Law, Study
from lab.record import Need


def _sockets(count: int, how: str, tracked: int = 0) -> Case:
    parameters: dict[str, int | str] = {
        "connections": count,
        "how": how,
        "tracked": tracked,
        "sockets": 2 * count,
        "entries": 2 * count * tracked,
    }
    return Case(f"sockets-{how}-{count}-{'tracked' if tracked else 'free'}", "sockets", "kernel", parameters)


def _agent(endpoints: int, connections: int) -> Case:
    return Case(
        f"agent-e{endpoints}-c{connections}", "agent", "ebpf", {"endpoints": endpoints, "connections": connections}
    )


def _held(*counts: int) -> tuple[Case, ...]:
    return tuple(
        Case(
            f"held-envoy-{how}-{n}", "held", "envoy", {"connections": n, "how": how, "ends": 1 if how == "idle" else 2}
        )
        for how in ("idle", "used", "active")
        for n in counts
    )


SOCKET, ENTRY = {"base": "1", "socket": "sockets"}, {"base": "1", "entry": "entries"}
AGENT = {"base": "1", "endpoint": "endpoints", "connection": "connections"}


def _laws() -> tuple[Law, ...]:
    structures = [
        Law(f"socket_{how}", "sockets", "kernel", "socket_slab_bytes", "bytes", SOCKET, {"how": how, "tracked": 0})
        for how in ("idle", "used")
    ]
    buffers = [
        Law(f"buffer_{how}", "sockets", "kernel", "buffer_bytes", "bytes", SOCKET, {"how": how, "tracked": 0})
        for how in ("idle", "used", "stuffed")
    ]
    tracking = [
        Law("conntrack", "sockets", "kernel", "tracking_slab_bytes", "bytes", ENTRY, {"how": "idle", "tracked": 1}),
        Law("conntrack_count", "sockets", "kernel", "tracked_entries", "entries", ENTRY, {"how": "idle", "tracked": 1}),
    ]
    agent = [
        Law(f"ebpf_{metric.removesuffix('_bytes')}", "agent", "ebpf", metric, "bytes", AGENT, {})
        for metric in ("dirty_bytes", "pss_bytes", "bpf_map_bytes", "bpf_program_bytes", "socket_storage_bytes")
    ]
    held = [
        Law(
            f"through_envoy_{how}",
            "held",
            "envoy",
            "dirty_bytes",
            "bytes",
            {"base": "1", "connection": "connections"},
            {"how": how},
        )
        for how in ("idle", "used", "active")
    ]
    return (*structures, *buffers, *tracking, *agent, *held)


def _cases(counts: tuple[int, ...], endpoints: tuple[int, ...], watched: tuple[int, ...]) -> tuple[Case, ...]:
    return (
        *(_sockets(n, how) for how in ("idle", "used") for n in (0, *counts)),
        *(_sockets(n // 4, "stuffed") for n in (0, *counts)),
        *(_sockets(n, "idle", 1) for n in (0, *counts)),
        _agent(0, 0),
        *(_agent(n, 0) for n in endpoints),
        *(_agent(0, n) for n in watched),
    )


STUDY = Study(
    name="socket_memory",
    question="What does the kernel hold for each socket, tracked connection and connection watched by eBPF?",
    claims=("C5", "C7"),
    needs=frozenset({Need.ENVOY, Need.LIBBPF, Need.BPF_CGROUP_SKB, Need.BPF_SOCK_OPS, Need.BPF_SK_STORAGE}),
    laws=_laws(),
    profiles={
        "smoke": Amount(1, _cases((500, 1000), (1000,), (200,))),
        "quick": Amount(3, (*_cases((1000, 2000, 4000), (1000, 5000, 15_000), (500, 2000)), *_held(0, 500, 2000))),
        "full": Amount(
            10, (*_cases((1000, 2000, 4000, 8000), (1000, 5000, 15_000), (500, 2000, 4000)), *_held(0, 500, 2000, 4000))
        ),
    },
)
