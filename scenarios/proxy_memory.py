"""What memory does a proxy hold for each cluster, endpoint, route, listener, worker, TLS context and connection?

Up to the tables of a cluster of 500 nodes with 30 pods each: 15,000 endpoints behind 1,000 services, measured at that
size. Envoy is given them in its bootstrap (`static`) and by a control plane over xDS (`dynamic`). Memory is at rest;
`dirty` is what a process has written to (Private_Dirty): no other process can share it. CPU and time of updates are of
this machine, and noisier than memory.
"""

from lab.question import Amount, Case, Law, Study
from lab.record import Need

CLUSTERS, ENDPOINTS = 1000, 15_000  # services and endpoints of 500 nodes with 30 pods each


def _case(kind: str, subject: str, **parameters: int | str) -> Case:
    shown = (f"{k}{v}" if isinstance(v, int) else str(v) for k, v in parameters.items() if v != "")
    return Case("-".join((kind, subject, *shown)).replace("+", "-"), kind, subject, parameters)


def _table(subject: str, **parameters: int | str) -> Case:
    return _case("table", subject, **{"delivery": "static", "workers": 1, **parameters})


def _held(subject: str, connections: int, how: str, **parameters: int) -> Case:
    return _case(
        "held", subject, connections=connections, how=how, ends=1 if how.startswith("idle") else 2, **parameters
    )


def _push(update: str, resources: int) -> Case:
    size = {"clusters": CLUSTERS, "endpoints": ENDPOINTS, "routes": 1000, "listeners": 20, "workers": 2}
    return _case("push", "envoy", delivery="dynamic", update=update, resources=resources, times=3, **size)


def _static(*, sizes: tuple[int, ...], delivery: str = "static") -> tuple[Case, ...]:
    """One parameter at a time, then all of them together: a law that holds must hold there, too."""

    def case(**parameters: int) -> Case:
        return _table("envoy", delivery=delivery, **parameters)

    return (
        case(),
        *(case(clusters=n, endpoints=n) for n in sizes),
        *(case(clusters=10, endpoints=15 * n) for n in sizes),
        *(case(routes=n) for n in sizes),
        *(case(listeners=n // 5) for n in sizes),
        *(case(workers=n) for n in (2, 4, 8)),
        *(case(clusters=n, endpoints=n, workers=4) for n in sizes[-2:]),
        *(case(clusters=n, endpoints=n, tls=n) for n in sizes[:2]),
        case(clusters=CLUSTERS, endpoints=ENDPOINTS, routes=CLUSTERS, workers=2),
    )


def _plain(subject: str, sizes: tuple[int, ...]) -> tuple[Case, ...]:
    return (
        _table(subject),
        *(_table(subject, clusters=n, endpoints=n) for n in sizes),
        *(_table(subject, clusters=10, endpoints=15 * n) for n in sizes),
        *(_table(subject, clusters=10, endpoints=10, routes=n) for n in sizes),
        *(_table(subject, workers=n) for n in (2, 4)),
    )


def _crowd(*counts: int) -> tuple[Case, ...]:
    return tuple(_case("crowd", "envoy", proxies=n) for n in counts)


def _connections(subject: str, counts: tuple[int, ...]) -> tuple[Case, ...]:
    plain = [_held(subject, n, how) for how in ("idle", "active") for n in (0, *counts)]
    if "used" not in USES[subject]:
        return tuple(plain)
    used = [_held(subject, n, "used") for n in (0, *counts)]
    return (*plain, *used, *(_held(subject, n, "used+tls", secure=1) for n in (0, *(c // 2 for c in counts))))


TERMS = {
    "base": "1",
    "cluster": "clusters",
    "endpoint": "endpoints",
    "route": "routes",
    "listener": "listeners",
    "worker": "workers",
    "worker_cluster": "workers*clusters",
    "tls_context": "tls",
}
FEW = {name: words for name, words in TERMS.items() if name not in ("worker_cluster", "tls_context", "listener")}
HELD = {"base": "1", "connection": "connections"}
USES = {  # the others do not keep a connection upstream between requests, as they are set up here
    "envoy": ("idle", "used", "active", "used+tls"),
    "nginx": ("idle", "active"),
    "haproxy": ("idle", "active"),
}
METRICS = ("dirty_bytes", "pss_bytes", "allocated_bytes")


def _laws() -> tuple[Law, ...]:
    own = [
        Law(
            f"envoy_{delivery}_{metric.removesuffix('_bytes')}",
            "table",
            "envoy",
            metric,
            "bytes",
            TERMS,
            {"delivery": delivery},
        )
        for delivery in ("static", "dynamic")
        for metric in METRICS
    ]
    others = [
        Law(f"{subject}_{metric.removesuffix('_bytes')}", "table", subject, metric, "bytes", FEW, {})
        for subject in ("nginx", "haproxy")
        for metric in METRICS[:2]
    ]
    held = [
        Law(f"{subject}_{how.replace('+', '_')}", "held", subject, "dirty_bytes", "bytes", HELD, {"how": how})
        for subject, hows in USES.items()
        for how in hows
    ]
    crowd = [
        Law(
            f"crowd_{metric.removesuffix('_bytes')}",
            "crowd",
            "envoy",
            metric,
            "bytes",
            {"shared": "1", "proxy": "proxies"},
            {},
        )
        for metric in ("pss_bytes", "dirty_bytes", "rss_bytes")  # private: a lone one's program text is its own
    ]
    pushed = [
        Law(
            f"push_{update}_{metric}",
            "push",
            "envoy",
            metric,
            unit,
            {"fixed": "1", "resource": "resources"},
            {"update": update},
        )
        for update in ("endpoints", "clusters")
        for metric, unit in (("update_bytes", "bytes"), ("update_cpu_s", "s"), ("applied_s", "s"))
    ]
    return (*own, *others, *held, *crowd, *pushed)


PUSHES = (*(_push("endpoints", n) for n in (1, 10, 100, 1000)), *(_push("clusters", n) for n in (1, 100, 1000)))

STUDY = Study(
    name="proxy_memory",
    question="What memory does a proxy hold for each cluster, endpoint, route, listener, worker and connection?",
    claims=("C7", "C8"),
    needs=frozenset({Need.ENVOY, Need.ENVOY_API, Need.HAPROXY}),
    laws=_laws(),
    profiles={
        "smoke": Amount(
            1,
            (
                *(_table("envoy", clusters=n, endpoints=n) for n in (0, 50, 200)),
                _table("envoy", clusters=10, endpoints=300),
                _table("envoy", clusters=20, endpoints=100, delivery="dynamic"),
                *_crowd(1, 3),
                _held("envoy", 100, "used"),
            ),
        ),
        "quick": Amount(
            3,
            (
                *_static(sizes=(100, 300, 1000)),
                *_static(sizes=(100, 1000), delivery="dynamic"),
                *_plain("nginx", (100, 1000)),
                *_plain("haproxy", (100, 1000)),
                *_connections("envoy", (500, 2000)),
                *_connections("nginx", (500, 2000)),
                *_connections("haproxy", (500, 2000)),
                *_crowd(1, 2, 5, 10, 30, 100, 200),
                *PUSHES,
            ),
        ),
        "full": Amount(
            10,
            (
                *_static(sizes=(30, 100, 300, 600, 1000)),
                *_static(sizes=(30, 100, 300, 600, 1000), delivery="dynamic"),
                *_plain("nginx", (100, 300, 1000)),
                *_plain("haproxy", (100, 300, 1000)),
                *_connections("envoy", (200, 1000, 4000)),
                *_connections("nginx", (200, 1000, 4000)),
                *_connections("haproxy", (200, 1000, 3000)),
                *_crowd(1, 2, 5, 10, 30, 60, 100, 150, 200, 250),
                *PUSHES,
            ),
        ),
    },
)
