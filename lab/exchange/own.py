"""The lab's own runs under the same audit: what a summary says as samples, and rules on proofs and gates."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

from lab import gates
from lab.exchange.audit import GRAVEST_FIRST, Sample, audit, samples
from lab.foreign import Concern, Loop, Severity, Since, Told
from lab.plan import BASE
from lab.record import Outcome
from lab.store import Store
from lab.summary import Latency, Step, Summary

METHOD = "docs/method.md"
MUCH_VOID = 0.05  # of an arm's windows, left out by gates
MUCH_STEAL = 0.05  # of all windows, disturbed by the hypervisor


def audit_run(store: Store) -> tuple[Concern, ...]:
    """Every concern about a stored run, the gravest first."""
    summary = store.summary()
    found = [*audit(of_run(store)), *_proofs(summary), *_voids(summary), *_machine(summary)]
    return tuple(sorted(found, key=lambda c: GRAVEST_FIRST.index(c.severity)))


def of_run(store: Store) -> tuple[Sample, ...]:
    """What a run measured, and what it imported, as samples."""
    summary = store.summary()
    dropped = _dropped(store)
    measured = (_measured(x, dropped.get((x.scenario, x.load, x.arm), 0)) for x in summary.latencies)
    return (*measured, *map(_walked, summary.steps), *samples(summary.imported))


def _measured(x: Latency, dropped: int) -> Sample:
    """One arm under one load; the engine times only complete answers, from its schedule."""
    answered = x.outcomes.get(Outcome.OK, 0)
    tail = ((0.999, x.response_p999_s),) if x.response_p999_s is not None else ()
    told = Told(
        tool="mesh-lab",
        loop=Loop.OPEN,
        since=Since.SCHEDULE,
        requests=max(answered - dropped, 1),
        asked_per_s=x.rate_per_s,
        achieved_per_s=x.rate_per_s * x.achieved,
        connections=x.connections,
        answered=answered,
        errors=x.requests - answered,
        errors_timed=0,
        discarded=dropped,
        mean_s=_known(x.response_mean_s),
        quantiles=((0.5, x.response_p50_s), (0.9, x.response_p90_s), (0.99, x.response_p99_s), *tail),
        resolution_s=1e-9,
    )
    return Sample(
        f"{x.scenario}, {x.load}, {x.arm}", x.arm, x.arm == BASE, told, f"{x.scenario}, {x.load}", x.rate_per_s,
        x.deployments,
    )  # fmt: skip


def _known(value: float) -> float | None:
    """A summary writes nan where there was nothing to take a mean of."""
    return value if isfinite(value) else None


def _dropped(store: Store) -> dict[tuple[str, str, str], int]:
    """Requests of the first `drop_s` of each valid window, which are sent and not judged: as many as were planned."""
    found: dict[tuple[str, str, str], float] = {}
    trials = {trial.name: trial for trial in store.trials()}
    for run in store.runs():
        for block in (b for b in trials[run.trial].blocks if gates.valid(run.findings, b.name)):
            key = run.scenario, block.name, run.arm
            dropped_s = sum(min(block.drop_s, window.duration_s) for window in block.only(run.arm))
            found[key] = found.get(key, 0.0) + block.load.rate_per_s * dropped_s
    return {key: round(count) for key, count in found.items()}


def _walked(x: Step) -> Sample:
    """One step of a journey: a closed loop."""
    told = Told(
        tool="mesh-lab (Locust)",
        loop=Loop.CLOSED,
        since=Since.SEND,
        requests=max(x.outcomes.get(Outcome.OK, 0), 1),
        achieved_per_s=x.throughput_per_s,
        connections=x.users,
        errors=x.requests - x.outcomes.get(Outcome.OK, 0),
        errors_timed=0,
        mean_s=_known(x.time_mean_s),
        quantiles=((0.5, x.time_p50_s), (0.9, x.time_p90_s), (0.99, x.time_p99_s)),
        resolution_s=1e-9,
    )
    load = f"{x.journey}, {x.step}"
    return Sample(f"{load}, {x.arm}", x.arm, x.arm == BASE, told, load, None, x.repeats)


def _proofs(summary: Summary) -> Iterator[Concern]:
    """A datapath that did not see what was sent may not have been in the path."""
    for a in summary.accounting:
        if a.seen != a.sent or a.not_understood:
            yield Concern(
                "unproven",
                Severity.SERIOUS,
                f"{a.scenario}, {a.arm}",
                "the datapath did not count what was sent through it, so it may not have been in the path",
                (f"sent = {a.sent:,}", f"{a.observer} saw = {a.seen:,}", f"not understood = {a.not_understood:,}"),
                METHOD,
            )


def _voids(summary: Summary) -> Iterator[Concern]:
    for x in summary.latencies:
        whole = x.windows + x.windows_void
        if x.windows_void > MUCH_VOID * whole:
            yield Concern(
                "gated",
                Severity.LIMIT,
                f"{x.scenario}, {x.load}, {x.arm}",
                "gates left out part of what was measured; what is left is that of the quieter moments",
                (f"windows left out = {x.windows_void:,} of {whole:,}",),
                METHOD,
            )


def _machine(summary: Summary) -> Iterator[Concern]:
    share = summary.host.get("disturbed_windows_share", 0.0)
    if share > MUCH_STEAL:
        yield Concern(
            "disturbed",
            Severity.LIMIT,
            "the machine",
            "the hypervisor took processor time while it was measured",
            (f"windows disturbed = {share:.1%}",),
            METHOD,
        )
