"""Latency of each arm under each load, all valid windows pooled; and how far each arm got up the ladder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lab.record import OUTCOMES, BlockKind
from lab.summary.pieces import Floats, Piece, by_arm, grouped, of_kind, pooled
from lab.summary.results import Capacity, Latency

LEAST_FOR_P999 = 100_000
AGAIN = "-again"  # ends the name of a step of the ladder that was repeated


def latencies(found: Sequence[Piece]) -> Iterator[Latency]:
    """One entry for each arm and load measured in slices; quantiles are of answered requests in valid pieces."""
    for group in grouped(of_kind(found, BlockKind.SLICES), by_arm).values():
        good = [p for p in group if p.valid]
        if good:
            yield _latency(group, good)


def _latency(group: Sequence[Piece], good: Sequence[Piece]) -> Latency:
    first, response = good[0], pooled(good, "response_s")
    lag, offered = pooled(good, "lag_s"), sum(p.offered for p in good)
    totals = np.sum([p.outcomes for p in good], axis=0).tolist()
    return Latency(
        scenario=first.run.scenario,
        load=first.block.name,
        rate_per_s=first.block.load.rate_per_s,
        connections=first.block.load.connections,
        service_time_s=first.block.load.service_time_s,
        arm=first.run.arm,
        datapath=first.run.datapath,
        deployments=len(good),
        windows=sum(p.windows for p in good),
        windows_void=sum(p.windows for p in group if not p.valid),
        requests=offered,
        achieved=sum(p.achieved * p.offered for p in good) / offered,
        outcomes={str(o): n for o, n in zip(OUTCOMES, totals, strict=True)},
        response_p50_s=quantile(response, 0.5),
        response_mean_s=float(response.mean()) if len(response) else float("nan"),
        response_p90_s=quantile(response, 0.9),
        response_p99_s=quantile(response, 0.99),
        response_p999_s=quantile(response, 0.999) if len(response) >= LEAST_FOR_P999 else None,
        service_p50_s=quantile(pooled(good, "service_s"), 0.5),
        lag_p50_s=quantile(lag, 0.5),
        lag_p99_s=quantile(lag, 0.99),
    )


def capacities(found: Sequence[Piece]) -> Iterator[Capacity]:
    """One entry for each arm that climbed a ladder. A step is kept where every deployment that tried it kept it."""
    ladder = of_kind(found, BlockKind.LADDER)
    for (scenario, arm), group in grouped(ladder, lambda p: (p.run.scenario, p.run.arm)).items():
        steps = tuple(_step(rate, tries) for rate, tries in sorted(_last_tries(group).items()))
        limits = [p.run.saturated_at for p in group if p.run.saturated_at is not None]
        lost = [rate for rate, *_, kept in steps if not kept]
        saturated = min([*limits, *lost], default=None)
        carried = [rate for rate, *_, kept in steps if kept and (saturated is None or rate < saturated)]
        yield Capacity(scenario, arm, group[0].run.datapath, max(carried, default=None), saturated, steps)


def _last_tries(group: Sequence[Piece]) -> dict[float, list[Piece]]:
    """Rate -> the piece that decided it, one a deployment: the repetition where there was one."""
    last: dict[tuple[str, str], Piece] = {}
    for one in group:
        last[one.run.trial, one.block.name.removesuffix(AGAIN)] = one
    return grouped(last.values(), lambda p: p.block.load.rate_per_s)


def _step(rate: float, tries: Sequence[Piece]) -> tuple[float, float, float, float, bool]:
    """Rate, the worst deployment's achieved/offered, median over deployments of p50 and p99, kept by all."""
    middle = [float(np.median([quantile(p.response_s, q) for p in tries])) for q in (0.5, 0.99)]
    return rate, min(p.achieved for p in tries), middle[0], middle[1], all(p.kept for p in tries)


def quantile(values: Floats, q: float) -> float:
    """A quantile with linear interpolation; nan of nothing."""
    return float(np.quantile(values, q)) if len(values) else float("nan")
