"""A small site for tests: two published runs, a forecast, and folders of kinds that nobody has heard of."""

from __future__ import annotations

import hashlib
import json
import tempfile
from functools import cache
from pathlib import Path

from lab.compile import ROOT
from lab.report.site import pages

RUNS = ("20261123-ebpf-10000", "20261123-proxy-memory")  # contrasts and a study, quick to draw
HOSTILE = '<script>alert("$1$")</script>&amp;--></style>'
STRANGE = "20260101-str&nge kind"
REPORT = (
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    "<title>x</title></head>"
    '<body><main><h1 id="content">x</h1></main></body></html>\n'
)


@cache
def _kept() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="site-material-")


@cache
def borrowed() -> Path:
    """The results folder, made once for all tests."""
    return _results(Path(_kept().name) / "results")


@cache
def files() -> dict[str, bytes]:
    """The files of its site, made once for all tests."""
    return pages.files(borrowed(), ROOT)


def _results(folder: Path) -> Path:
    """A results folder that borrows what is published."""
    (folder / "forecasts").mkdir(parents=True)
    for name in RUNS:
        (folder / name).symlink_to(ROOT / "results" / name)
    (forecast,) = sorted((ROOT / "results" / "forecasts").iterdir())[:1]
    (folder / "forecasts" / forecast.name).symlink_to(forecast)
    other(folder / STRANGE, HOSTILE, REPORT)
    other(folder / "20260102-silent", "quiet", None)
    return folder


def other(folder: Path, kind: str, report: str | None) -> Path:
    """A folder of another kind, with or without a report."""
    folder.mkdir(parents=True)
    files = {}
    if report is not None:
        (folder / "report").mkdir()
        (folder / "report" / "index.html").write_text(report)
        files["report/index.html"] = hashlib.sha256(report.encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({"schema": 1, "kind": kind, "files": files}))
    return folder
