"""Frames of published results have the columns that their docstrings promise, each with a unit where it has one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab import report
from lab.record import Mistake
from lab.report import frames
from lab.store import Store, runs_in

ROOT = Path(__file__).resolve().parent.parent
RUNS = runs_in(ROOT / "results")
FORECAST = ROOT / "results/forecasts/20261124-fleet-15k"
UNITS = {"_s": r"\bs\b|seconds|share", "_bytes": "bytes", "_ns": r"\bns\b", "_per_s": "/s"}


@pytest.fixture(scope="module", params=RUNS, ids=lambda folder: folder.name)
def run(request: pytest.FixtureRequest) -> Store:
    return report.open(request.param)


def test_every_frame_of_a_run_has_the_columns_that_are_documented(run: Store) -> None:
    for frame in frames.OF_RUNS:
        told, found = list(frames.documented(frame)), list(frame(run).columns)
        extra = [name for name in found if name not in told]
        assert found[: len(told)] == told, frame.__name__
        assert all(name.startswith("parameter_") for name in extra), frame.__name__


def test_every_frame_of_a_forecast_has_the_columns_that_are_documented() -> None:
    answer = report.open_forecast(FORECAST)
    for frame in frames.OF_FORECASTS:
        found = frame(answer)
        assert list(found.columns) == list(frames.documented(frame))
        assert len(found), frame.__name__


def test_raw_requests_have_the_columns_that_are_documented() -> None:
    run = report.open("results/20261123-quick")
    found = report.requests(run, "ebpf", "slices-1000")
    assert list(found.columns) == list(frames.documented(report.requests))
    assert ((found.done_ns - found.scheduled_ns) / 1e9 - found.response_s).abs().max() < 1e-12


def test_columns_that_name_a_unit_say_it() -> None:
    for frame in (*frames.OF_RUNS, *frames.OF_FORECASTS, report.requests):
        for name, words in frames.documented(frame).items():
            for ending, unit in UNITS.items():
                if name.endswith(ending) and not (ending == "_s" and name.endswith("_per_s")):
                    assert re.search(unit, words) or name == "context_switches_per_s", (frame.__name__, name, words)


def test_frames_say_what_the_summary_says() -> None:
    run = report.open("results/20261123-quick")
    summary = run.summary()
    costs = report.costs(run)
    assert costs[costs.part != "bpf"].groupby(["arm", "load"]).size().min() > 2
    total = costs[(costs.arm == "none") & (costs.load == "cost-1000") & (costs.part == "total")].per_request_s.item()
    assert total == next(c for c in summary.costs if c.arm == "none").per_request_s["total"].value
    paths = report.connections(run)
    assert (paths.drop_duplicates(["arm", "load"]).observed_per_connection.isin([1, 2, 3])).all()


def test_a_run_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert report.open("results/20261123-quick").sealed


def test_the_columns_of_a_frame_are_a_frame() -> None:
    told = report.columns(report.latencies).set_index("column").meaning
    assert told["response_p50_s"].endswith("s")
    with pytest.raises(Mistake, match="open has no documented columns"):
        report.columns(report.open)


def test_every_run_is_listed_and_can_be_opened() -> None:
    found = report.runs()
    assert list(found.columns) == list(frames.documented(report.runs))
    assert {"20261123-quick", "20261123-holdout"} <= {Path(folder).name for folder in found.folder}
    assert list(found.created) == sorted(found.created)
    assert report.open(found.folder.iloc[0]).plan.command == found.command.iloc[0]
    assert set(found.loop) <= {"open", "closed"}


def test_a_run_is_no_forecast() -> None:
    with pytest.raises(Mistake, match="holds no forecast"):
        report.open_forecast("results/20261123-quick")
