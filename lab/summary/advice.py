"""What limits the results of a run, in words, with what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from lab import gates, stats
from lab.foreign import Severity
from lab.plan import AGAIN, BASE
from lab.record import BlockKind
from lab.summary import slices
from lab.summary.contrasts import failing
from lab.summary.pieces import METRICS, Piece, by_arm, grouped, of_kind
from lab.summary.results import Accounting, Capacity, Contrast, Cost, Latency, Summary

SURE = 0.01  # of a carry-over, after Holm
QUICK_DEPLOYMENTS = 5
MUCH_NOISE = 0.05
MUCH_KERNEL = 0.5
MUCH_LAG = 0.1


def warnings(summary: Summary, found: Sequence[Piece]) -> Iterator[str]:
    """Every warning about a summary (its own are ignored) and the pieces it was made from, the gravest first."""
    contrasts, proofs = summary.contrasts, summary.accounting
    yield from _imported(summary)
    yield from _unproven(proofs)
    yield from _gated(found)
    yield from _deployments(contrasts)
    yield from _instances(contrasts)
    yield from _noise(contrasts)
    yield from _knees(summary.capacities)
    yield from _steal(summary.host)
    yield from _strangers(summary.costs)
    yield from _lateness(summary.latencies)
    yield from _few_for_p99(found, contrasts)
    yield from _unsteady(contrasts)
    yield from _carried_over(found)
    yield from _walks(summary)


def _imported(summary: Summary) -> Iterator[str]:
    """Nobody here saw these requests."""
    if summary.imported:
        count, serious = len(summary.imported), sum(c.severity is Severity.SERIOUS for c in summary.concerns)
        yield (
            f"{count} repetitions are imported: other tools' numbers, which nothing here can prove; "
            f"the audit has {serious} serious findings about how they were measured"
        )


def _unproven(proofs: Iterable[Accounting]) -> Iterator[str]:
    for a in proofs:
        if a.seen != a.sent or a.not_understood:
            yield (
                f"{a.arm}: {a.observer} saw {a.seen:,} of {a.sent:,} requests, {a.not_understood:,} not understood;"
                " blocks without proof are left out: look for traffic that takes another way"
            )


def _walks(summary: Summary) -> Iterator[str]:
    """What limits journeys: turns that were left out, and few repeats."""
    for journey, arm in dict.fromkeys((c.journey, c.arm) for c in summary.walk_counts if c.walks_void):
        one = next(c for c in summary.walk_counts if (c.journey, c.arm) == (journey, arm))
        yield (
            f"{journey}, {arm}: {one.walks_void} of {one.walks} turns are left out by a gate (see below);"
            " fewer users, or more of Locust's processes, leave it room"
        )
    most: dict[str, int] = {}
    for c in summary.step_contrasts:
        most[c.journey] = max(most.get(c.journey, 0), c.repeats)
    for journey, repeats in most.items():
        if repeats >= stats.FEW_DEPLOYMENTS:
            continue
        yield (
            f"{journey}: intervals stand on {repeats} repeat{'s' if repeats > 1 else ''} and do not hold for others;"
            f" measure with --deployments {QUICK_DEPLOYMENTS} or more"
        )


def _gated(found: Sequence[Piece]) -> Iterator[str]:
    """How much was left out, metric by metric, and by which gates; where all of it was, the contrast says so itself."""
    for scenario, group in grouped(of_kind(found, BlockKind.SLICES), lambda p: p.run.scenario).items():
        for metric in METRICS:
            void = [p for p in group if metric not in p.fit]
            if void:
                yield (
                    f"{scenario}, {metric}: {len(void)} of {len(group)} blocks of slices are left out, since "
                    f"{', '.join(failing(void, metric))} failed; run again on a quieter machine, or longer"
                )


def _deployments(contrasts: Sequence[Contrast]) -> Iterator[str]:
    few = [c.deployments for c in contrasts if 0 < c.deployments < stats.FEW_DEPLOYMENTS]
    if few:
        yield (
            f"some intervals stand on {min(few)} deployment{'s' if min(few) > 1 else ''} and do not hold for others; "
            f"measure with --deployments {QUICK_DEPLOYMENTS} or more"
        )
    elif contrasts and 0 < max(c.deployments for c in contrasts) < QUICK_DEPLOYMENTS:
        yield (
            f"three or four deployments give wide intervals (Student's t with 2 or 3 degrees of freedom); "
            f"{QUICK_DEPLOYMENTS} shorter ones say more in the same time"
        )


def _instances(contrasts: Iterable[Contrast]) -> Iterator[str]:
    for c in contrasts:
        if c.arm == AGAIN and c.rounds and (c.ratio.low > 1 or c.ratio.high < 1) and c.metric == "p50":
            yield (
                f"{c.load}: two equal arms differ by {c.ratio.value - 1:+.1%} in p50, and surely so;"
                " effects below this are not believed: measure more deployments"
            )


def _noise(contrasts: Iterable[Contrast]) -> Iterator[str]:
    loud = [c for c in contrasts if c.arm == AGAIN and c.metric == "p50" and c.noise_floor > MUCH_NOISE]
    if loud:
        worst = max(loud, key=lambda c: c.noise_floor)
        yield (
            f"the noise floor of the p50 reaches {worst.noise_floor:.1%} ({worst.load}): smaller ones stay undecided;"
            " measure more deployments and rounds, or on a quieter machine"
        )


def _knees(capacities: Iterable[Capacity]) -> Iterator[str]:
    for c in capacities:
        if c.saturated_per_s is not None:
            kept = f"keeps {c.kept_per_s:g}/s" if c.kept_per_s is not None else "keeps no step"
            yield (
                f"{c.scenario}: {c.arm} {kept} and saturates at {c.saturated_per_s:g}/s on this machine; "
                "its latency is compared below that only: give it more cores to compare higher"
            )


def _steal(host: dict[str, float]) -> Iterator[str]:
    flagged = host.get("disturbed_windows_share", 0.0)
    if flagged > 0:
        yield (
            f"the hypervisor took more than {gates.MOST_STEAL:.0%} of the machine in {flagged:.1%} of the windows;"
            " a verdict that changes without them says so: use a machine of your own"
        )


def _strangers(costs: Iterable[Cost]) -> Iterator[str]:
    loads = [c for c in costs if c.per_request_s["kernel"].value > MUCH_KERNEL * c.per_request_s["total"].value]
    if loads:
        worst = max(loads, key=lambda c: c.per_request_s["kernel"].value)
        yield (
            f"more than half of the processor time is nobody's ({worst.load}, {worst.arm}, and {len(loads) - 1} more):"
            " other programs ran, or idle turns are expensive; compare the parts, not the totals"
        )


def _lateness(latencies: Iterable[Latency]) -> Iterator[str]:
    """The engine's lateness is in both arms of a ratio."""
    bases = [x for x in latencies if x.arm == BASE and x.lag_p50_s > MUCH_LAG * x.response_p50_s]
    if bases:
        worst = max(bases, key=lambda x: x.lag_p50_s / x.response_p50_s)
        yield (
            f"the engine's own lateness is {worst.lag_p50_s / worst.response_p50_s:.0%} of the baseline's p50 "
            f"({worst.load}): ratios are pulled towards 1 by it, differences are not"
        )


def _few_for_p99(found: Sequence[Piece], contrasts: Sequence[Contrast]) -> Iterator[str]:
    there = {(c.scenario, c.load) for c in contrasts if c.metric == "p99"}
    loads = dict.fromkeys((p.run.scenario, p.block.name) for p in of_kind(found, BlockKind.SLICES))
    for scenario, load in loads:
        if (scenario, load) not in there:
            yield (
                f"{scenario}, {load}: no deployment has the {stats.LEAST_FOR_P99} requests of an arm that a p99 needs; "
                "measure more rounds"
            )


def _unsteady(contrasts: Iterable[Contrast]) -> Iterator[str]:
    """Ratios that change their level within a deployment."""
    for c in contrasts:
        for deployment in sorted({d for d, _, _ in c.rounds_ratio}) if c.metric == "p50" else ():
            series = np.log([ratio for d, _, ratio in c.rounds_ratio if d == deployment])
            places = slices.changes(series)
            if places:
                yield (
                    f"{c.load}, {c.arm}: the p50 ratio changed its level in deployment {deployment} after "
                    f"{', '.join(str(p) for p in places)} rounds: not steady; look at the series, and warm up longer"
                )


def _carried_over(found: Sequence[Piece]) -> Iterator[str]:
    """Does a slice depend on whose slice came before it?"""
    groups = list(grouped((p for p in of_kind(found, BlockKind.SLICES) if p.valid), by_arm).items())
    ps = stats.holm([_carry_over(group) for _, group in groups])
    for ((_, load, arm), _), p in zip(groups, ps, strict=True):
        if p < SURE:
            yield f"{load}, {arm}: slices depend on the arm before them (p={p:.4f}): lengthen the guard and drop_s"


def _carry_over(group: Sequence[Piece]) -> float:
    values: list[float] = []
    before: list[str] = []
    for p in group:
        windows = sorted(p.block.windows, key=lambda w: w.start_s)
        previous = {w.index: v.arm for v, w in pairwise(windows)}
        p50 = slices.statistic(p.response_s, p.window, max(w.index for w in windows) + 1, "p50")
        own = [w.index for w in p.block.only(p.run.arm) if w.index in previous and np.isfinite(p50[w.index])]
        if own:
            logs = np.log(p50[own])
            values += (logs - np.median(logs)).tolist()
            before += [previous[i] for i in own]
    return slices.carry_over(np.asarray(values), before)
