"""What is published is what was measured. (What the README shows of it: `tests/test_report_renewed.py`.)"""

from __future__ import annotations

from lab import forecast
from lab.check import check
from lab.compile import ROOT
from lab.report import readme
from lab.store import runs_in


def test_published_forecasts_are_what_was_written() -> None:
    found = [file.parent for file in (ROOT / "results" / readme.FORECASTS).glob("*/forecast.json")]
    assert found
    assert {folder.name: forecast.check(folder) for folder in found} == {folder.name: () for folder in found}


def test_published_runs_stand_a_strict_check() -> None:
    runs = runs_in(ROOT / "results")
    assert runs
    assert {run.name: check(run, strict=True) for run in runs} == {run.name: () for run in runs}
