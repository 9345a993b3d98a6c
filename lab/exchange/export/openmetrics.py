"""OpenMetrics text of a whole run: times as histograms, everything else of the summary as gauges and counters.

Format: OpenMetrics 1.0 (https://prometheus.io/docs/specs/om/open_metrics_spec/), written by prometheus_client. Values
are those of the whole run, not of a moment, so no sample has a time of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from typing import Any

import numpy as np
from prometheus_client.core import (
    CollectorRegistry,
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.registry import Collector

from lab.exchange.export.asked import Asked
from lab.exchange.export.series import Series, series
from lab.store import Store
from lab.summary import Estimate, Summary

PREFIX = "mesh_lab"
BOUNDS_S = (*(step * 10.0**power for power in range(-5, 1) for step in (1, 2, 5)), 10.0)
PLACE = ("scenario", "block", "arm")
BOUNDS = ("value", "low", "high")


def files(store: Store, asked: Asked) -> Mapping[str, bytes]:
    """The text, ended by `# EOF`."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Run(store, asked))
    return {f"{store.plan.run}.txt": generate_latest(registry)}  # type: ignore[no-untyped-call, unused-ignore]


class _Run(Collector):
    """What `generate_latest` asks for families."""

    def __init__(self, store: Store, asked: Asked) -> None:
        self.store, self.asked = store, asked

    def collect(self) -> Iterable[Metric]:
        """Every family that has a sample."""
        summary = self.store.summary()
        found = series(self.store, self.asked)
        families = (
            _info(self.store, summary),
            *_times(found),
            _requests(found),
            *_capacities(summary, self.asked),
            _cpu(summary, self.asked),
            _memory(summary, self.asked),
            _connections(summary, self.asked),
            *_proofs(summary, self.asked),
            _ratios(summary, self.asked),
        )
        return [family for family in families if family.samples]


def _info(store: Store, summary: Summary) -> Metric:
    made = InfoMetricFamily(f"{PREFIX}_run", "The run that all of this is of.")
    plan = store.plan
    facts = {"run": plan.run, "created": plan.created, "profile": plan.profile, "origin": summary.origin}
    made.add_metric([], {**facts, "plan_sha256": store.manifest.plan_sha256})
    return made


def _times(found: Iterable[Series]) -> Iterator[Metric]:
    for kind, words in (("response", "scheduled send"), ("service", "actual send")):
        text = f"From the {words} to the end of the answer: complete answers in valid windows."
        made = HistogramMetricFamily(f"{PREFIX}_{kind}_time_seconds", text, labels=PLACE, unit="seconds")
        for one in found:
            seconds = np.sort(one.times_ns(kind) / 1e9)
            counts = np.searchsorted(seconds, BOUNDS_S, side="right")
            buckets = [(_bound(b), float(n)) for b, n in zip(BOUNDS_S, counts, strict=True)]
            made.add_metric(_where(one), [*buckets, ("+Inf", float(len(seconds)))], sum_value=float(seconds.sum()))
        yield made


def _bound(seconds: float) -> str:
    return repr(float(f"{seconds:.6g}"))


def _requests(found: Iterable[Series]) -> Metric:
    words = "Requests of valid windows by status; 0: no answer."
    made = CounterMetricFamily(f"{PREFIX}_requests", words, labels=(*PLACE, "status"))
    for one in found:
        lost = one.offered - sum(len(part.rows) for part in one.parts)
        for status, count in {**({0: lost} if lost else {}), **one.statuses}.items():
            made.add_metric([*_where(one), str(status)], count)
    return made


def _capacities(summary: Summary, asked: Asked) -> Iterator[Metric]:
    kept = _gauge("kept_rate_requests_per_second", "Highest rate of the ladder that was kept.", ("scenario", "arm"))
    lost = _gauge("saturated_rate_requests_per_second", "Lowest rate that was not kept.", ("scenario", "arm"))
    for x in summary.capacities:
        if _wanted(asked, x.scenario, x.arm):
            for made, value in ((kept, x.kept_per_s), (lost, x.saturated_per_s)):
                if value is not None:
                    made.add_metric([x.scenario, x.arm], value)
    yield from (kept, lost)


def _cpu(summary: Summary, asked: Asked) -> Metric:
    words = "Processor time per request by part; bpf lies within the others; low and high: its 95 % interval."
    made = _gauge("cpu_per_request_seconds", words, (*PLACE, "part", "bound"), "seconds")
    for x in summary.costs:
        if _wanted(asked, x.scenario, x.arm, x.load):
            for part, spent in x.per_request_s.items():
                _estimate(made, [x.scenario, x.load, x.arm, part], spent)
    return made


def _memory(summary: Summary, asked: Asked) -> Metric:
    words = "Memory of each part, each way of counting: pss, private, rss of its processes, bpf maps and programs."
    made = _gauge("memory_bytes", words, (*PLACE, "part", "counted"), "bytes")
    for x in summary.memories:
        if _wanted(asked, x.scenario, x.arm, x.load):
            for way in ("pss", "private", "rss", "bpf"):
                made.add_metric([x.scenario, x.load, x.arm, x.part, way], getattr(x, f"{way}_bytes"))
    return made


def _connections(summary: Summary, asked: Asked) -> Metric:
    words = "TCP connections on the path for each connection of the application: counted, and by the arm's formula."
    made = _gauge("connections_per_connection", words, (*PLACE, "by"))
    for x in summary.sockets:
        if _wanted(asked, x.scenario, x.arm, x.load):
            made.add_metric([x.scenario, x.load, x.arm, "count"], x.observed_per_connection)
            made.add_metric([x.scenario, x.load, x.arm, "formula"], x.expected_per_connection)
    return made


def _proofs(summary: Summary, asked: Asked) -> Iterator[Metric]:
    labels = ("scenario", "arm", "observer")
    sent = CounterMetricFamily(f"{PREFIX}_sent_requests", "Requests put on the wire.", labels=labels)
    seen = CounterMetricFamily(f"{PREFIX}_seen_requests", "The datapath's own count of them.", labels=labels)
    for x in summary.accounting:
        if _wanted(asked, x.scenario, x.arm):
            sent.add_metric([x.scenario, x.arm, x.observer], x.sent)
            seen.add_metric([x.scenario, x.arm, x.observer], x.seen)
    yield from (sent, seen)


def _ratios(summary: Summary, asked: Asked) -> Metric:
    words = "Time of an arm as a ratio to the baseline's within the same rounds; low and high: its 95 % interval."
    made = _gauge("response_time_ratio", words, (*PLACE, "base", "metric", "bound"), "ratio")
    for x in summary.contrasts:
        if _wanted(asked, x.scenario, x.arm, x.load):
            _estimate(made, [x.scenario, x.load, x.arm, x.base, x.metric], x.ratio)
    return made


def _gauge(name: str, words: str, labels: tuple[str, ...], unit: str = "") -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}_{name}", words, labels=labels, unit=unit)


def _estimate(made: GaugeMetricFamily, where: list[str], found: Estimate) -> None:
    for bound in BOUNDS:
        value = getattr(found, bound)
        if isfinite(value):
            made.add_metric([*where, bound], value)


def _where(one: Series) -> list[str]:
    return [one.scenario, one.block.name, one.arm]


def _wanted(asked: Asked, scenario: str, arm: str, block: Any = "") -> bool:
    """Capacities and proofs are of no single block: they are left in whatever block is asked for."""
    return asked.scenario in ("", scenario) and asked.arm in ("", arm) and (not block or asked.block in ("", block))
