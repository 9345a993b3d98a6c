"""The rule for C8: a proxy's memory grows with the cluster, and partial tables help."""

from __future__ import annotations

from lab.claims import words
from lab.record import Verdict, Word
from lab.summary import Summary
from lab.summary.results import Coefficient

STUDY = "proxy_memory"
LAW = "envoy_dynamic_dirty"  # tables as a control plane delivers them; memory that no other process can share
CLUSTERS, ENDPOINTS = 1000, 15_000  # of 500 nodes with 30 pods each
SCOPED = 0.01  # of them: ten services, 150 endpoints
MATTERS = 1.1  # growth by a tenth is growth


def tables_grow(summary: Summary) -> Verdict:
    """C8. A proxy with the tables of the post's cluster has at least 1.1 times the memory of one with none, and of one
    with a hundredth of them, and both coefficients are surely above 0.
    """
    found = {c.term: c for c in summary.coefficients if (c.study, c.law) == (STUDY, LAW)}
    evidence = tuple(_said(c) for c in found.values())
    if missing := [term for term in ("base", "cluster", "endpoint") if term not in found]:
        because = f"no bytes per {', '.join(missing)} were measured; measure them with: mesh-lab run {STUDY}"
        return Verdict("C8", Word.UNDECIDED, because, evidence, measured=False)
    base, full, scoped = (_proxy(found, share) for share in (0.0, 1.0, SCOPED))
    grown, helped = full / base, full / scoped
    because = (
        f"with {CLUSTERS:,} services and {ENDPOINTS:,} endpoints a proxy has {grown:.1f} times what one with none has "
        f"({words.size(round(full))} against {words.size(round(base))})"
    )
    tables = f"tables of {SCOPED:.0%} of the services make it {helped:.1f} times smaller than full ones"
    surely = all(found[term].low > 0 for term in ("cluster", "endpoint"))
    if surely and grown >= MATTERS and helped >= MATTERS:
        return Verdict("C8", Word.HOLDS, f"{because}; {tables}", evidence)
    if all(found[term].high > 0 for term in ("cluster", "endpoint")) and not surely:
        return Verdict("C8", Word.UNDECIDED, f"{because}, but an interval has 0 in it; measure more repeats", evidence)
    return Verdict("C8", Word.DOES_NOT_HOLD, because, evidence)


def _proxy(found: dict[str, Coefficient], share: float) -> float:
    return found["base"].value + share * (CLUSTERS * found["cluster"].value + ENDPOINTS * found["endpoint"].value)


def _said(c: Coefficient) -> str:
    return f"{c.law}, per {c.term}: {c.value:,.0f} bytes [{c.low:,.0f}, {c.high:,.0f}]; {c.n} observations"
