"""What is shipped with the simulator follows from published runs."""

from __future__ import annotations

from pathlib import Path

from lab.compile import ROOT
from lab.sim import validation
from lab.sim.calibrate import calibrate
from lab.sim.calibration import SHIPPED, load
from lab.store import Store, runs_in

RUNS = {store.plan.run: store for store in map(Store.open, runs_in(ROOT / "results"))}


def test_the_calibration_is_made_from_the_published_runs_that_it_names(tmp_path: Path) -> None:
    calibrate([RUNS[run] for run in load().runs]).save(tmp_path / "again.json")
    assert load(tmp_path / "again.json") == load(SHIPPED)


def test_the_holdout_s_outcome_is_that_of_its_published_run() -> None:
    shipped = validation.load()
    assert validation.outcome(RUNS[shipped.run]) == shipped


def test_no_prediction_of_the_holdout_was_left_out() -> None:
    shipped = validation.load()
    assert len(shipped.foretold) == len(RUNS[shipped.run].plan.predictions)
