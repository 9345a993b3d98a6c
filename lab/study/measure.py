"""One repeat of a study: every case deployed, measured and removed, in the order of the plan."""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

from lab.cluster import Cluster
from lab.question import Case, Observation, Repeat
from lab.record import Failed, Mistake

Say = Callable[[str], None]
Seen = Iterator[tuple[str, float]]


class Kind(Protocol):
    """A module of `lab.study.kinds`."""

    def observe(self, cluster: Cluster, case: Case) -> Seen:
        """Deploy what the case asks for on an empty cluster and say what was seen, as (metric, value)."""

    def facts(self, case: Case) -> Mapping[str, str]:
        """What a reader must know of the subject: its version."""


@dataclass(frozen=True)
class Measured:
    """What one repeat gave; `facts` are the subjects' versions and the cluster's words."""

    repeat: Repeat
    observations: tuple[Observation, ...]
    facts: Mapping[str, str]


def kinds() -> tuple[str, ...]:
    """Every kind of case there is, sorted."""
    from lab.study import kinds as package  # noqa: PLC0415 - that package imports this module

    return tuple(sorted(m.name for m in pkgutil.iter_modules(package.__path__)))


def find(kind: str) -> Kind:
    """The module that measures cases of a kind; `Mistake` where there is none."""
    if kind not in kinds():
        raise Mistake(f"no kind of case {kind!r}; there are {', '.join(kinds())}")
    return cast(Kind, importlib.import_module(f"lab.study.kinds.{kind}"))


def measure(repeat: Repeat, cluster: Cluster, say: Say) -> Measured:
    """All cases of `repeat` on an open `cluster`, each alone. `Failed` names the case that could not be measured."""
    found: list[Observation] = []
    facts = dict(cluster.facts())
    for number, case in enumerate(repeat.cases, 1):
        say(f"{repeat.name}: {number} of {len(repeat.cases)}, {case.name}")
        facts |= find(case.kind).facts(case)
        found += _observations(cluster, case)
    return Measured(repeat, tuple(found), facts)


def _observations(cluster: Cluster, case: Case) -> Iterator[Observation]:
    try:
        for metric, value in find(case.kind).observe(cluster, case):
            yield Observation(case.name, metric, _finite(metric, value))
    except Failed as wrong:
        raise Failed(f"case {case.name} ({case.kind} of {case.subject}): {wrong}") from wrong
    finally:
        cluster.undeploy()


def _finite(metric: str, value: float) -> float:
    if not math.isfinite(value):
        raise Failed(f"{metric} is {value}; a reading that failed is no number")
    return float(value)
