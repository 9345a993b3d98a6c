"""Exports say what the run says: read back by the readers of the tools they are for."""

from __future__ import annotations

import io
import json
import re
from itertools import pairwise
from pathlib import Path
from shutil import copytree

import numpy as np
import pandas as pd
import pytest
import synthetic
from google.protobuf import descriptor_pb2, json_format  # type: ignore[import-untyped, unused-ignore]
from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped, unused-ignore]
from hdrh.log import HistogramLogReader  # type: ignore[import-untyped, unused-ignore]
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from typer.testing import CliRunner

from lab.cli import app
from lab.exchange.export import FORMATS, Export, export, place, spec, write
from lab.exchange.export.asked import Asked
from lab.exchange.export.series import Series, series
from lab.exchange.read import read
from lab.foreign import Document
from lab.record import Mistake
from lab.report import frames
from lab.store import Store
from lab.summary import summarise

PRECISION = 10**-3  # of three significant digits


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = synthetic.store(tmp_path_factory.mktemp("export") / "run")
    made.seal(summarise(made))
    return made


@pytest.fixture(scope="module")
def parts(run: Store) -> dict[str, Series]:
    """Raw requests of the block that is looked at, by arm."""
    block = next(b.name for t in run.trials() for b in t.blocks if b.kind == "slices")
    return {one.arm: one for one in series(run, Asked(block=block))}


@pytest.fixture(scope="module")
def block(parts: dict[str, Series]) -> str:
    return next(iter(parts.values())).block.name


def text(made: Export) -> str:
    (raw,) = made.files.values()
    return raw.decode()


def logged(path: Path) -> dict[str, HdrHistogram]:
    """Every tag's histogram, all intervals added, by hdrhistogram's own reader."""
    found: dict[str, HdrHistogram] = {}
    reader = HistogramLogReader(str(path), HdrHistogram(1, 3_600_000_000_000, 3))
    while (interval := reader.get_next_interval_histogram()) is not None:
        whole = found.setdefault(interval.get_tag(), HdrHistogram(1, 3_600_000_000_000, 3))
        whole.add(interval)
    reader.close()
    return found


@pytest.mark.parametrize("times", ["response", "service"])
@pytest.mark.parametrize(("unit", "ns"), [("ns", 1), ("us", 1000)])
def test_a_log_read_back_has_the_raw_requests_percentiles(
    run: Store, parts: dict[str, Series], block: str, tmp_path: Path, times: str, unit: str, ns: int
) -> None:
    path = tmp_path / "run.hlog"
    write(export(run, "hlog", Asked(block=block, times=times, unit=unit)), path)
    found = logged(path)
    ending = ".service" if times == "service" else ""
    assert set(found) == {f"{arm}{ending}" for arm in parts}
    for arm, one in parts.items():
        raw, histogram = np.sort(one.times_ns(times)) // ns, found[f"{arm}{ending}"]
        assert histogram.get_total_count() == len(raw)
        for percent in (50, 90, 99, 100):
            exact = raw[max(1, int(percent / 100 * len(raw) + 0.5)) - 1]  # the rank that HdrHistogram takes
            assert histogram.get_value_at_percentile(percent) == pytest.approx(exact, rel=PRECISION, abs=1)


def test_a_log_has_its_version_times_unit_and_a_line_a_window(run: Store, parts: dict[str, Series], block: str) -> None:
    lines = text(export(run, "hlog", Asked(block=block))).splitlines()
    assert lines[0] == "#[Histogram log format version 1.3]"
    assert re.fullmatch(r"#\[StartTime: 1767323045\.000 \(seconds since epoch\), .* UTC 2026\]", lines[1])
    assert lines[2].startswith("#[BaseTime: 1767323045.000 (seconds since epoch)]")
    assert "Values in ns" in lines[3]
    rows = [line for line in lines if line.startswith("Tag=")]
    windows = sum(len(set(p.rows["window"].tolist())) for one in parts.values() for p in one.parts)
    assert len(rows) == windows
    starts = [float(row.split(",")[1]) for row in rows]
    assert starts == sorted(starts)


def test_tags_of_several_blocks_name_their_block(run: Store) -> None:
    tags = set(re.findall(r"^Tag=([^,]+),", text(export(run, "hlog", Asked(arm="none"))), re.MULTILINE))
    assert len(tags) > 1
    assert all(re.fullmatch(r"http_visibility\.[a-z]+-\d+\.none", tag) for tag in tags)


def test_fortios_files_have_its_fields_and_are_read_back(run: Store, parts: dict[str, Series], block: str) -> None:
    made = export(run, "fortio", Asked(block=block)).files
    assert len(made) == len(parts)
    for arm, one in parts.items():
        raw = made[f"http_visibility.{block}.{arm}.json"]
        data, (format, told) = json.loads(raw), read([Document("own.json", raw)])
        seconds = one.times_ns("response") / 1e9
        assert format == "fortio"
        assert told.requests == len(seconds) == data["RetCodes"]["200"]
        assert told.asked_per_s == one.block.load.rate_per_s
        assert (told.least_s, told.most_s) == pytest.approx((seconds.min(), seconds.max()))
        assert told.mean_s == pytest.approx(seconds.mean())
        assert told.quantile(0.99) == pytest.approx(np.quantile(seconds, 0.99))
        histogram = data["DurationHistogram"]["Data"]
        assert histogram[-1]["Percent"] == pytest.approx(100)
        assert all(a["End"] <= b["Start"] * (1 + 1e-12) for a, b in pairwise(histogram))
        assert {type(data[k]) for k in ("RequestedQPS", "RequestedDuration", "StartTime")} == {str}
        assert isinstance(data["ActualDuration"], int)


def test_smp_is_the_same_in_protobuf_and_in_json(run: Store, parts: dict[str, Series], block: str) -> None:
    made, classes = export(run, "smp", Asked(block=block)).files, spec.classes()
    for arm, one in parts.items():
        name = f"http_visibility.{block}.{arm}"
        for kind, file in (("PerformanceTestResult", name), ("PerformanceTestConfig", f"{name}.config")):
            binary, words = classes[kind].FromString(made[f"{file}.pb"]), classes[kind]()
            json_format.Parse(made[f"{file}.json"], words)
            assert binary == words
        result = json.loads(made[f"{name}.json"])
        ms = one.times_ns("response") / 1e6
        assert result["latencies_ms"]["p99"] == pytest.approx(np.quantile(ms, 0.99))
        assert result["labels"]["repetitions"] == str(len(one.parts))
        assert result["labels"]["loop"] == "open"
        assert json.loads(made[f"{name}.config.json"])["clients"][0]["protocol"] == "PROTOCOL_HTTP"
        assert result["test_id"] == json.loads(made[f"{name}.config.json"])["id"]
    assert "ratio_p50" in json.loads(made[f"http_visibility.{block}.ebpf.json"])["labels"]


def test_smps_messages_have_the_published_numbers(run: Store) -> None:
    """Fields as they lie on the wire: number 6 of a result is a message whose numbers 1 to 6 are doubles."""
    classes = spec.classes()
    result = classes["PerformanceTestResult"]()
    json_format.ParseDict({"latencies_ms": {"p99": 1.5}, "details_uri": "x"}, result)
    assert result.SerializeToString() == b"\x32\x09\x29\x00\x00\x00\x00\x00\x00\xf8\x3f" + b"\x42\x01x"
    found = descriptor_pb2.DescriptorProto()
    result.DESCRIPTOR.CopyToProto(found)
    assert {f.name: f.number for f in found.field}["actual_qps"] == 7
    assert result.DESCRIPTOR.full_name == "smp.PerformanceTestResult"


def test_openmetrics_is_valid_and_counts_what_the_run_counts(run: Store, parts: dict[str, Series], block: str) -> None:
    body = text(export(run, "openmetrics", Asked()))
    families = {family.name: family for family in text_string_to_metric_families(body)}  # type: ignore[no-untyped-call, unused-ignore]
    assert body.endswith("# EOF\n")
    assert families["mesh_lab_response_time_seconds"].unit == "seconds"
    assert families["mesh_lab_memory_bytes"].unit == "bytes"
    assert {"mesh_lab_run", "mesh_lab_requests", "mesh_lab_cpu_per_request_seconds", "mesh_lab_seen_requests",
            "mesh_lab_kept_rate_requests_per_second"} <= set(families)  # fmt: skip
    assert all(family.documentation for family in families.values())
    for arm, one in parts.items():
        where = {"scenario": "http_visibility", "block": block, "arm": arm}
        samples = families["mesh_lab_response_time_seconds"].samples
        (count,) = [s.value for s in samples if s.name.endswith("_count") and s.labels == where]
        assert count == len(one.times_ns("response"))
        (total,) = [s.value for s in samples if s.name.endswith("_sum") and s.labels == where]
        assert total == pytest.approx(one.times_ns("response").sum() / 1e9)
    summary = run.summary()
    seen = sum(s.value for s in families["mesh_lab_seen_requests"].samples)
    assert seen == sum(a.seen for a in summary.accounting)


def test_csv_is_the_frames_with_their_meanings(run: Store) -> None:
    made = export(run, "csv", Asked()).files
    meanings = pd.read_csv(io.BytesIO(made["columns.csv"]))
    assert set(meanings["frame"]) == {name.removesuffix(".csv") for name in made} - {"columns"}
    found = pd.read_csv(io.BytesIO(made["latencies.csv"]))
    pd.testing.assert_frame_equal(found, frames.latencies(run).astype(found.dtypes))
    assert meanings["meaning"].notna().all()


def test_raw_requests_go_out_by_arm_and_block(run: Store, block: str) -> None:
    made = export(run, "csv", Asked(arm="ebpf", block=block, frame="requests"))
    found = pd.read_csv(io.StringIO(text(made)))
    assert len(found) == len(frames.requests(run, "ebpf", block))
    assert {"response_s", "service_s", "scheduled_ns"} <= set(found)


def test_one_frame_can_be_narrowed(run: Store, block: str) -> None:
    found = pd.read_csv(io.StringIO(text(export(run, "csv", Asked(arm="ebpf", block=block, frame="latencies")))))
    assert set(found["arm"]) == {"ebpf"}
    assert set(found["load"]) == {block}


@pytest.mark.parametrize(
    ("format", "asked", "expected"),
    [
        ("xml", Asked(), "allowed: hlog, fortio, smp, openmetrics, csv"),
        ("hlog", Asked(arm="istio"), "there are scenarios http_visibility; blocks"),
        ("csv", Asked(frame="nothing"), "--frame 'nothing' is unknown; allowed: latencies"),
        ("csv", Asked(frame="requests"), "needs --arm and --block"),
        ("csv", Asked(times="service"), "--times is nothing to --format csv"),
        ("hlog", Asked(unit="s"), "--unit 's' is unknown; allowed: ns, us"),
        ("fortio", Asked(times="both"), "choose response or service"),
        ("fortio", Asked(unit="us"), "it is for hlog: leave it out"),
    ],
)
def test_what_cannot_be_exported_says_what_can(run: Store, format: str, asked: Asked, expected: str) -> None:
    with pytest.raises(Mistake, match=re.escape(expected)):
        export(run, format, asked)


def test_what_gates_left_out_is_left_out(tmp_path: Path) -> None:
    truth = synthetic.Truth(miscounted={"ebpf": 3})
    made = synthetic.store(tmp_path / "run", truth=truth)
    with pytest.raises(Mistake, match="gates left out every block"):
        export(made, "hlog", Asked(arm="ebpf"))


def test_a_run_without_trials_has_no_raw_requests(tmp_path: Path) -> None:
    made = synthetic.store(tmp_path / "run", synthetic.small_plan(synthetic.small()))
    empty = Store.create(tmp_path / "empty", made.plan, {})
    with pytest.raises(Mistake, match="no trials"):
        export(empty, "fortio", Asked())


def test_an_export_replaces_nothing_unless_forced(run: Store, block: str, tmp_path: Path) -> None:
    made = export(run, "fortio", Asked(block=block))
    first = write(made, tmp_path / "out")
    with pytest.raises(Mistake, match="exists; choose another place"):
        write(made, tmp_path / "out")
    assert write(made, tmp_path / "out", force=True) == first


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_has_a_default_place_outside_of_the_run(run: Store, format: str) -> None:
    assert place(run, format).parts[0] == "exports"
    assert run.folder.name in place(run, format).parts[1]


def test_the_command_writes_to_standard_output(run: Store, block: str) -> None:
    words = ["export", str(run.folder), "--format", "fortio", "--block", block, "--arm", "none", "--out", "-"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["RunType"] == "HTTP"


def test_the_command_refuses_several_files_on_standard_output(run: Store) -> None:
    result = CliRunner().invoke(app, ["export", str(run.folder), "--format", "smp", "--out", "-"])
    assert result.exit_code == 2
    assert "takes one file" in result.stderr


def test_the_command_exports_nothing_that_was_changed(
    run: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(copytree(run.folder, tmp_path / "copy"))
    (copy / "system.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["export", str(copy), "--format", "csv"])
    assert result.exit_code == 2
    assert "nothing is exported" in result.stderr
    assert not (tmp_path / "exports").exists()
