"""Files of other load generators are read as they are, or refused with what was expected and what was found."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

import pytest
from exchange_material import FOLDER, FORMAT_OF, documents, told
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.exchange.read import FORMATS, read
from lab.exchange.read.locust import rounding
from lab.foreign import Document, Loop, Since
from lab.record import Mistake

AMBIGUOUS = {"wrk.txt", "wrk2-short.txt"}  # without --latency the two tools print the same lines


@pytest.mark.parametrize(("names", "format"), FORMAT_OF.items(), ids="+".join)
def test_a_recorded_file_is_recognised_and_read(names: tuple[str, ...], format: str) -> None:
    if set(names) & AMBIGUOUS:
        with pytest.raises(Mistake, match=r"wrk2 or wrk.*--format"):
            read(documents(*names))
    else:
        assert read(documents(*names))[0] == format
    found = told(*names)
    assert found.requests > 0
    assert found.quantiles == tuple(sorted(found.quantiles))
    assert found.most_s is not None
    assert found.mean_s is not None
    assert 0 < found.mean_s <= found.most_s


def test_fortio_tells_its_rate_and_its_buckets_hold_every_call() -> None:
    found = told("fortio.json")
    assert (found.version, found.loop, found.since) == ("1.75.2", Loop.PACED, Since.SEND)
    assert (found.asked_per_s, found.connections, found.opened) == (1000.0, 8, 8)
    assert sum(count for *_, count in found.buckets) == found.requests == 5000
    assert found.quantile(0.99) == 0.00463
    assert found.duration_s == pytest.approx(5.001000123)
    assert found.resolution_s == pytest.approx(0.001)  # the bucket of the median


def test_fortio_at_the_most_it_can_is_a_closed_loop() -> None:
    data = json.loads((FOLDER / "fortio.json").read_text()) | {"RequestedQPS": "max"}
    _, found = read([Document("max.json", json.dumps(data).encode())])
    assert found.loop is Loop.CLOSED
    assert found.asked_per_s is None


def test_wrk_is_a_closed_loop_without_a_rate() -> None:
    found = told("wrk-latency.txt")
    assert (found.loop, found.since, found.asked_per_s) == (Loop.CLOSED, Since.SEND, None)
    assert [share for share, _ in found.quantiles] == [0.5, 0.75, 0.9, 0.99]
    assert found.quantile(0.5) == pytest.approx(272e-6)
    assert any("no rate" in note for note in found.notes)


def test_wrk2_counts_from_its_schedule_and_keeps_both_distributions() -> None:
    found = told("wrk2.txt")
    assert (found.loop, found.since) == (Loop.PACED, Since.SCHEDULE)
    assert (found.requests, found.discarded) == (890, 3902 - 890)  # ten of thirteen seconds calibrate
    assert found.quantile(0.5) == pytest.approx(1.007e-3)
    assert found.quantile(0.99) == pytest.approx(12.06e-3)
    assert dict(found.uncorrected)[0.5] == pytest.approx(118e-6, rel=0.01)


def test_times_from_the_send_alone_are_not_taken_for_those_from_the_schedule() -> None:
    body = (FOLDER / "wrk2.txt").read_text()
    start, end = body.index("  Latency Distribution (HdrHistogram - Recorded"), body.index("-" * 58) + 59
    format, found = read([Document("u.txt", (body[:start] + body[end:]).encode())])
    assert (format, found.quantiles) == ("wrk2", ())
    assert dict(found.uncorrected)[0.5] == pytest.approx(118e-6, rel=0.01)


def test_nighthawk_adds_up_its_workers() -> None:
    found = told("nighthawk.json")
    assert (found.loop, found.version, found.label) == (Loop.OPEN, "0.6.0", "mesh two workers")
    assert (found.asked_per_s, found.connections, found.threads) == (2000.0, 8, 2)
    assert found.parts == {"worker_0": 4996, "worker_1": 4996, "global": 9992}
    assert found.quantile(0.5) == pytest.approx(115e-6)


def test_h2loads_log_gives_what_its_output_does_not() -> None:
    printed, both = told("h2load-rps.txt"), told("h2load-rps.txt", "h2load-rps.tsv")
    assert not printed.quantiles
    assert both.requests == printed.requests == 1010
    assert both.connections == printed.connections == 10
    assert both.quantile(1.0) is None
    assert both.most_s == pytest.approx(printed.most_s or 0, rel=0.001)
    assert both.together is not None
    assert both.together > 0.5


def test_files_of_two_runs_are_not_joined() -> None:
    with pytest.raises(Mistake, match="1010 requests, the output says 2000"):
        read(documents("h2load.txt", "h2load-rps.tsv"))


def test_locusts_failures_are_among_its_times() -> None:
    found = told("locust_stats.csv", "locust_stats_history.csv")
    assert (found.loop, found.connections) == (Loop.CLOSED, 5)
    assert found.errors == found.errors_timed == 79
    assert found.parts == {"GET /": 212, "GET missing": 79}
    assert sum(found.parts.values()) == found.requests == 291


def test_locust_rounds_the_more_the_longer_it_took() -> None:
    assert [rounding(s) for s in (0.02, 0.2, 2, 20)] == [1e-3, 1e-2, 0.1, 1.0]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"DurationHistogram": None}, "DurationHistogram must be an object; found None"),
        ({"RequestedQPS": "fast"}, "must be a number above 0, or 'max'; found 'fast'"),
        ({"ActualQPS": "NaN"}, "ActualQPS must be a number; found 'NaN'"),
        ({"ActualDuration": -1}, "must be a finite number from 0 to 1e+18; found -1"),
        ({"NumThreads": 10**400}, "must be a finite number"),
        ({"RetCodes": {"200": 1.5}}, "must be a whole number"),
    ],
)
def test_a_field_that_is_wrong_is_named_with_what_was_found(change: dict[str, Any], expected: str) -> None:
    data = json.loads((FOLDER / "fortio.json").read_text()) | change
    with pytest.raises(Mistake, match=f"bad.json: .*{re.escape(expected)}"):
        read([Document("bad.json", json.dumps(data).encode())], "fortio")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", "is of no known format"),
        (b"\xff\xfe", "is no text"),
        (b"Running\0", "NUL"),
        (b"hello", "begins with 'hello'. Expected: Fortio's"),
        (b"[" * 100_000, "no known format"),
    ],
)
def test_a_file_of_no_known_format_is_refused(raw: bytes, expected: str) -> None:
    with pytest.raises(Mistake, match=re.escape(expected)):
        read([Document("strange", raw)])


def test_json_nested_too_deep_is_refused() -> None:
    with pytest.raises(Mistake, match="is not JSON"):
        read([Document("deep.json", b'{"a":' * 100_000)], "fortio")


def test_an_unknown_format_names_those_that_there_are() -> None:
    with pytest.raises(Mistake, match="auto, fortio, wrk2, wrk, nighthawk, h2load, locust"):
        read(documents("fortio.json"), "vegeta")


def test_labels_are_printable_and_short() -> None:
    data = json.loads((FOLDER / "fortio.json").read_text()) | {"Labels": "a\x1b[31m\n<script>" + "x" * 5000}
    _, found = read([Document("label.json", json.dumps(data).encode())])
    assert len(found.label) <= 200
    assert found.label.isprintable()


def outcome(document: Document, format: str) -> None:
    """Read it, or be told why not; nothing else."""
    with suppress(Mistake):
        read([document], format)


SAMPLES = [names[0] for names in FORMAT_OF if len(names) == 1]
FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("name", SAMPLES)
@FUZZ
@given(data=st.data())
def test_a_file_that_was_cut_or_spoilt_is_read_or_refused(name: str, data: st.DataObject) -> None:
    raw = bytearray((FOLDER / name).read_bytes())
    cut = data.draw(st.integers(0, len(raw)))
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place : place + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
        raw = raw or bytearray(b" ")
    outcome(Document(name, bytes(raw[:cut])), FORMAT_OF[(name,)])
    outcome(Document(name, bytes(raw)), FORMAT_OF[(name,)])


@pytest.mark.parametrize("format", FORMATS)
@FUZZ
@given(raw=st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda s: s.encode("utf-8", "replace"))))
def test_garbage_is_refused(format: str, raw: bytes) -> None:
    outcome(Document("garbage", raw), format)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(("name", "format"), [("fortio.json", "fortio"), ("nighthawk.json", "nighthawk")])
@FUZZ
@given(data=st.data())
def test_json_with_anything_in_any_place_is_read_or_refused(name: str, format: str, data: st.DataObject) -> None:
    whole = json.loads((FOLDER / name).read_text())
    place = whole
    while isinstance(place, dict | list) and place:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if data.draw(st.booleans()) or not isinstance(place[key], dict | list) or not place[key]:
            place[key] = data.draw(JSON)
            break
        place = place[key]
    outcome(Document(name, json.dumps(whole).encode()), format)
