"""Counts in Prometheus' text format (version 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from datapaths.bpf.http import BOUNDS_S, Series

_NAME = "http_server_request_duration_seconds"
_BYTES = "http_server_response_body_bytes_total"


def text(series: Iterable[Series], totals: Mapping[str, int]) -> str:
    """Histograms by source, destination, method, route and status, and totals by name.

    Of a histogram only the buckets that have ever been hit are written, cumulative, and `+Inf`.
    """
    found = list(series)
    lines = [f"# TYPE {_NAME} histogram", *(line for s in found for line in _histogram(s))]
    lines += [f"# TYPE {_BYTES} counter", *(f"{_BYTES}{{{_labels(s)}}} {s.response_bytes}" for s in found)]
    for name, value in totals.items():
        lines += [f"# TYPE mesh_{name}_total counter", f"mesh_{name}_total {value}"]
    return "\n".join(lines) + "\n"


def _histogram(series: Series) -> Iterator[str]:
    labels = _labels(series)
    for bound, hits, below in zip(BOUNDS_S, series.buckets, accumulate(series.buckets), strict=False):
        if hits:
            yield f'{_NAME}_bucket{{{labels},le="{bound:.9g}"}} {below}'
    yield f'{_NAME}_bucket{{{labels},le="+Inf"}} {series.count}'
    yield f"{_NAME}_sum{{{labels}}} {series.duration_s:.9f}"
    yield f"{_NAME}_count{{{labels}}} {series.count}"


def _labels(series: Series) -> str:
    pairs = {
        "source": series.source,
        "destination": series.destination,
        "method": series.method,
        "route": series.route,
        "status": str(series.status),
        "status_class": series.status_class,
    }
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
