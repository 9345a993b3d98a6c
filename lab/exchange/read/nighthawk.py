"""Nighthawk's JSON: `nighthawk_client --output-format json`, which is its `nighthawk.client.Output`.

Source: https://github.com/envoyproxy/nighthawk, api/client/output.proto and options.proto, docs/root/statistics.md and
terminology.md. Rate and connections are asked for each worker. Without --open-loop a request waits until a connection
is free, and the statistic `sequencer.blocking` counts that; with it, such a request is left out (`pool_overflow`).
Times run from the send and include requests whose stream was reset.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lab.exchange.read import text
from lab.foreign import Document, Loop, Since, Told
from lab.record import Mistake

TIMES = "benchmark_http_client.request_to_response"
BLOCKING = "sequencer.blocking"
DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)s")
WRONG = ("http_4xx", "http_5xx", "http_xxx", "stream_resets", "pool_connection_failure")
STEP_S = 1e-9


def recognises(body: str) -> bool:
    """Has it Nighthawk's fields?"""
    return body.lstrip()[:1] == "{" and '"results"' in body and '"options"' in body and '"statistics"' in body


def read(documents: Sequence[Document]) -> Told:
    """One run, all workers together."""
    if len(documents) != 1:
        raise Mistake(f"Nighthawk writes one file a run; {len(documents)} were joined by +: give each a repetition")
    name, data = documents[0].name, text.parsed(documents[0])
    options = text.mapping(data.get("options"), f"{name}: options")
    entries = text.items(data.get("results"), f"{name}: results")
    results = [text.mapping(entry, f"{name}: results[{n}]") for n, entry in enumerate(entries)]
    if not results:
        raise Mistake(f"{name}: results is empty; a run without workers says nothing")
    told = _told(results[0] if len(results) == 1 else _global(results, name), max(1, len(results) - 1), options, name)
    return replace(
        told,
        version=_version(data),
        label=text.said(" ".join(map(str, text.items(options.get("labels") or [], f"{name}: labels")))),
        asked_s=_seconds(options["duration"], f"{name}: duration") if options.get("duration") else None,
        parts={text.said(r.get("name")): _count(_statistics(r, name).get(TIMES, {}), name) for r in results},
    )


def _told(whole: Mapping[str, Any], workers: int, options: Mapping[str, Any], name: str) -> Told:
    stats, counters = _statistics(whole, name), _counters(whole, name)
    if TIMES not in stats:
        raise Mistake(f"{name} must have the statistic {TIMES}; found {', '.join(sorted(stats)) or 'none'}"[:300])
    times, wrong = stats[TIMES], sum(counters.get(f"benchmark.{key}", 0) for key in WRONG)
    asked, connections = options.get("requests_per_second"), options.get("connections")
    count = _count(times, name)
    if not count:
        raise Mistake(f"{name}: {TIMES}.count is 0; a run without answers says nothing")
    lasted = _seconds(whole.get("execution_duration"), f"{name}: execution_duration")
    return Told(
        tool="Nighthawk",
        started=text.said(whole.get("execution_start")),
        loop=Loop.OPEN if options.get("open_loop") is True else Loop.PACED,
        since=Since.SEND,
        asked_per_s=text.number(asked, f"{name}: requests_per_second") * workers if asked else None,
        achieved_per_s=count / lasted if lasted else None,
        duration_s=lasted,
        threads=workers,
        connections=text.whole(connections, f"{name}: connections") * workers if connections else None,
        opened=counters.get("upstream_cx_total"),
        answered=max(0, count - wrong),
        errors=wrong,
        errors_timed=min(wrong, count),
        held_back=counters.get("benchmark.pool_overflow", 0) + _count(stats.get(BLOCKING, {}), name),
        statuses={k.removeprefix("benchmark.http_"): n for k, n in counters.items() if k.startswith("benchmark.http_")},
        resolution_s=STEP_S,
        requests=count,
        least_s=_optional(times, "min", name),
        mean_s=_optional(times, "mean", name),
        deviation_s=_optional(times, "pstdev", name),
        most_s=_optional(times, "max", name),
        quantiles=_quantiles(times, name),
    )


def _statistics(result: Mapping[str, Any], name: str) -> dict[str, Mapping[str, Any]]:
    return _named(result, "statistics", "id", name)


def _counters(result: Mapping[str, Any], name: str) -> dict[str, int]:
    entries = _named(result, "counters", "name", name)
    return {key: text.whole(entry.get("value"), f"{name}: {key}") for key, entry in entries.items()}


def _global(results: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    found = [r for r in results if r.get("name") == "global"]
    if len(found) != 1:
        raise Mistake(f"{name} must have one result named 'global' among its {len(results)}; found {len(found)}")
    return found[0]


def _named(result: Mapping[str, Any], key: str, by: str, name: str) -> dict[str, Mapping[str, Any]]:
    """The entries of a list by their names."""
    entries = text.items(result.get(key) or [], f"{name}: {key}")
    found = [text.mapping(entry, f"{name}: {key}[{n}]") for n, entry in enumerate(entries)]
    return {text.said(entry.get(by)): entry for entry in found}


def _count(statistic: Mapping[str, Any], name: str) -> int:
    return text.whole(statistic.get("count", 0), f"{name}: count")


def _seconds(value: object, where: str) -> float:
    match = DURATION.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise Mistake(f"{where} must be a duration like '1.5s'; found {value!r:.60}")
    return float(match[1])


def _optional(statistic: Mapping[str, Any], key: str, name: str) -> float | None:
    return _seconds(statistic[key], f"{name}: {TIMES}.{key}") if key in statistic else None


def _quantiles(times: Mapping[str, Any], name: str) -> tuple[tuple[float, float], ...]:
    where = f"{name}: {TIMES}.percentiles"
    entries = [text.mapping(entry, where) for entry in text.items(times.get("percentiles") or [], where)]
    return text.rising(
        [(text.number(e.get("percentile", 0), where), _seconds(e.get("duration"), where)) for e in entries], where
    )


def _version(data: Mapping[str, Any]) -> str:
    outer = data.get("version")
    inner = outer.get("version") if isinstance(outer, dict) else None
    if not isinstance(inner, dict):
        return ""
    return text.said(".".join(text.said(inner.get(k, 0)) for k in ("major_number", "minor_number", "patch")))
