"""Raw requests as a table: small, and exactly what was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from lab.store import table
from lab.store.table import REQUEST


def test_a_table_gives_back_any_times(tmp_path: Path) -> None:
    dice = np.random.default_rng(1)
    rows = np.zeros(5000, REQUEST)
    for name in REQUEST.names or ():
        kind = np.iinfo(REQUEST[name])
        rows[name] = dice.integers(kind.min, kind.max, len(rows), REQUEST[name].type, endpoint=True)
    for name in table.TIMES:
        rows[name][dice.random(len(rows)) < 0.3] = table.NEVER
    path = tmp_path / "any.parquet"
    path.write_bytes(table.pack({"a": rows[:10], "b": rows[10:10], "c": rows[10:]}, {"fact": "x"}))
    found = table.unpack(path)
    assert list(found) == ["a", "b", "c"]
    np.testing.assert_array_equal(np.concatenate(list(found.values())), rows)
    assert table.facts(path)["fact"] == "x"


def test_a_million_requests_take_less_than_twelve_megabytes() -> None:
    dice = np.random.default_rng(1)
    rows = np.zeros(1_000_000, REQUEST)
    rows["window"] = np.arange(len(rows)) // 1000
    rows["scheduled_ns"] = np.cumsum(dice.exponential(1e5, len(rows)))
    rows["sent_ns"] = rows["scheduled_ns"] + dice.lognormal(11, 0.4, len(rows)).astype(np.int64)
    rows["first_byte_ns"] = rows["sent_ns"] + dice.lognormal(12.2, 0.5, len(rows)).astype(np.int64)
    rows["done_ns"] = rows["first_byte_ns"] + dice.lognormal(8, 0.5, len(rows)).astype(np.int64)
    rows["connection"] = dice.integers(0, 100, len(rows))
    rows["status"] = 200
    assert len(table.pack({"block": rows}, {})) < 12_000_000


def test_a_series_may_be_rows_or_an_array(tmp_path: Path) -> None:
    path = tmp_path / "series.parquet"
    path.write_bytes(table.pack_series([{"second": 1.0, "steal": None}, {"second": 2.0, "steal": 0.5}], {}))
    assert pq.read_table(path).to_pylist() == [{"second": 1.0, "steal": None}, {"second": 2.0, "steal": 0.5}]
    path.write_bytes(table.pack_series(np.array([(1, 2.5)], [("second", "i8"), ("steal", "f8")]), {}))
    assert pq.read_table(path).to_pylist() == [{"second": 1, "steal": 2.5}]
