"""Where a run comes from, as words for the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.record import Trial
from lab.store import Store

LONGEST = 400  # characters of one fact on the page; the whole of it stands in system.json


@dataclass(frozen=True)
class Run:
    """The provenance of a page."""

    name: str
    created: str
    command: str
    profile: str
    cluster: str
    seed: int
    plan_sha256: str
    trials_planned: int
    trials_stored: int
    deployments: Mapping[str, int]  # by scenario
    blocks: Sequence[tuple[str, str, int, int, str]]  # (scenario, block, rounds, windows, window length) of one trial
    versions: Sequence[tuple[str, str]]  # what ran, and how many runs say so
    voids: Sequence[tuple[str, str]]  # (gate, first of its failures in words)
    repeats: Mapping[str, int] = field(default_factory=dict)  # by study
    turns: Mapping[str, int] = field(default_factory=dict)  # by journey
    imports: Mapping[str, int] = field(default_factory=dict)  # by arm


def of_run(store: Store) -> Run:
    """The facts of a stored run."""
    plan = store.plan
    stored = store.trials()
    return Run(
        name=plan.run,
        created=plan.created,
        command=plan.command,
        profile=plan.profile,
        cluster=plan.cluster,
        seed=plan.seed,
        plan_sha256=store.manifest.plan_sha256,
        trials_planned=len(plan.trials) + len(plan.repeats) + len(plan.turns) + len(plan.imports),
        trials_stored=len(stored) + len(store.repeats()) + len(store.turns()) + len(store.imports()),
        deployments=Counter(t.scenario for t in stored),
        blocks=tuple(_blocks(stored)),
        versions=tuple(_versions(store)),
        voids=tuple(_voids(store)),
        repeats=Counter(r.study for r in store.repeats()),
        turns=Counter(turn.journey for turn, _ in store.turns()),
        imports=Counter(original.arm for original, _ in store.imports()),
    )


def _blocks(trials: Sequence[Trial]) -> Iterator[tuple[str, str, int, int, str]]:
    """Each block of the first trial of each scenario."""
    for trial in {t.scenario: t for t in reversed(trials)}.values():
        for b in trial.blocks:
            if b.windows:
                rounds = len({w.round for w in b.windows})
                yield trial.scenario, b.name, rounds, len(b.windows), f"{b.windows[0].duration_s * 1000:g} ms"


def _versions(store: Store) -> Iterator[tuple[str, str]]:
    said = Counter((key, value) for run in store.runs() for key, value in run.facts.items())
    said.update(pair for repeat in store.repeats() for pair in store.facts(repeat.name).items())
    said.update(pair for _, walk in store.turns() for pair in walk.facts.items())
    for (key, value), times in sorted(said.items()):
        yield key, _short(value) + (f" ({times} runs)" if times > 1 else "")


def _voids(store: Store) -> Iterator[tuple[str, str]]:
    """For each gate that failed: how often, and the first time in words."""
    failed: dict[str, list[str]] = {}
    for run in store.runs():
        for f in run.findings:
            if not f.passed:
                failed.setdefault(f.gate, []).append(f"{run.trial}, {run.arm}, {f.block or 'whole trial'}: {f.detail}")
    for turn, walk in store.turns():
        for f in walk.findings:
            if not f.passed:
                failed.setdefault(f.gate, []).append(f"{turn.name}: {f.detail}")
    for gate, words in sorted(failed.items()):
        yield gate, words[0]


def flat(data: Any, name: str = "") -> tuple[tuple[str, str], ...]:
    """Nested data as (name.of.it, value) pairs, long values cut."""
    if isinstance(data, Mapping):
        return tuple(pair for k, v in data.items() for pair in flat(v, f"{name}.{k}" if name else str(k)))
    if isinstance(data, list | tuple) and any(isinstance(v, Mapping | list | tuple) for v in data):
        return tuple(pair for i, v in enumerate(data) for pair in flat(v, f"{name}.{i}"))
    if isinstance(data, list | tuple):
        return ((name, _short(", ".join(map(str, data)))),)
    return ((name, _short(str(data))),)


def _short(words: str) -> str:
    return words if len(words) <= LONGEST else f"{words[:LONGEST]} …"
