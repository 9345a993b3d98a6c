"""Records become the same bytes everywhere, and the bytes become the same records."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lab import codec
from lab.record import Mistake
from lab.summary import Summary

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
SUMMARY = Summary("synthetic-1", "tiny", "measured", (), (), (), (), (), (), (), {}, {"steal": 0.5}, {}, ("made up",))


def test_records_are_the_same_bytes_whatever_the_order_of_their_sets() -> None:
    script = (
        "from lab import codec; from lab.scenario import find_scenario;"
        "print(codec.text(codec.dump(find_scenario('http_visibility'))))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={**ENVIRONMENT, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(texts) == 1


def test_numbers_that_are_none_survive() -> None:
    raw = codec.text(codec.dump(replace(SUMMARY, host={"steal": float("nan"), "worst": float("inf")})))
    host = codec.load(Summary, codec.parse(raw)).host
    assert np.isnan(host["steal"])
    assert host["worst"] == float("inf")


def test_data_that_does_not_fit_its_record_names_the_field() -> None:
    with pytest.raises(Mistake, match=r"not a Summary: host\.steal: Input should be a valid number"):
        codec.load(Summary, {**codec.dump(SUMMARY), "host": {"steal": "much"}})
