"""What an agent shows: both text formats, by an independent parser, under OpenTelemetry's names."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.semconv.attributes import error_attributes, http_attributes, url_attributes
from opentelemetry.semconv.metrics import http_metrics
from prometheus_client import parser as old_parser
from prometheus_client.openmetrics import parser as new_parser

from datapaths.bpf.http import BOUNDS_S, METRIC_BYTES, OTHER, Series
from datapaths.bpf.map import processors
from datapaths.bpf.openmetrics import OPENMETRICS, PROMETHEUS, Family, Histogram, counters, negotiated, text
from datapaths.bpf.visibility import FEWEST_KEYS, MOST_BYTES, keys, labels

PARSERS = {
    OPENMETRICS: new_parser.text_string_to_metric_families,
    PROMETHEUS: old_parser.text_string_to_metric_families,
}
NASTY = 'a"b\\c\nd'


def hits(**at: int) -> tuple[int, ...]:
    found = [0] * (len(BOUNDS_S) + 1)
    for place, number in at.items():
        found[int(place[1:])] = number
    return tuple(found)


FAMILIES = [
    Family(
        "http_server_request_duration_seconds",
        "histogram",
        "How long.",
        [
            ({"source": NASTY}, Histogram(BOUNDS_S, hits(_100=2, _101=1), 0.25)),
            ({"source": "x"}, Histogram(BOUNDS_S, hits(_0=1, _300=4), 12345678.5)),
            ({"source": "none"}, Histogram(BOUNDS_S, hits(), 0.0)),
        ],
        "seconds",
    ),
    Family("size_bytes", "histogram", "How much.", [({}, Histogram((), (3,), 1 << 53))], "bytes"),
    Family("coverage_ratio", "gauge", "How much of it.", [({}, 0.5)], "ratio"),
    *counters("mesh", {"drops": 7}, {}),
    Family("mesh_refused", "counter", "By reason.", [({"reason": "path"}, 1)]),
    Family("mesh_refused", "counter", "By reason.", [({"reason": "method"}, 2)]),
]


def parsed(kind: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families: list[Any] = list(PARSERS[kind](text(FAMILIES, kind)))
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


@pytest.mark.parametrize("kind", PARSERS)
def test_an_independent_parser_reads_back_what_was_written(kind: str) -> None:
    samples = parsed(kind)
    duration = "http_server_request_duration_seconds"
    assert samples[f"{duration}_count", (("source", NASTY),)] == 3
    assert samples[f"{duration}_sum", (("source", "x"),)] == 12345678.5
    assert samples["size_bytes_sum", ()] == 1 << 53
    assert samples["mesh_drops_total", ()] == 7
    assert samples["mesh_refused_total", (("reason", "method"),)] == 2
    assert samples["coverage_ratio", ()] == 0.5


@pytest.mark.parametrize("kind", PARSERS)
def test_all_histograms_of_a_family_have_the_same_buckets_rising_to_their_count(kind: str) -> None:
    buckets: dict[str, list[tuple[float, float]]] = {}
    for (name, given), value in parsed(kind).items():
        if name == "http_server_request_duration_seconds_bucket":
            of = dict(given)
            buckets.setdefault(of["source"], []).append((float(of["le"]), value))
    assert len({tuple(sorted(bound for bound, _ in found)) for found in buckets.values()}) == 1
    for found in buckets.values():
        values = [value for _, value in sorted(found)]
        assert values == sorted(values)
    assert max(value for _, value in buckets["x"]) == 5
    hit = {bound for bound, _ in buckets["x"]}
    assert {f"{b:.9g}" for b in (BOUNDS_S[99], BOUNDS_S[100])} <= {f"{b:.9g}" for b in hit}


def test_openmetrics_ends_with_its_mark_and_names_units_and_the_older_format_does_not() -> None:
    new, old = text(FAMILIES, OPENMETRICS), text(FAMILIES, PROMETHEUS)
    assert new.endswith("# EOF\n")
    assert "# UNIT size_bytes bytes" in new
    assert "EOF" not in old
    assert "# TYPE mesh_drops_total counter" in old


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1", OPENMETRICS),
        ("text/plain;version=0.0.4", PROMETHEUS),
        ("*/*", PROMETHEUS),
        ("", PROMETHEUS),
    ],
)
def test_a_reader_gets_the_format_it_asks_for(accept: str, kind: str) -> None:
    assert negotiated(accept) == kind


def series(**change: Any) -> Series:
    given: dict[str, Any] = {"source": "a", "destination": "b", "method": "GET", "route": "/x/{id}", "status": 503}
    return Series(**(given | change), count=1, response_bytes=5, duration_s=0.1, buckets=hits(_5=1))


def test_labels_are_the_conventions_attributes_with_underscores() -> None:
    def written(attribute: str) -> str:
        return attribute.replace(".", "_")

    assert written(http_metrics.HTTP_SERVER_REQUEST_DURATION) == "http_server_request_duration"
    assert labels(series()) == {
        "source": "a",
        "destination": "b",
        written(http_attributes.HTTP_REQUEST_METHOD): "GET",
        written(http_attributes.HTTP_ROUTE): "/x/{id}",
        written(http_attributes.HTTP_RESPONSE_STATUS_CODE): "503",
        written(url_attributes.URL_SCHEME): "http",
        written(error_attributes.ERROR_TYPE): "503",
    }


def test_what_no_pattern_matched_has_no_route_and_what_found_no_room_says_so() -> None:
    found = labels(series(source=OTHER, destination=OTHER, route=OTHER, status=200))
    assert "http_route" not in found
    assert found["otel_metric_overflow"] == "true"
    assert found["http_response_status_code"] == "2xx"


def test_room_for_keys_follows_the_topology_within_bounds() -> None:
    def told(pods: int, services: int, routes: int) -> dict[str, Any]:
        identities = {f"10.0.{i // 256}.{i % 256}": f"app-{i}" for i in range(pods)}
        endpoints = [[{"address": address}] for address in list(identities)[:services]]
        return {
            "identities": identities,
            "services": [{"endpoints": e} for e in endpoints],
            "routes": [f"/{i}" for i in range(routes)],
        }

    assert keys({}) == FEWEST_KEYS
    assert keys(told(10, 5, 9)) == 11 * 5 * 10 * 4
    assert keys(told(30, 5, 9) | {"local": ["10.0.0.0", "10.0.0.7"]}) == 31 * 1 * 10 * 4  # one of its pods serves
    assert keys(told(1000, 1000, 100)) == max(MOST_BYTES // (METRIC_BYTES * processors()), FEWEST_KEYS)
