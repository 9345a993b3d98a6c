"""Questions of physics: how does one number grow with another? Data only, beside the load comparisons of `lab.record`.

A `Study` names cases; each is measured alone, several times, in random order. What was seen of a case is an
`Observation`. A `Law` says what a metric should be made of, and so which coefficients are to be found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lab.record import Mistake, Need

Parameters = Mapping[str, int | str]


@dataclass(frozen=True)
class Case:
    """One thing to be measured alone.

    `kind` finds who measures it (a module of `lab.study.kinds`), `subject` what is measured (a module of the package
    `datapaths`, or of `datapaths.proxy.tables`); both are given `parameters`.
    """

    name: str
    kind: str
    subject: str
    parameters: Parameters

    def number(self, name: str) -> int:
        """A parameter that is a number; 0 where the case does not have it."""
        value = self.parameters.get(name, 0)
        if isinstance(value, str):
            raise Mistake(f"case {self.name}: {name}={value!r}; it must be a whole number")
        return value


@dataclass(frozen=True)
class Law:
    """metric = the sum of coefficient × product, over all cases of `kind` and `subject` that agree with `where`.

    `terms` are the coefficients by name, each with the product of parameters it belongs to: `workers*clusters`, or `1`
    for what is there without any. `unit` is that of the metric.
    """

    name: str
    kind: str
    subject: str
    metric: str
    unit: str
    terms: Mapping[str, str]
    where: Parameters

    def holds(self, case: Case) -> bool:
        """Is this case one of those that the law is about?"""
        agrees = all(case.parameters.get(name) == value for name, value in self.where.items())
        return (case.kind, case.subject) == (self.kind, self.subject) and agrees


@dataclass(frozen=True)
class Amount:
    """How much of a study is run: `smoke`, `quick` or `full`."""

    repeats: int
    cases: tuple[Case, ...]


@dataclass(frozen=True)
class Study:
    """One question about sizes, as data."""

    name: str
    question: str
    claims: tuple[str, ...]
    needs: frozenset[Need]
    laws: tuple[Law, ...]
    profiles: Mapping[str, Amount]
    foretold: bool = False  # the simulator says what will be seen, before anything is measured

    @property
    def subjects(self) -> tuple[str, ...]:
        """Everything that any of its profiles measures, each once."""
        return tuple(dict.fromkeys(case.subject for amount in self.profiles.values() for case in amount.cases))


@dataclass(frozen=True)
class Repeat:
    """Every case of a study once, in the order they are measured."""

    name: str
    study: str
    number: int
    seed: int
    cases: tuple[Case, ...]


@dataclass(frozen=True)
class Observation:
    """One number that was seen of one case in one repeat. `metric` names its unit (`pss_bytes`, `applied_s`)."""

    case: str
    metric: str
    value: float


@dataclass(frozen=True)
class Prediction:
    """What the simulator said of a metric of one case before it was measured: value, 95 % interval, allowed error."""

    case: str
    metric: str
    value: float
    low: float
    high: float
    tolerance: float  # |predicted / measured - 1| that passes


@dataclass(frozen=True)
class Forecast:
    """A question about a cluster that nobody here can run, for the simulator: as data.

    `rate_per_s` are requests from outside in the whole cluster. `graph_seed` grows a graph of `services`, unless a file
    has one. `claims` are those that the answer bears on; a forecast never gives a verdict.
    """

    name: str
    question: str
    claims: tuple[str, ...]
    nodes: int
    pods_per_node: int
    services: int
    rate_per_s: float
    graph_seed: int = 1
    visibility: str = "full"
    connections_per_callee: float = 4.0

    def __post_init__(self) -> None:
        for name in ("nodes", "pods_per_node", "services", "rate_per_s", "connections_per_callee"):
            if not 0 < getattr(self, name) < float("inf"):
                raise Mistake(f"{name}={getattr(self, name)}; it must be a finite number above 0")
