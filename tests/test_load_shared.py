"""Several engines, one schedule: together they send exactly what one would have sent, and everybody counts the same."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lab import doctor, gates, session
from lab.check import check
from lab.cluster.local import LocalCluster
from lab.load import steady
from lab.load.report import REQUEST, EngineReport
from lab.load.schedule import offsets, owners
from lab.plan import plan
from lab.record import (
    OUTCOMES,
    Arm,
    Arrivals,
    Block,
    BlockKind,
    CannotRun,
    Finding,
    Load,
    Mistake,
    Outcome,
    Placement,
    Profile,
    Reading,
    Run,
    Scenario,
    Trial,
    Window,
)
from lab.store import Store
from lab.trial import Measured, measure

LONG = Window(0, 0, "a", 0.0, 200.0)
RATE = 300.0


def split(arrivals: Arrivals, engines: int) -> list[np.ndarray]:
    times, window = offsets([LONG], RATE, arrivals, seed=7)
    owner = owners([LONG], window, arrivals, 7, engines)
    return [times[owner == engine] for engine in range(engines)]


@pytest.mark.parametrize("arrivals", list(Arrivals))
@pytest.mark.parametrize("engines", [1, 2, 5])
def test_every_request_of_the_schedule_has_exactly_one_engine(arrivals: Arrivals, engines: int) -> None:
    whole, _ = offsets([LONG], RATE, arrivals, seed=7)
    parts = split(arrivals, engines)
    assert np.array_equal(np.sort(np.concatenate(parts)), whole)
    assert all(abs(len(part) - len(whole) / engines) < 6 * len(whole) ** 0.5 for part in parts)


def test_shares_of_a_poisson_stream_are_poisson_and_independent() -> None:
    first, second = ([np.histogram(part, 1000, (0, 200 * 10**9))[0] for part in split(Arrivals.POISSON, 4)])[:2]
    for counts in (first, second):
        assert counts.var() / counts.mean() == pytest.approx(1, abs=6 * (2 / 1000) ** 0.5)  # of any Poisson process
    assert abs(np.corrcoef(first, second)[0, 1]) < 6 / 1000**0.5
    turns = offsets([LONG], RATE, Arrivals.POISSON, seed=7)[0][::4]  # in turn it would be far more even
    gaps = np.diff(turns)
    assert gaps.std() / gaps.mean() < 0.6 < np.diff(split(Arrivals.POISSON, 4)[0]).std() / gaps.mean()


def test_shares_of_an_even_row_are_even_rows() -> None:
    for part in split(Arrivals.UNIFORM, 3):
        assert np.ptp(np.diff(part)) <= 2  # ns, by rounding
        assert np.diff(part).mean() == pytest.approx(3e9 / RATE, rel=1e-6)


def test_who_sends_in_a_window_does_not_depend_on_other_windows() -> None:
    two = (Window(0, 0, "a", 0.0, 1.0), Window(3, 1, "a", 5.0, 1.0))
    _, both = offsets(two, RATE, Arrivals.POISSON, 1)
    _, alone = offsets(two[1:], RATE, Arrivals.POISSON, 1)
    mine = owners(two, both, Arrivals.POISSON, 1, 3)[both == 3]
    assert np.array_equal(mine, owners(two[1:], alone, Arrivals.POISSON, 1, 3))


def test_connections_are_shared_out_and_each_engine_needs_one() -> None:
    assert Load(1, connections=10, engines=4).shares == (3, 3, 2, 2)
    with pytest.raises(Mistake, match=r"engines=3; each needs a connection of its own: allowed are 1 to 2"):
        Load(1, connections=2, engines=3)


def report(scheduled: list[int], connection: list[int]) -> EngineReport:
    rows = np.zeros(len(scheduled), REQUEST)
    rows["scheduled_ns"], rows["connection"] = scheduled, connection
    return EngineReport(rows, 1, len(scheduled) + 1, 1, 0, 10, 20, 0.1, 0.2)


def test_reports_are_merged_in_the_order_of_the_schedule_with_connections_numbered_through() -> None:
    both = steady.merged([report([1, 5, 9], [0, 1, -1]), report([2, 3], [0, 1])], (2, 2))
    assert both.requests["scheduled_ns"].tolist() == [1, 2, 3, 5, 9]
    assert both.requests["connection"].tolist() == [0, 2, 3, 1, -1]
    assert (both.on_wire, both.connects, both.cpu_system_s) == (7, 2, 0.4)
    alone = report([1], [0])
    assert steady.merged([alone], (1,)) is alone


# ------------------------------------------------------------------------------------------------- gates


def four(late_ns: int) -> tuple[Block, np.ndarray]:
    """Four engines of one connection each, of which the last is late."""
    load = Load(1000, connections=4, engines=4)
    rows = np.zeros(400, REQUEST)
    rows["scheduled_ns"] = np.arange(400) * 1_000_000
    rows["connection"] = np.arange(400) % 4
    rows["sent_ns"] = rows["scheduled_ns"] + np.where(rows["connection"] == 3, late_ns, 1000)
    rows["first_byte_ns"] = rows["done_ns"] = rows["sent_ns"] + 100_000
    rows["status"], rows["outcome"] = 200, OUTCOMES.index(Outcome.OK)
    return Block("b", BlockKind.COST, load, (Window(0, 0, "a", 0.0, 0.4),)), rows


def cpu(engine: str, user_s: float) -> list[Reading]:
    values = {"cpu_user_s": user_s, "cpu_system_s": 0.0, "connects": 1.0, "reconnects": 0.0}
    return [Reading("engine", "b", -1, "a", "load", engine, name, value) for name, value in values.items()]


def judged(late_ns: int, busy_s: float, engines: int = 4) -> dict[str, Finding]:
    block, rows = four(late_ns)
    readings = [r for n in range(engines) for r in cpu(f"engine {n}", busy_s if n == 3 else 0.01)]
    return {f.gate: f for f in gates.judge(block, "a", rows, readings)}


def test_the_latest_of_the_engines_is_judged_and_not_their_middle() -> None:
    assert judged(1000, 0.01)["lag_p50"].passed
    late = judged(900_000, 0.01)
    assert not late["lag_p50"].passed
    assert late["lag_p50"].value == pytest.approx(0.0009)


def test_the_busiest_of_the_engines_is_judged_and_a_silent_one_fails() -> None:
    assert judged(1000, 0.3)["generator"].value == pytest.approx(0.75)
    assert not judged(1000, 0.39)["generator"].passed
    assert not judged(1000, 0.01, engines=3)["generator"].passed
    assert not judged(1000, 0.01, engines=3)["connections"].passed


# ------------------------------------------------------------------------- real engines, on this machine

ARMS = ("none", "sidecar", "ebpf")
SECONDS = 0.6


@pytest.fixture(scope="module")
def able() -> None:
    if os.geteuid() or shutil.which("clang") is None:
        pytest.skip("the local cluster needs root, its engine clang")
    lacking = [p for p in doctor.probe(doctor.ALWAYS) if not p.there]
    if lacking:
        pytest.skip(f"{lacking[0].need}: {lacking[0].detail}")


def trial(engines: int) -> Trial:
    load = Load(rate_per_s=300, connections=7, engines=engines)
    windows = tuple(Window(n, 0, arm, n * (SECONDS + 0.4), SECONDS) for n, arm in enumerate(ARMS))
    kinds = (BlockKind.HOLD, BlockKind.COST, BlockKind.REFEREE)
    blocks = tuple(Block(str(kind), kind, load, windows, guard_s=0.4) for kind in kinds)
    arms = tuple(Arm(name, name) for name in ARMS)
    return Trial("shared", "shared", 1, 5, arms, (0, 1, 2), Placement.TWO_NODES, blocks)


@pytest.fixture(scope="module")
def measured(able: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    state = tmp_path_factory.mktemp("state")
    try:
        with LocalCluster(f"shared-{os.getpid()}", nodes=3, state=state) as cluster:
            yield measure(trial(3), cluster, lambda _: None)
    except CannotRun as lacks:
        pytest.skip(str(lacks))


def test_what_is_sent_is_the_one_schedule_and_no_request_is_twice_or_lost(measured: Measured) -> None:
    for arm in ARMS:
        for block in measured.trial.blocks:
            rows = measured.requests[arm][block.name]
            asked, window = offsets(block.only(arm), block.load.rate_per_s, block.load.arrivals, measured.trial.seed)
            assert np.array_equal(rows["scheduled_ns"], asked)
            assert np.array_equal(rows["window"], window)
            assert (rows["outcome"] == OUTCOMES.index(Outcome.OK)).all()


def of_gate(run: Run, gate: str) -> list[Finding]:
    return [f for f in run.findings if f.gate == gate]


def test_the_datapaths_own_counts_equal_what_all_engines_put_on_the_wire(measured: Measured) -> None:
    for run in measured.runs:
        assert all(f.passed for f in of_gate(run, "accounting")), of_gate(run, "accounting")
        observers = {"none": 0, "sidecar": 2, "ebpf": 1}[run.arm]
        assert len(of_gate(run, "accounting")) == observers * len(measured.trial.blocks)
        assert all(f.passed for gate in ("connections", "sockets", "errors") for f in of_gate(run, gate))


def test_each_engine_uses_its_own_connections_on_a_node_of_its_own(measured: Measured) -> None:
    rows = measured.requests["none"]["cost"]
    assert set(rows["connection"]) == set(range(7))
    engines = {name.split("/")[1] for name in measured.files if "engine-cost" in name and name.endswith("/stdout")}
    assert engines == {f"{arm}.{arm}-client{n}.engine-cost" for arm in ARMS for n in ("", "-1", "-2")}


def test_the_referee_watches_the_first_engine_against_its_own_rows(measured: Measured) -> None:
    for run in measured.runs:
        if "no wire" in run.facts:
            pytest.skip(run.facts["no wire"])
        seen = {r.metric: r.value for r in run.readings if r.meter == "wire"}
        rows = measured.requests[run.arm]["referee"]
        first = int((rows["connection"] < trial(3).blocks[0].load.shares[0]).sum())
        assert seen["requests"] == seen["requests_engine"] == first


def test_a_run_of_several_engines_is_resumed_and_checked(
    able: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Load(rate_per_s=200, connections=4)
    profile = Profile(2, 2, 0.1, ladder=(), compare=(load,), window_s=0.3)
    asked = plan([Scenario("shared", "?", ("none",), (), {"smoke": profile})], "smoke", seed=3, engines=2, awake=False)
    assert asked.asked["engines"] == "2"
    assert {block.load.engines for one in asked.trials for block in one.blocks} == {2}
    calls: list[object] = []

    def interrupted(*given: object, **more: object) -> Measured:
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(session, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        session.start(asked, tmp_path / "run", lambda _: None)
    assert len(Store.open(tmp_path / "run").missing()) == 1
    session.resume(tmp_path / "run", lambda _: None)
    assert not Store.open(tmp_path / "run").missing()
    assert check(tmp_path / "run", strict=True) == ()
