"""What is published is what was measured. (What the README shows of it: `tests/test_report_renewed.py`.)"""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab import forecast
from lab.check import check
from lab.compile import ROOT
from lab.report import readme
from lab.store import runs_in
from lab.summary import Estimate, Step, StepContrast, Summary
from lab.summary.journeys import ALL


def test_published_forecasts_are_what_was_written() -> None:
    found = [file.parent for file in (ROOT / "results" / readme.FORECASTS).glob("*/forecast.json")]
    assert found
    assert {folder.name: forecast.check(folder) for folder in found} == {folder.name: () for folder in found}


def test_published_runs_stand_a_strict_check() -> None:
    runs = runs_in(ROOT / "results")
    assert runs
    assert {run.name: check(run, strict=True) for run in runs} == {run.name: () for run in runs}


@pytest.mark.parametrize(
    ("folder", "own"),
    [
        ("20261123-quick", True),
        ("forecasts/20261124-fleet-15k", True),
        ("20261123-101500-smoke", False),
        ("20990101-quick", False),
        ("mine", False),
    ],
)
def test_what_somebody_measured_here_does_not_change_the_readme(folder: str, own: bool) -> None:
    assert readme.kept(ROOT / "results" / folder) is own


def step(arm: str, name: str, p50_s: float) -> Step:
    return Step("shop", name, arm, arm, "closed", 60, 2, 0, 200, 1, {"ok": 200}, 30.0, p50_s, p50_s, 0.02, 0.03)


def test_what_users_waited_stands_in_a_table_of_its_own() -> None:
    ratio = Estimate(1.5, 1.25, 1.75)
    against = StepContrast(
        "shop", ALL, "slow", "none", "closed", "p50", ratio, ratio, 2, 12, 0.01, 0.01, 0.1, 0.2, "slower", "x", ()
    )
    empty = Summary("r", "smoke", "measured", (), (), (), (), (), (), (), {}, {}, {}, ())
    steps = (step("slow", ALL, 0.0015), step("none", ALL, 0.001), step("none", "GET page", 9.0))
    found = readme.walked({"r": replace(empty, steps=steps, step_contrasts=(against,))})
    assert "a closed loop: not comparable with the times above" in found
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in found.splitlines() if line.startswith("| `r`")]
    assert rows == [
        ["`r`", "shop", "none", "60", "1.00", "30.0", "0.5 %", "–", "–"],
        ["`r`", "shop", "slow", "60", "1.50", "30.0", "0.5 %", "1.500 [1.250, 1.750]", "slower"],
    ]
    assert readme.walked({"r": empty}) == ""
