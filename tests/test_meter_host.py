from __future__ import annotations

import time
from pathlib import Path

import pytest
from meter_children import WINDOW, block

from lab.meter.cpu import HOST_CLASSES, host_times
from lab.meter.host import Host, HostSeries, pressure_s, steal_share
from lab.record import BlockKind, Failed

INTERVAL_S = 0.1


def times(**seconds: float) -> dict[str, float]:
    return dict.fromkeys(HOST_CLASSES, 0.0) | seconds


def test_stolen_time_is_a_share_of_all_processors_time() -> None:
    assert steal_share(times(idle=10, steal=1), times(idle=12.7, user=1, steal=1.3)) == pytest.approx(0.3 / 4)
    assert steal_share(times(), times()) == 0


def test_samples_follow_each_other_without_a_gap() -> None:
    with HostSeries(INTERVAL_S) as series:
        time.sleep(5 * INTERVAL_S)
    ends = [int(row["monotonic_ns"] or 0) for row in series.rows]
    starts = [end - float(row["interval_s"] or 0) * 1e9 for end, row in zip(ends, series.rows, strict=True)]
    assert len(ends) >= 3
    assert starts[1:] == pytest.approx(ends[:-1], abs=1e3)


def test_shares_are_shares() -> None:
    with HostSeries(INTERVAL_S) as series:
        time.sleep(3 * INTERVAL_S)
    for row in series.rows:
        assert all(0 <= (row[name] or 0) <= 1 for name in ("steal_share", "idle_share", "softirq_share"))
        assert (row["context_switches_per_s"] or 0) > 0


def test_pressure_is_a_number_or_said_to_be_absent(tmp_path: Path) -> None:
    assert pressure_s("cpu", tmp_path) is None
    (tmp_path / "cpu").write_text("some avg10=0.27 avg60=0.51 avg300=0.24 total=6045953\nfull avg10=0.00 total=0\n")
    assert pressure_s("cpu", tmp_path) == pytest.approx(6.045953)
    with HostSeries(INTERVAL_S) as series:
        time.sleep(INTERVAL_S)
    assert (series.rows[0]["cpu_pressure"] is not None) == series.has_pressure


def test_settling_brings_the_samples_up_to_now() -> None:
    with HostSeries(interval_s=0.5) as series:
        now = time.monotonic_ns()
        series.settle()
        assert int(series.rows[-1]["monotonic_ns"] or 0) >= now
        assert series.worst(now - 1000, now) >= 0


def test_a_span_that_nobody_watched_is_an_error() -> None:
    with HostSeries(INTERVAL_S) as series:
        time.sleep(INTERVAL_S)
    with pytest.raises(Failed, match="no sample"):
        series.worst(0, 1)


def test_stopping_twice_is_stopping_once() -> None:
    series = HostSeries(INTERVAL_S).start()
    assert series.stop() == series.stop()


def test_a_failure_in_the_thread_reaches_the_one_who_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    series = HostSeries(INTERVAL_S).start()
    monkeypatch.setattr("lab.meter.host.STAT", Path("/proc/a file that no kernel has"))
    with pytest.raises(Failed, match="could not be sampled"):
        series.stop()


def test_a_window_has_the_steal_of_its_own_time() -> None:
    meter = Host()
    meter.open(block(BlockKind.LADDER))
    meter.begin(WINDOW)
    (reading,) = meter.end(WINDOW)
    assert (reading.metric, reading.window, reading.arm) == ("steal_share", WINDOW.index, WINDOW.arm)
    assert 0 <= reading.value <= 1


def test_host_time_only_grows() -> None:
    before, after = host_times(), host_times()
    assert all(after[name] >= before[name] for name in HOST_CLASSES if name not in {"idle", "iowait"})
