"""Service Mesh Performance: a PerformanceTestResult and its PerformanceTestConfig for each arm and block, twice: as
protobuf (`.pb`) and as protobuf's JSON.

What the format has no field for stands in labels: repetitions, the ratio to the baseline with its interval and verdict,
CPU time per request, memory, connections. Raw data stays where `details_uri` points: the run's folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from google.protobuf import json_format  # type: ignore[import-untyped, unused-ignore]

from lab.exchange.export import spec
from lab.exchange.export.asked import Asked
from lab.exchange.export.series import Series, series
from lab.record import Arrivals
from lab.store import Store
from lab.summary import Summary

GENERATOR = "mesh-datapath-lab"


def files(store: Store, asked: Asked) -> Mapping[str, bytes]:
    """Four files a series: result and configuration, `.pb` and `.json`."""
    classes, summary = spec.classes(), store.summary()
    made: dict[str, bytes] = {}
    for one in series(store, asked):
        for kind, name, data in (
            ("PerformanceTestResult", one.name, _result(store, summary, one)),
            ("PerformanceTestConfig", f"{one.name}.config", _config(store, one)),
        ):
            filled = json_format.ParseDict(data, classes[kind]())
            made[f"{name}.pb"] = filled.SerializeToString(deterministic=True)
            made[f"{name}.json"] = json_format.MessageToJson(filled, preserving_proto_field_name=True).encode() + b"\n"
    return made


def _result(store: Store, summary: Summary, one: Series) -> dict[str, Any]:
    ms = one.times_ns("response") / 1e6
    began = datetime.fromisoformat(store.plan.created).astimezone(UTC)
    return {
        "smp_version": spec.VERSION,
        "id": f"{store.plan.run}/{one.name}",
        "test_id": f"{store.plan.run}/{one.name}/config",
        "labels": dict(_labels(store, summary, one)),
        "start_time": _stamp(began),
        "end_time": _stamp(began + timedelta(seconds=store.plan.seconds)),
        "latencies_ms": {
            "min": float(ms.min()),
            "average": float(ms.mean()),
            "p50": float(np.quantile(ms, 0.5)),
            "p90": float(np.quantile(ms, 0.9)),
            "p99": float(np.quantile(ms, 0.99)),
            "max": float(ms.max()),
        },
        "actual_qps": len(ms) / one.judged_s,
        "details_uri": f"{store.folder.name}/report/index.html",
    }


def _config(store: Store, one: Series) -> dict[str, Any]:
    load = one.block.load
    return {
        "smp_version": spec.VERSION,
        "id": f"{store.plan.run}/{one.name}/config",
        "name": one.name,
        "labels": {"arrivals": str(load.arrivals), "service_time_s": f"{load.service_time_s:g}"},
        "clients": [
            {
                "internal": True,
                "load_generator": GENERATOR,
                "protocol": spec.HTTP,
                "connections": load.connections,
                "rps": round(load.rate_per_s),
                "endpoint_urls": [load.path],
                "additional_options": f"open loop; {'Poisson' if load.arrivals is Arrivals.POISSON else 'uniform'}",
            }
        ],
        "duration": f"{one.judged_s:.9g}s",
    }


def _labels(store: Store, summary: Summary, one: Series) -> Iterator[tuple[str, str]]:
    """What has no field, each with its unit in its name."""
    first = one.parts[0].run
    yield "origin", ", ".join(sorted({part.run.origin for part in one.parts}))
    yield "plan_sha256", store.manifest.plan_sha256
    yield "scenario", one.scenario
    yield "block", one.block.name
    yield "arm", one.arm
    yield "datapath", first.datapath
    yield "loop", "open"
    yield "times_from", "schedule"
    yield "end_time_is", "planned"
    yield "repetitions", str(len(one.parts))
    yield "repetitions_void", str(one.void)
    yield "requests", str(sum(len(part.rows) for part in one.parts))
    yield "requests_without_answer", str(one.offered - sum(len(part.rows) for part in one.parts))
    yield from _of_summary(summary, one)


def _of_summary(summary: Summary, one: Series) -> Iterator[tuple[str, str]]:
    for c in summary.contrasts:
        if (c.scenario, c.load, c.arm) == (one.scenario, one.block.name, one.arm) and c.rounds:
            yield f"ratio_{c.metric}", f"{c.ratio.value:.6g} [{c.ratio.low:.6g}, {c.ratio.high:.6g}] of {c.base}"
            yield f"verdict_{c.metric}", c.verdict
    for cost in summary.costs:
        if (cost.scenario, cost.load, cost.arm) == (one.scenario, one.block.name, one.arm):
            for part, spent in cost.per_request_s.items():
                yield f"cpu_{part}_s_per_request", f"{spent.value:.6g}"
    for m in summary.memories:
        if (m.scenario, m.load, m.arm) == (one.scenario, one.block.name, one.arm):
            yield f"memory_{m.part}_pss_bytes", f"{m.pss_bytes:.0f}"
            yield f"memory_{m.part}_bpf_bytes", f"{m.bpf_bytes:.0f}"
    for s in summary.sockets:
        if (s.scenario, s.load, s.arm) == (one.scenario, one.block.name, one.arm):
            yield "connections_per_connection", f"{s.observed_per_connection:g}"


def _stamp(when: datetime) -> str:
    return f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond:06d}Z"
