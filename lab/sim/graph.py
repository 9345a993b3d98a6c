"""Who calls whom: a service graph, read from a file or generated with the shape that large clusters show."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import yaml

from lab.record import Mistake

MOST_SERVICES = 100_000


@dataclass(frozen=True)
class Service:
    """A service: `replicas` pods, each of which spends `work_s` of its own on a request."""

    name: str
    replicas: int
    work_s: float = 0.001

    def __post_init__(self) -> None:
        if self.replicas < 1:
            raise Mistake(f"service {self.name} has {self.replicas} replicas; it needs at least 1")
        if not 0 <= self.work_s < 3600:
            raise Mistake(f"service {self.name} has work_s={self.work_s}; allowed are 0 to 3600")


@dataclass(frozen=True)
class Call:
    """For each request that `caller` serves it sends `times` requests to `callee`, on average."""

    caller: str
    callee: str
    times: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.times <= 1000:
            raise Mistake(f"{self.caller} calls {self.callee} times={self.times}; allowed are more than 0 up to 1000")


@dataclass(frozen=True)
class Graph:
    """Services and their calls, without cycles. Those that nobody calls are entries: requests come from outside."""

    services: tuple[Service, ...]
    calls: tuple[Call, ...]

    def __post_init__(self) -> None:
        names = [service.name for service in self.services]
        if not 1 <= len(names) <= MOST_SERVICES:
            raise Mistake(f"the graph has {len(names)} services; allowed are 1 to {MOST_SERVICES}")
        twice = [name for name, times in Counter(names).items() if times > 1]
        if twice:
            raise Mistake(f"service {twice[0]} stands twice in the graph; names must differ")
        known = set(names)
        for call in self.calls:
            for name in (call.caller, call.callee):
                if name not in known:
                    raise Mistake(f"{call.caller} calls {call.callee}, but there is no service {name}; add it")
        edges = Counter((call.caller, call.callee) for call in self.calls)
        for (caller, callee), times in edges.items():
            if times > 1:
                raise Mistake(f"{caller} calls {callee} in {times} entries; make it one, with their times added")
        _ = self.order

    @cached_property
    def callees(self) -> Mapping[str, tuple[Call, ...]]:
        """Calls by caller."""
        found: dict[str, list[Call]] = {service.name: [] for service in self.services}
        for call in self.calls:
            found[call.caller].append(call)
        return {name: tuple(calls) for name, calls in found.items()}

    @cached_property
    def order(self) -> tuple[str, ...]:
        """Service names, every caller before those it calls. `Mistake` names a cycle where there is one."""
        waiting = {service.name: 0 for service in self.services}
        for call in self.calls:
            waiting[call.callee] += 1
        ready = [name for name, callers in waiting.items() if not callers]
        order: list[str] = []
        while ready:
            name = ready.pop()
            order.append(name)
            for call in self.callees[name]:
                waiting[call.callee] -= 1
                if not waiting[call.callee]:
                    ready.append(call.callee)
        if len(order) < len(waiting):
            raise Mistake(f"the graph has a cycle: {' → '.join(self._cycle(set(waiting) - set(order)))}; break it")
        return tuple(order)

    def _cycle(self, left: set[str]) -> list[str]:
        callers: dict[str, str] = {call.callee: call.caller for call in self.calls if call.caller in left}
        name, walked = min(left), list[str]()
        while name not in walked:
            walked.append(name)
            name = callers[name]
        return [*walked[walked.index(name) :], name][::-1]

    @property
    def entries(self) -> tuple[str, ...]:
        """Services that no other calls."""
        called = {call.callee for call in self.calls}
        return tuple(service.name for service in self.services if service.name not in called)

    @property
    def pods(self) -> int:
        """Replicas of all services."""
        return sum(service.replicas for service in self.services)

    def service(self, name: str) -> Service:
        """The service of that name."""
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> Mapping[str, Service]:
        return {service.name: service for service in self.services}

    def visits(self) -> dict[str, float]:
        """Requests that reach each service for one request from outside, which enters at an entry chosen evenly."""
        found = dict.fromkeys(self.order, 0.0)
        for name in self.entries:
            found[name] = 1 / len(self.entries)
        for name in self.order:
            for call in self.callees[name]:
                found[call.callee] += found[name] * call.times
        return found

    def calls_per_request(self) -> float:
        """Calls from service to service for one request from outside."""
        seen = self.visits()
        return sum(seen[call.caller] * call.times for call in self.calls)


_T = TypeVar("_T", Service, Call)


def read(path: Path) -> Graph:
    """The graph in a TOML or YAML file with `services` (name, replicas, work_s) and `calls` (caller, callee, times)."""
    try:
        text = path.read_text()
        told = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        raise Mistake(f"{path} cannot be read as a graph: {' '.join(str(error).split())}") from error
    if not isinstance(told, dict) or set(told) - {"services", "calls"} or "services" not in told:
        raise Mistake(f"{path} must have a list 'services' and may have a list 'calls', and nothing else")
    services = tuple(_entry(Service, item, path) for item in _list(told, "services", path))
    return Graph(services, tuple(_entry(Call, item, path) for item in _list(told, "calls", path)))


def _list(told: Mapping[str, Any], key: str, path: Path) -> Sequence[Any]:
    found = told.get(key) or []
    if not isinstance(found, list):
        raise Mistake(f"{key} of {path} must be a list")
    return found


def _entry(kind: type[_T], item: Any, path: Path) -> _T:
    fields = {"name": str, "replicas": int, "work_s": float, "caller": str, "callee": str, "times": float}
    allowed = list(kind.__dataclass_fields__)
    if not isinstance(item, dict) or set(item) - set(allowed):
        raise Mistake(f"{path}: {item!r:.80} is no {kind.__name__.lower()}; it may have {', '.join(allowed)}")
    try:
        return kind(**{name: fields[name](value) for name, value in item.items()})
    except (TypeError, ValueError) as error:
        raise Mistake(f"{path}: {item!r:.80} is no {kind.__name__.lower()}: {error}") from error
