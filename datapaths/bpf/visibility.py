"""The part `http`: HTTP/1.x requests of the node's pods, counted in the kernel and named as OpenTelemetry names them.

https://opentelemetry.io/docs/specs/semconv/http/http-metrics/ says which labels a metric of a server has; `source` and
`destination`, the identities of both ends, are what a mesh adds.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from datapaths.bpf.http import BOUNDS_S, METRIC_BYTES, OTHER, HttpWatch, Series
from datapaths.bpf.map import processors
from datapaths.bpf.openmetrics import Family, Histogram, Labels, counters
from datapaths.bpf.part import Told
from datapaths.bpf.sampling import Sampling
from lab.record import Mistake

KEYS_A_ROUTE = 4
"""Methods and statuses that a pair of identities is expected to show on one route; more go to `other`."""
FEWEST_KEYS = 512
MOST_BYTES = 16 << 20
"""Of the map of keys, on all processors together."""

HELPS = {
    "requests": "Request heads read to the end.",
    "answered": "Final answers read to the end.",
    "unanswered": "Requests whose connection closed before the end of the answer.",
    "not_http": "Connections given up because a request or an answer was not HTTP/1.x.",
    "holes": "Connections given up because bytes of a head were never seen in order.",
    "untold": "Requests beyond what one connection may have waiting.",
    "upgraded": "Connections that became something else after 101 or CONNECT.",
    "no_room": "Answers counted under other because the map of keys was full.",
    "connections": "Connections watched.",
    "unwatched": "Connections for which the kernel gave no memory.",
    "not_understood": "Connections given up or never watched.",
}


class Visibility:
    """Watches the servers' side, or with `{"http": {"side": "client"}}` the clients'. Its maps fit the topology."""

    def __init__(self, told: Told, pins: Path | None) -> None:
        given = told.get("http", {})
        self._patterns = tuple(told.get("routes", ()))
        self._watch = HttpWatch(
            _cgroups(told),
            told.get("identities", {}),
            given.get("side", "server"),
            given.get("keys") or keys(told),
            given.get("paths", 1024 if not self._patterns else 1),
            self._patterns,
            pins,
            self._sampling(told),
        )

    def _sampling(self, told: Told) -> Sampling | None:
        return None  # tracing.py overrides it

    def update(self, told: Told) -> None:
        """Follow pods and identities that came or went. Routes stay as they are for as long as the agent runs."""
        self._watch.update(_cgroups(told), told.get("identities", {}))
        if tuple(told.get("routes", ())) != self._patterns:
            raise Mistake("the route patterns have changed; restart the agent, which with --pins loses nothing")

    def totals(self) -> dict[str, int]:
        return self._watch.totals() | {"not_understood": self._watch.not_understood()}

    def families(self) -> Iterable[Family]:
        series = list(self._watch.series())
        yield Family(
            "http_server_request_duration_seconds",
            "histogram",
            "Duration of HTTP server requests: first byte of the request to last byte of the answer.",
            [(labels(s), Histogram(BOUNDS_S, s.buckets, s.duration_s)) for s in series],
            "seconds",
        )
        yield Family(
            "http_server_response_body_size_bytes",
            "histogram",
            "Size of HTTP server response bodies, as far as sent; the sum and the number are kept, no sizes apart.",
            [(labels(s), Histogram((), (s.count,), s.response_bytes)) for s in series],
            "bytes",
        )
        yield from counters("mesh_http", Visibility.totals(self), HELPS)
        yield Family(
            "mesh_http_coverage_ratio",
            "gauge",
            "Requests understood in requests seen; a connection given up or not watched counts as one not understood.",
            [({}, self._watch.coverage())],
            "ratio",
        )

    def close(self) -> None:
        self._watch.close()


def keys(told: Told) -> int:
    """Room for (source, destination, route, method, status) together.

    (identities + 1 for unknown addresses) x (identities of the node's own pods that serve) x (routes + 1 for other) x
    `KEYS_A_ROUTE`; at least `FEWEST_KEYS`, and at most what fits into `MOST_BYTES`, but for `FEWEST_KEYS`. Beyond,
    requests are counted under `other`, and how many.
    """
    names: dict[str, str] = told.get("identities", {})
    addresses = {e["address"] for s in told.get("services", ()) for e in s.get("endpoints", ())}
    served = {names[a] for a in addresses.intersection(told.get("local", addresses)) if a in names}
    routes = len(told.get("routes", ())) + 1
    wanted = (len(set(names.values())) + 1) * max(len(served), 1) * routes * KEYS_A_ROUTE
    return max(min(wanted, MOST_BYTES // (METRIC_BYTES * processors())), FEWEST_KEYS)


def labels(series: Series) -> Labels:
    """By the conventions: no route where no pattern was matched, `error.type` of an answer that is a server's error."""
    found = {
        "source": series.source,
        "destination": series.destination,
        "http_request_method": series.method,
        "http_route": series.route,
        "http_response_status_code": str(series.status),
        "url_scheme": "http",
    }
    if series.status >= 500:
        found["error_type"] = str(series.status)
    if series.source == OTHER:
        found |= {"http_response_status_code": series.status_class, "otel_metric_overflow": "true"}
    if series.route == OTHER:
        del found["http_route"]
    return found


def _cgroups(told: Told) -> list[Path]:
    return [Path(cgroup) for cgroup in told.get("cgroups", ())]
