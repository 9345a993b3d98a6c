"""The gates: what makes a block of an arm invalid, and that silence never passes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lab import gates
from lab.record import OUTCOMES, Block, BlockKind, Feature, Finding, Load, Outcome, Reading, Window

DTYPE = np.dtype(
    [
        ("window", "i4"),
        ("scheduled_ns", "i8"),
        ("sent_ns", "i8"),
        ("first_byte_ns", "i8"),
        ("done_ns", "i8"),
        ("connection", "i4"),
        ("status", "i2"),
        ("outcome", "i1"),
    ]
)
MS = 1_000_000
LOAD = Load(rate_per_s=1000, connections=4)
BLOCK = Block("ladder-1000", BlockKind.LADDER, LOAD, (Window(0, 0, "ebpf", 0.0, 1.0),))
SLICES = Block(
    "slices-1000", BlockKind.SLICES, LOAD, tuple(Window(i, i, "ebpf", i * 0.15, 0.1) for i in range(4)), drop_s=0.02
)


def requests(block: Block = BLOCK, service_ms: float = 0.2, late_ms: float = 0.02) -> npt.NDArray[Any]:
    """Uniform sends, each answered after `service_ms`, sent `late_ms` after its schedule."""
    found = []
    for window in block.windows:
        rows = np.zeros(round(LOAD.rate_per_s * window.duration_s), dtype=DTYPE)
        rows["window"] = window.index
        rows["scheduled_ns"] = round(window.start_s * 1e9) + np.arange(len(rows)) * MS
        rows["sent_ns"] = rows["scheduled_ns"] + round(late_ms * MS)
        rows["done_ns"] = rows["sent_ns"] + round(service_ms * MS)
        rows["first_byte_ns"] = rows["done_ns"]
        rows["connection"] = np.arange(len(rows)) % LOAD.connections
        rows["status"] = 200
        found.append(rows)
    return np.concatenate(found)


def engine(block: Block = BLOCK, **figures: float) -> list[Reading]:
    values: dict[str, float] = {"on_wire_requests": 1004, "connects": 4, "reconnects": 0}
    values |= {"cpu_user_s": 0.01, "cpu_system_s": 0.01, **figures}
    return [Reading("engine", block.name, -1, "ebpf", "load", "engine", k, v) for k, v in values.items()]


def datapath(seen: float = 1004, factor: float = 1) -> list[Reading]:
    return [
        Reading("datapath", BLOCK.name, -1, "ebpf", "datapath", "agent", "seen_requests", seen),
        Reading("datapath", BLOCK.name, -1, "ebpf", "datapath", "formula", "connections_per_connection", factor),
    ]


def steal(window: int, share: float, block: Block = BLOCK) -> Reading:
    return Reading("host", block.name, window, "ebpf", "host", "all", "steal_share", share)


def path(connections: float) -> Reading:
    return Reading("connections", BLOCK.name, 0, "ebpf", "kernel", "path", "connections", connections)


def judged(
    block: Block = BLOCK, rows: npt.NDArray[Any] | None = None, readings: Iterable[Reading] | None = None
) -> dict[str, Finding]:
    given = [*engine(block), *datapath()] if readings is None else readings
    rows = requests(block) if rows is None else rows
    return {f.gate: f for f in gates.judge(block, "ebpf", rows, given, {Feature.HTTP_METRICS})}


def failed(found: dict[str, Finding]) -> set[str]:
    return {name for name, finding in found.items() if not finding.passed}


def test_a_clean_block_passes_every_gate() -> None:
    found = judged(readings=[*engine(), *datapath(), steal(0, 0.0), path(4)])
    assert failed(found) == set()
    assert set(found) >= {
        "achieved",
        "errors",
        "backlog",
        "lag",
        "connections",
        "generator",
        "steal",
        "accounting",
        "sockets",
    }
    assert gates.valid(found.values(), BLOCK.name)
    assert gates.kept(BLOCK, "ebpf", requests())


def test_a_request_not_answered_in_time_counts_against_the_rate() -> None:
    rows = requests()
    rows["outcome"][-5:] = OUTCOMES.index(Outcome.NOT_SENT)
    rows["status"][-5:] = 0
    found = judged(rows=rows)
    assert failed(found) == {"achieved"}
    assert gates.overloaded(found.values(), BLOCK.name)
    assert not gates.kept(BLOCK, "ebpf", rows)


def test_an_answer_after_the_guard_is_too_late() -> None:
    rows = requests()
    rows["done_ns"][-5:] = 1_060 * MS
    assert "achieved" in failed(judged(rows=rows))


def test_an_error_status_is_an_error_although_the_answer_is_complete() -> None:
    rows = requests()
    rows["status"][3] = 503
    assert failed(judged(rows=rows)) >= {"errors"}


def test_a_line_that_grows_is_an_overload_even_where_all_is_answered() -> None:
    rows = requests()
    rows["done_ns"] += np.arange(len(rows)) * 20_000  # 2 % too slow: 20 ms behind after one second
    rows["sent_ns"] = rows["done_ns"] - MS // 5
    assert "backlog" in failed(judged(rows=rows))
    assert not gates.kept(BLOCK, "ebpf", rows)


def test_one_stall_is_no_backlog() -> None:
    rows = requests()
    stalled = (rows["scheduled_ns"] > 800 * MS) & (rows["scheduled_ns"] < 830 * MS)
    rows["done_ns"][stalled] = 830 * MS
    assert gates.kept(BLOCK, "ebpf", rows)


def test_a_late_engine_fails_but_waiting_for_a_connection_is_not_its_fault() -> None:
    assert {"lag", "lag_mean", "lag_p50"} <= failed(judged(rows=requests(late_ms=1.5)))
    busy = requests(service_ms=0.2)
    busy["connection"] = 0
    busy["done_ns"] = busy["scheduled_ns"][0] + (np.arange(len(busy)) + 1) * (MS + 1000)  # one line, falling behind
    busy["sent_ns"][1:] = busy["done_ns"][:-1] + 1000
    assert judged(rows=busy)["lag"].passed


def test_an_engine_that_is_late_now_and_then_spoils_the_p99_only() -> None:
    rows = requests(SLICES)
    late = rows["window"] == 1
    rows["sent_ns"][late] += 3 * MS
    rows["done_ns"][late] += 3 * MS
    found = judged(SLICES, rows, engine(SLICES)).values()
    mine = [f for f in found if f.gate != "accounting"]
    assert [f.gate for f in mine if not f.passed] == ["lag"]
    assert gates.valid(mine, SLICES.name)
    assert gates.valid(mine, SLICES.name, "p50")
    assert gates.valid(mine, SLICES.name, "mean")
    assert not gates.valid(mine, SLICES.name, "p99")


@pytest.mark.parametrize("figures", [{"connects": 3.0}, {"reconnects": 1.0}])
def test_connections_are_as_planned(figures: dict[str, float]) -> None:
    assert "connections" in failed(judged(readings=[*engine(BLOCK, **figures), *datapath()]))


def test_an_engine_near_the_end_of_its_core_fails_unless_it_spins() -> None:
    readings = [*engine(cpu_user_s=0.85), *datapath()]
    assert failed(judged(readings=readings)) == {"generator"}
    spinning = replace(BLOCK, load=replace(LOAD, spin=True))
    assert "generator" not in judged(spinning, requests(), readings)


def test_steal_labels_and_does_not_void() -> None:
    found = judged(readings=[*engine(), *datapath(), steal(0, 0.05)])
    assert failed(found) == {"steal"}
    assert gates.valid(found.values(), BLOCK.name)


def test_a_window_the_hypervisor_took_is_not_held_against_the_arm() -> None:
    rows = requests(SLICES)
    lost = rows["window"] == 2
    rows["outcome"][lost] = OUTCOMES.index(Outcome.NOT_SENT)
    assert not judged(SLICES, rows, engine(SLICES))["achieved"].passed
    assert judged(SLICES, rows, [*engine(SLICES), steal(2, 0.5, SLICES)])["achieved"].passed


def test_where_most_windows_were_taken_all_are_judged() -> None:
    rows = requests(SLICES)
    rows["outcome"][rows["window"] == 2] = OUTCOMES.index(Outcome.NOT_SENT)
    taken = [steal(i, 0.5, SLICES) for i in (1, 2, 3)]
    assert not judged(SLICES, rows, [*engine(SLICES), *taken])["achieved"].passed


@pytest.mark.parametrize("seen", [1003.0, 1005.0, 0.0])
def test_an_observer_that_miscounts_voids_the_block(seen: float) -> None:
    found = judged(readings=[*engine(), *datapath(seen)])
    assert failed(found) == {"accounting"}
    assert not gates.valid(found.values(), BLOCK.name)


def test_a_count_that_was_not_read_fails() -> None:
    assert failed(judged(readings=engine())) == {"accounting"}
    assert {"connections", "generator", "accounting"} <= failed(judged(readings=datapath()))


def test_the_path_has_as_many_connections_as_the_formula_says() -> None:
    assert "sockets" not in failed(judged(readings=[*engine(), *datapath(factor=3), path(12)]))
    assert "sockets" in failed(judged(readings=[*engine(), *datapath(factor=3), path(8)]))
    assert "sockets" in failed(judged(readings=[*engine(), *datapath()[:1], path(4)]))


def test_parity_asks_every_arm_but_the_baseline() -> None:
    asked = frozenset({Feature.HTTP_METRICS, Feature.HTTP_PARSE})
    assert gates.parity((), asked, gates.BASELINE).passed
    assert gates.parity(asked, asked, "sidecar").passed
    lacking = gates.parity((Feature.HTTP_PARSE,), asked, "sidecar")
    assert not lacking.passed
    assert "http_metrics" in lacking.detail
    assert not gates.valid((lacking,), BLOCK.name)


def test_the_first_part_of_a_window_is_not_judged() -> None:
    kept = gates.judged(SLICES, requests(SLICES))
    assert kept.sum() == 4 * 80
    assert not kept[:20].any()


def test_an_arm_that_answers_nothing_fails_instead_of_breaking() -> None:
    rows = requests()
    rows["outcome"] = OUTCOMES.index(Outcome.REFUSED)
    rows["status"] = 0
    rows["sent_ns"] = rows["done_ns"] = rows["first_byte_ns"] = -1
    assert {"achieved", "errors", "lag", "backlog"} <= failed(judged(rows=rows))
