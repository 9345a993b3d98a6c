"""What all installed meshes share: finding one with its version, and who of the arm's pods is client and who server.

The lab labels its pods and not its namespace, since all arms of a run share that one, and `none` must stay without.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lab.cluster import Cluster, Mesh, Pod, Resident, Selector
from lab.datapath import Datapath
from lab.record import CannotRun, Feature, Need

HTTP = frozenset({Feature.HTTP_PARSE, Feature.HTTP_METRICS, Feature.LATENCY_HISTOGRAM, Feature.LOAD_BALANCING})
"""What every product does that reads HTTP."""


class InstalledMesh(Datapath):
    """Somebody else's product. `components` are its pods by what it calls them; `optional` ones need not be there."""

    needs = frozenset({Need.INSTALLED_MESH})
    connections = None
    product: str = ""
    components: Mapping[str, Selector] = {}
    optional: frozenset[str] = frozenset()

    def found(self, cluster: Cluster) -> Mapping[str, str]:
        """Each component's version, by its image, and where a control plane is that nobody watches."""
        facts: dict[str, str] = {}
        for name, selector in self.components.items():
            there = cluster.residents(selector)
            if not there and name not in self.optional:
                raise CannotRun(self._absent(cluster, name, selector))
            facts |= {f"{self.product} {name}": ", ".join(sorted({version(r.image) for r in there}))} if there else {}
            away = sorted({r.node for r in there if not r.watched}) if not selector.carries else []
            if away:
                facts[f"no memory of {name}"] = f"some of it is on {', '.join(away)}, where nothing is measured"
        return facts

    def _absent(self, cluster: Cluster, name: str, selector: Selector) -> str:
        if cluster.kind == "local":
            return (
                f"{self.product} is a mesh for Kubernetes, and the local cluster is none; ask for"
                f" --cluster kube:CONTEXT of a cluster that has it, by: {self.install}"
            )
        return (
            f"this cluster has no {name} of {self.product} (no running pod bears {selector.labels}); install it with:"
            f" {self.install}"
        )


@dataclass(frozen=True)
class Sides:
    """An arm's pods by their role."""

    clients: tuple[Pod, ...]
    servers: tuple[Pod, ...]


def sides(mesh: Mesh) -> Sides:
    """Who stands behind a service is a server."""
    served = {address for service in mesh.services for address in service.endpoints}
    return Sides(
        tuple(p for p in mesh.pods if p.address not in served), tuple(p for p in mesh.pods if p.address in served)
    )


def near(residents: Iterable[Resident], pods: Iterable[Pod]) -> tuple[str, ...]:
    """The places of those that are on the nodes of some pods, each once."""
    nodes = {pod.node for pod in pods}
    return tuple(sorted({r.place for r in residents if r.node in nodes}))


def version(image: str) -> str:
    """`1.27.3` of `registry.example/istio/pilot:1.27.3@sha256:…`; the whole where it bears no tag."""
    named = image.partition("@")[0]
    _, colon, tag = named.rpartition(":")
    return tag if colon and "/" not in tag else image
