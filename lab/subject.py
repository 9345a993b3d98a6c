"""The seam for proxies under study: a table of a given size becomes processes, and the proxy says what it holds."""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields

from lab.cluster import Cluster, ProcessSpec
from lab.record import Mistake

MOST = 100_000


@dataclass(frozen=True)
class Table:
    """What a proxy is told of the world.

    `endpoints` are all endpoints together, spread evenly over `clusters`; `routes` are virtual hosts with one route
    each, as meshes make them for services; `tls` clusters have a TLS context with a key of their own; `listeners` are
    HTTP listeners beyond the one that carries traffic. `delivery` is `static` (a file read at the start) or `dynamic`
    (a control plane). `upstream` is an address:port that all traffic goes to; empty: there is no traffic.
    """

    clusters: int = 0
    endpoints: int = 0
    routes: int = 0
    listeners: int = 0
    workers: int = 1
    tls: int = 0
    delivery: str = "static"
    upstream: str = ""
    secure: int = 0  # 1: the listener that carries traffic speaks TLS

    def __post_init__(self) -> None:
        for name in ("clusters", "endpoints", "routes", "listeners", "tls"):
            if not 0 <= getattr(self, name) <= MOST:
                raise Mistake(f"{name}={getattr(self, name)}; allowed are 0 to {MOST}")
        if not 1 <= self.workers <= 64:
            raise Mistake(f"workers={self.workers}; allowed are 1 to 64")
        if self.endpoints and not self.clusters:
            raise Mistake(f"endpoints={self.endpoints} and clusters=0; endpoints need clusters to be in")
        if self.tls > self.clusters:
            raise Mistake(f"tls={self.tls} and clusters={self.clusters}; only clusters can have a TLS context")
        if self.delivery not in ("static", "dynamic"):
            raise Mistake(f"delivery={self.delivery!r}; allowed are static and dynamic")

    @classmethod
    def of(cls, parameters: Mapping[str, int | str], upstream: str = "") -> Table:
        """The table that a case's parameters describe; other parameters are somebody else's."""
        known = {f.name for f in fields(cls)} - {"upstream"}
        return cls(**{k: v for k, v in parameters.items() if k in known}, upstream=upstream)  # type: ignore[arg-type]

    def sizes(self) -> tuple[int, ...]:
        """How many endpoints each cluster has: the remainder goes to the first ones."""
        if not self.clusters:
            return ()
        each, more = divmod(self.endpoints, self.clusters)
        return tuple(each + (number < more) for number in range(self.clusters))


class Proxy(ABC):
    """A proxy that can be given a table of any size."""

    port: int  # where it takes traffic
    tables: frozenset[str] = frozenset({"clusters", "endpoints", "routes", "listeners", "workers"})
    """What of a table it can hold."""

    @abstractmethod
    def processes(self, table: Table) -> tuple[ProcessSpec, ...]:
        """In starting order; the last one is the proxy itself, those before it are its control plane."""

    @abstractmethod
    def version(self) -> str:
        """Its own words."""

    def allocated(self, cluster: Cluster, where: str) -> Mapping[str, float]:
        """What its own allocator says, as metric -> bytes. Empty: it does not tell."""
        return {}

    def holds(self, cluster: Cluster, where: str) -> Mapping[str, int]:
        """How many clusters, endpoints, … it says it has. Empty: it does not tell."""
        return {}


def names() -> tuple[str, ...]:
    """Every proxy there is, sorted: the modules of the package `datapaths.proxy.tables`."""
    from datapaths.proxy import tables  # noqa: PLC0415 - that package imports this module

    return tuple(sorted(m.name for m in pkgutil.iter_modules(tables.__path__) if not m.name.startswith("_")))


def find(name: str) -> Proxy:
    """The proxy defined in `datapaths/proxy/tables/<name>.py`."""
    if name not in names():
        raise Mistake(f"no proxy {name!r}; there are {', '.join(names())}")
    module = importlib.import_module(f"datapaths.proxy.tables.{name}")
    found = [
        c
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, Proxy) and c.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise Mistake(f"datapaths/proxy/tables/{name}.py defines {len(found)} proxies; it must define exactly one")
    return found[0]()
