"""Envoy with a table of any size, read from its bootstrap or delivered by a control plane over xDS.

Both deliveries are made from the same resources, so they hold the same clusters, endpoints, routes and listeners. The
clusters are as plain as Envoy allows (no metadata, outlier detection or access log): a mesh product's are larger.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from datapaths.proxy import envoy
from lab import compile
from lab.cluster import Cluster, Http, Line, Part, ProcessSpec
from lab.subject import Proxy, Table

PORT, CONTROL, FIRST_LISTENER = 15001, 18000, 20000
SERVED = 8080
VHOSTS = "table"  # the route configuration that holds the table's routes
_TYPE = "type.googleapis.com/envoy.extensions."
_EXPLICIT = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_ADS = {"ads": {}, "resource_api_version": "V3"}

Json = dict[str, Any]


class Envoy(Proxy):
    """Envoy, with its own statistics and administration as it ships."""

    port = PORT
    tables = frozenset({"clusters", "endpoints", "routes", "listeners", "workers", "tls"})

    def processes(self, table: Table) -> tuple[ProcessSpec, ...]:
        proxy = ProcessSpec(
            name="envoy",
            argv=(
                *(str(envoy.binary()), "-c", "{dir}/envoy.json", "--concurrency", str(table.workers)),
                *("--disable-hot-restart", "-l", "warn"),
            ),
            part=Part.DATAPATH,
            files={"envoy.json": _text(bootstrap(table))},
            user=envoy.UID,
            ready=Http(envoy.ADMIN, "/ready"),
        )
        return (proxy,) if table.delivery == "static" else (control(table), proxy)

    def version(self) -> str:
        return envoy.version()

    def allocated(self, cluster: Cluster, where: str) -> Mapping[str, float]:
        """tcmalloc's view: `allocated` is in use, `heap_size` is what it keeps from the kernel."""
        told = json.loads(cluster.fetch(where, envoy.ADMIN, "/memory"))
        return {"allocated_bytes": float(told["allocated"]), "heap_bytes": float(told["heap_size"])}

    def holds(self, cluster: Cluster, where: str) -> Mapping[str, int]:
        """The table's clusters, endpoints and listeners that are active, from Envoy's statistics."""
        pattern = r"(^cluster\.c[0-9]+\.membership_total$|^listener_manager\.total_listeners_active$)"
        found = envoy.counters(cluster, where, envoy.ADMIN, pattern)
        members = [count for name, count in found.items() if name.startswith("cluster.")]
        listeners = found["listener_manager.total_listeners_active"] - 1
        return {"clusters": len(members), "endpoints": sum(members), "listeners": listeners}


def control(table: Table) -> ProcessSpec:
    """The control plane of one proxy: it serves the table over gRPC, and pushes as it is told on its input."""
    return ProcessSpec(
        name="control",
        argv=(sys.executable, "-m", "datapaths.proxy.xds", "--port", str(CONTROL), "{dir}/resources.json"),
        part=Part.INSTRUMENT,
        files={"resources.json": _served(table)},
        env={"PYTHONPATH": str(compile.ROOT), "GRPC_ENABLE_FORK_SUPPORT": "0"},
        ready=Line("ready"),
    )


@cache
def _served(table: Table) -> str:
    """The resources, and the same encoded: that takes seconds for a large table and is done once, not at each start."""
    from datapaths.proxy.xds.resources import frozen  # noqa: PLC0415 - a static table needs no protobuf

    told = resources(table)
    return _text({"resources": told, "encoded": frozen(told)})


def bootstrap(table: Table) -> Json:
    """`envoy.config.bootstrap.v3.Bootstrap`: the whole table, or only where to ask for it."""
    frame: Json = {
        "node": {"id": "table", "cluster": "table"},
        "admin": {"address": address("127.0.0.1", envoy.ADMIN)},
    }
    if table.delivery == "static":
        inline = {r["name"]: r for r in _routes(table)}
        return frame | {
            "static_resources": {
                "clusters": [*_upstream(table), *(c | _inline(c["name"], n) for c, n in _clusters(table, {}))],
                "listeners": _listeners(table, lambda name: {"route_config": inline[name]}),
            }
        }
    grpc = [{"envoy_grpc": {"cluster_name": "control"}}]
    return frame | {
        "static_resources": {"clusters": [_control_cluster(), *_upstream(table)]},
        "dynamic_resources": {
            "ads_config": {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": grpc},
            "cds_config": _ADS,
            "lds_config": _ADS,
        },
    }


def resources(table: Table) -> Json:
    """What the control plane serves, by kind."""
    sized = _clusters(table, {"type": "EDS", "eds_cluster_config": {"eds_config": _ADS}})
    return {
        "clusters": [c for c, _ in sized],
        "endpoints": [_assignment(c["name"], n) for c, n in sized],
        "routes": _routes(table),
        "listeners": _listeners(table, lambda name: {"rds": {"route_config_name": name, "config_source": _ADS}}),
    }


def _clusters(table: Table, kind: Json) -> list[tuple[Json, tuple[int, int]]]:
    """Each cluster with the numbers of its first endpoint and of the one after its last."""
    made, first = [], 0
    for number, size in enumerate(table.sizes()):
        cluster: Json = {"name": f"c{number}", "connect_timeout": "1s", **kind}
        if number < table.tls:
            cluster["transport_socket"] = _tls(f"c{number}")
        made.append((cluster, (first, first + size)))
        first += size
    return made


def _inline(name: str, which: tuple[int, int]) -> Json:
    return {"type": "STATIC", "load_assignment": _assignment(name, which)}


def _assignment(name: str, which: tuple[int, int]) -> Json:
    hosts = [{"endpoint": {"address": address(endpoint(number), SERVED)}} for number in range(*which)]
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}] if hosts else []}


def endpoint(number: int) -> str:
    """An address that nobody has: nothing is ever sent there."""
    block, rest = divmod(number, 62_500)
    return f"10.{96 + block}.{rest // 250}.{rest % 250 + 1}"


def _upstream(table: Table) -> list[Json]:
    if not table.upstream:
        return []
    host, _, port = table.upstream.rpartition(":")
    hosts = [{"endpoint": {"address": address(host, int(port))}}]
    bounds = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), envoy.UNBOUND)
    return [
        {
            "name": "upstream",
            "type": "STATIC",
            "connect_timeout": "10s",
            "connection_pool_per_downstream_connection": True,
            "circuit_breakers": {"thresholds": [bounds]},
            "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": hosts}]},
        }
    ]


def _routes(table: Table) -> list[Json]:
    """The traffic's route and the table's; with clusters, routes point to them in turn."""
    target: Json = {"route": {"cluster": "upstream", "timeout": "0s"}} if table.upstream else _answer()
    default = {"name": "default", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, **target}]}
    hosts = [
        {
            "name": f"s{n}",
            "domains": [f"s{n}.ns.svc.cluster.local", f"s{n}.ns"],
            "routes": [{"match": {"prefix": "/"}, **_target(table, n)}],
        }
        for n in range(table.routes)
    ]
    small = [{"name": f"l{n}", "virtual_hosts": [default | {"routes": _plain()}]} for n in range(table.listeners)]
    return [{"name": VHOSTS, "virtual_hosts": [default, *hosts], "validate_clusters": False}, *small]


def _target(table: Table, number: int) -> Json:
    return {"route": {"cluster": f"c{number % table.clusters}"}} if table.clusters else _answer()


def _plain() -> list[Json]:
    return [{"match": {"prefix": "/"}, **_answer()}]


def _answer() -> Json:
    return {"direct_response": {"status": 404}}


def _listeners(table: Table, source: Any) -> list[Json]:
    first = _listener("main", PORT, source(VHOSTS), "0.0.0.0")  # noqa: S104 - in a pod of its own
    if table.secure:
        first["filter_chains"][0]["transport_socket"] = _tls_server()
    more = [_listener(f"l{n}", FIRST_LISTENER + n, source(f"l{n}"), "127.0.0.1") for n in range(table.listeners)]
    return [first, *more]


def _listener(name: str, port: int, source: Json, host: str) -> Json:
    manager = {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": _TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": name,
            "http_filters": [
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": _TYPE + "filters.http.router.v3.Router"},
                }
            ],
            "common_http_protocol_options": {"idle_timeout": "0s"},
            "stream_idle_timeout": "0s",
            **source,
        },
    }
    chain = {"filters": [manager]}
    return {"name": name, "address": address(host, port), "tcp_backlog_size": envoy.BACKLOG, "filter_chains": [chain]}


def _control_cluster() -> Json:
    hosts = [{"endpoint": {"address": address("127.0.0.1", CONTROL)}}]
    options = {"@type": _TYPE + "upstreams.http.v3.HttpProtocolOptions"}
    return {
        "name": "control",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": "control", "endpoints": [{"lb_endpoints": hosts}]},
        "typed_extension_protocol_options": {
            _EXPLICIT: options | {"explicit_http_config": {"http2_protocol_options": {}}}
        },
    }


def _tls(name: str) -> Json:
    """As a mesh gives each cluster: its own key and certificate, the other's checked against the authority."""
    key, certificate = credentials()
    context = {
        "tls_certificates": [
            {"private_key": {"inline_string": key}, "certificate_chain": {"inline_string": certificate}}
        ],
        "validation_context": {"trusted_ca": {"inline_string": certificate}},
    }
    kind = {"@type": _TYPE + "transport_sockets.tls.v3.UpstreamTlsContext", "common_tls_context": context, "sni": name}
    return {"name": "envoy.transport_sockets.tls", "typed_config": kind}


def _tls_server() -> Json:
    key, certificate = credentials()
    pair = {"private_key": {"inline_string": key}, "certificate_chain": {"inline_string": certificate}}
    kind = {
        "@type": _TYPE + "transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"tls_certificates": [pair]},
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": kind}


@cache
def credentials() -> tuple[str, str]:
    """A key (P-256) and its own certificate, made once a process by openssl(1)."""
    with tempfile.TemporaryDirectory(prefix="mesh-lab-") as folder:
        key, certificate = Path(folder, "key.pem"), Path(folder, "certificate.pem")
        words = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        names = ("-subj", "/CN=table", "-days", "2", "-keyout", str(key), "-out", str(certificate))
        subprocess.run([*words, *names], capture_output=True, check=True)
        return key.read_text(), certificate.read_text()


def address(host: str, port: int) -> Json:
    """`envoy.config.core.v3.Address`."""
    return {"socket_address": {"address": host, "port_value": port}}


def _text(data: Json) -> str:
    return json.dumps(data, sort_keys=True) + "\n"
