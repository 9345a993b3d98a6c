import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab.load.rivals import bursts, installed
from lab.load.table import COLUMNS, END, START, about, promises, renew, table

ROOT = Path(__file__).resolve().parent.parent
PAGE, DATA = ROOT / "docs" / "load-generators.md", ROOT / "docs" / "data" / "load-generators.json"


def stored() -> dict[str, Any]:
    return dict(json.loads(DATA.read_text()))


def test_the_page_shows_the_stored_run_and_nothing_else() -> None:
    page = PAGE.read_text()
    assert renew(page, stored()) == page


def test_every_generator_has_a_row_and_a_cell_for_every_measure() -> None:
    result = stored()
    rows = table(result).splitlines()[2:]
    assert len(rows) == len({run["generator"] for run in result["runs"]})
    assert all(row.count("|") == len(COLUMNS) + 2 for row in rows)


def test_a_missed_promise_says_so() -> None:
    result = copy.deepcopy(stored())
    for run in result["runs"]:
        run["lag_p50_us"] = 61.0
    lag = [line for line in promises(result) if "lag" in line]
    assert len(lag) == 2
    assert all("missed (61.0 [61.0, 61.0] µs)" in line for line in lag)


def test_a_page_keeps_what_stands_around_its_table() -> None:
    page = renew(f"before\n{START}\nold\n{END}\nafter\n", stored())
    assert page.startswith(f"before\n{START}\n{about(stored())}")
    assert page.endswith(f"\n{END}\nafter\n")
    assert "old" not in page


def test_bursts_are_told_from_even_and_poisson_streams() -> None:
    even = np.arange(10_000) * 100_000
    poisson = np.cumsum(np.random.default_rng(1).exponential(100_000, 100_000)).astype(np.int64)
    volleys = np.repeat(np.arange(100) * 10_000_000, 100)
    assert bursts(even) == 0
    assert abs(bursts(poisson) - 0.18) < 0.01
    assert bursts(volleys) > 0.98


@pytest.mark.parametrize("wrong", [("--rate", "0"), ("--seconds", "-1"), ("--connections", "0")])
def test_what_cannot_be_offered_is_one_line_and_2(wrong: tuple[str, str]) -> None:
    said = bench(*wrong)
    assert said.returncode == 2
    assert re.fullmatch(r"--\w+ [-\d.]+; it must be above 0\n", said.stderr)


@pytest.mark.skipif(os.geteuid() != 0, reason="the bench makes a network namespace, which needs root")
@pytest.mark.skipif(len(installed()) < 2, reason="h2load or wrk is missing (apt-get install nghttp2-client wrk)")
def test_the_bench_measures_everyone(tmp_path: Path) -> None:
    said = bench(
        "--rate", "1000", "--connections", "10", "--seconds", "1", "--repetitions", "1", "--json", f"{tmp_path}/b"
    )
    assert said.returncode == 0, said.stderr
    result = json.loads((tmp_path / "b").read_text())
    assert {run["generator"] for run in result["runs"]} == {
        *("steady, sleeping", "steady, sleeping, uniform", "steady, spinning", "h2load --rps", "wrk")
    }
    assert result["missing"] == []
    assert table(result) in said.stdout


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    argv = (sys.executable, "-m", "lab.load.bench", *words)
    return subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, check=False)
