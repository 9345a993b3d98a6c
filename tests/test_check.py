"""The checker finds whatever was changed after it was measured, and whatever does not follow from what was measured."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic
from synthetic import Truth

from lab import codec, gates
from lab.check import check, difference
from lab.record import OUTCOMES, Outcome, Run
from lab.store import Store, manifest
from lab.summary import summarise

Requests = dict[str, np.ndarray[Any, Any]]


def finished(folder: Path, truth: Truth | None = None) -> Path:
    store = synthetic.store(folder, truth=truth)
    store.seal(summarise(store))
    store.report({"index.html": b"<html></html>", "figures/one.svg": b"<svg/>"})
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run; not to be changed."""
    return finished(tmp_path_factory.mktemp("results") / "whole")


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def whats(folder: Path, strict: bool = False) -> str:
    return "\n".join(f"{p.file} {p.what}" for p in check(folder, strict))


def test_an_unchanged_run_has_no_problem(whole: Path) -> None:
    assert check(whole) == ()
    assert check(whole, strict=True) == ()


def test_checking_changes_nothing(whole: Path) -> None:
    before = manifest.hashes(whole, whole)
    check(whole, strict=True)
    assert manifest.hashes(whole, whole) == before


def test_any_changed_byte_of_any_file_is_found(copy: Path) -> None:
    dice = random.Random(1)
    for file in sorted(path for path in copy.rglob("*") if path.is_file()):
        raw = file.read_bytes()
        for place in {0, len(raw) - 1, dice.randrange(len(raw))}:
            changed = bytearray(raw)
            changed[place] ^= dice.randrange(1, 256)
            file.write_bytes(changed)
            problems = check(copy, strict=True)
            assert file.name in {Path(p.file).name for p in problems}, (file, place)
            assert all(p.what and p.means for p in problems)
        file.write_bytes(raw)
    assert check(copy, strict=True) == ()


def test_any_changed_byte_of_the_manifest_is_found(copy: Path) -> None:
    file = copy / manifest.NAME
    raw = file.read_bytes()
    dice = random.Random(2)
    for place in range(0, len(raw), 5):
        changed = bytearray(raw)
        changed[place] ^= dice.randrange(1, 256)
        file.write_bytes(changed)
        assert [problem.file for problem in check(copy)] == [manifest.NAME], place


def test_a_file_cut_short_or_missing_is_found(copy: Path) -> None:
    table = copy / "trials/http_visibility-d1/none.parquet"
    table.write_bytes(table.read_bytes()[:-1])
    assert whats(copy) == "trials/http_visibility-d1/none.parquet is not what was written"
    table.unlink()
    assert whats(copy) == "trials/http_visibility-d1/none.parquet is missing"


@pytest.mark.parametrize("name", ["note.txt", "trials/more.json", "trials/.http_visibility-d3/none.json", "report/x"])
def test_a_file_that_nobody_listed_is_found_by_strict(copy: Path, name: str) -> None:
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_text("{}")
    assert check(copy) == ()
    assert whats(copy, strict=True) == f"{name} is not in the manifest"


def test_a_spoilt_report_matters_to_strict_only(copy: Path) -> None:
    (copy / "report/index.html").write_text("better numbers")
    assert check(copy) == ()
    assert whats(copy, strict=True) == "report/index.html is not what was written"


def test_a_folder_that_is_no_run_is_one_problem(tmp_path: Path) -> None:
    assert "no results folder at" in whats(tmp_path / "nowhere")
    assert "it is no results folder" in whats(tmp_path)


def test_an_interrupted_run_is_whole_but_for_strict(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "run", synthetic.small_plan(), {})
    synthetic.add(store, store.plan.trials[0])
    assert check(store.folder) == ()
    assert "trials/http_visibility-d2 was planned and is missing" in whats(store.folder, strict=True)
    assert "summary.json is missing" in whats(store.folder, strict=True)


def test_a_failed_proof_is_no_problem_while_the_run_says_so(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run", Truth(miscounted={"ebpf": 1}))
    assert check(folder, strict=True) == ()
    failed = {(run.arm, f.gate) for run in Store.open(folder).runs() for f in run.findings if not f.passed}
    assert failed == {("ebpf", "accounting")}


def test_a_saturated_arm_is_no_problem(tmp_path: Path) -> None:
    scenario = synthetic.small(ladder=(500, 1000), deployments=1)
    store = synthetic.store(tmp_path / "run", synthetic.small_plan(scenario), Truth(capacity={"sidecar": 600}))
    store.seal(summarise(store))
    assert check(store.folder, strict=True) == ()
    assert {run.arm: run.kept for run in store.runs()}["sidecar"] == 500


def listed_again(folder: Path) -> None:
    """A forger who also writes the manifest anew: hashes no longer show it."""
    old = manifest.read(folder)
    files = {path: sha for path, sha in manifest.hashes(folder, folder).items() if path != manifest.NAME}
    manifest.write(folder, replace(old, files=files, plan_sha256=files["plan.json"]))


def forged(folder: Path, name: str, change: Callable[[Any], Any]) -> None:
    data = codec.parse((folder / name).read_bytes())
    (folder / name).write_bytes(codec.text(change(data) or data))
    listed_again(folder)


RUN = "trials/http_visibility-d1/ebpf.json"


def test_a_run_of_another_plan_is_found(copy: Path) -> None:
    forged(copy, RUN, lambda data: data.update(plan_sha256="0" * 64))
    assert whats(copy) == f"{RUN} names another plan"


def test_a_changed_plan_is_found_by_every_file_that_names_it(copy: Path) -> None:
    forged(copy, "plan.json", lambda data: data["plan"].update(command="another"))
    assert len(check(copy)) == 1 + 2 * (2 * 5 + 2) + 1  # system, each trial's runs and tables and two more, summary


def test_a_gate_that_was_painted_green_is_found(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run", Truth(miscounted={"ebpf": 1}))

    def paint(data: Any) -> None:
        for finding in data["run"]["findings"]:
            finding["passed"] = True

    forged(folder, RUN, paint)
    assert "gates, judged again, differ: accounting of ladder-500[0][0]: True is stored, False computed" in whats(
        folder
    )


def test_a_higher_knee_than_the_ladder_shows_is_found(copy: Path) -> None:
    forged(copy, RUN, lambda data: data["run"].update(kept=20_000.0))
    assert "kept=20000.0; its ladder says 500.0" in whats(copy)


def test_a_better_summary_than_the_trials_is_found_by_strict(copy: Path) -> None:
    forged(copy, "summary.json", lambda data: data["summary"]["latencies"][0].update(response_p50_s=1e-6))
    assert check(copy) == ()
    assert "summary.json differs when computed again: latencies[0].response_p50_s: 1e-06 is stored" in whats(copy, True)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data["trial"]["pairs"].reverse(), "its arms, pairs, seed or placement are not the plan's"),
        (lambda data: data["trial"]["blocks"][0]["load"].update(connections=1), "block ladder-500 is not the plan's"),
        (lambda data: data["trial"]["blocks"][0].update(name="else"), "block else is not the plan's"),
        (lambda data: data["trial"]["blocks"][0]["windows"][0].update(duration_s=9.0), "has windows that are not"),
    ],
)
def test_a_trial_that_was_not_run_as_planned_is_found(copy: Path, change: Callable[[Any], Any], says: str) -> None:
    forged(copy, "trials/http_visibility-d1/trial.json", change)
    assert says in whats(copy)


def test_a_removed_arm_is_found(copy: Path) -> None:
    (copy / RUN).unlink()
    (copy / RUN).with_suffix(".parquet").unlink()
    listed_again(copy)
    assert "trials/http_visibility-d1 has not one run for each of its arms" in whats(copy)


def drop_slow(rows: Requests) -> None:
    rows["slices-500"] = rows["slices-500"][: len(rows["slices-500"]) // 2]


def move(rows: Requests) -> None:
    rows["slices-500"]["scheduled_ns"][0] -= 10**9


def lend(rows: Requests) -> None:
    rows["slices-500"]["window"][0] = 10**6


def twist(rows: Requests) -> None:
    rows["slices-500"]["done_ns"][0] = 0


def invent(rows: Requests) -> None:
    rows["slices-500"]["outcome"][0] = len(OUTCOMES)


def unsend(rows: Requests) -> None:
    rows["slices-500"]["outcome"][0] = OUTCOMES.index(Outcome.NOT_SENT)


def lose(rows: Requests) -> None:
    rows["slices-500"] = rows["slices-500"][1:]


def swap(rows: Requests) -> None:
    rows["other"] = rows.pop("slices-500")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (drop_slow, "slices-500: .* requests where 400 were planned"),
        (move, "slices-500: 1 requests scheduled outside their windows"),
        (lend, r"slices-500: requests in windows \[1000000\] of other arms"),
        (twist, "slices-500: 1 answered requests whose times are not in order"),
        (invent, "slices-500: outcomes that do not exist"),
        (unsend, "slices-500: 1 requests both sent and not sent"),
        (lose, "requests sent and 32 to warm up are not .* on the wire"),
        (swap, "has blocks .*'other'"),
    ],
)
def test_requests_that_do_not_add_up_are_found(
    copy: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Requests], None], says: str
) -> None:
    whole_requests = Store.requests

    def spoilt(store: Store, run: Run) -> Requests:
        rows = whole_requests(store, run)
        if run.arm == "ebpf":
            spoil(rows)
        return rows

    monkeypatch.setattr(Store, "requests", spoilt)
    files = {problem.file for problem in check(copy)}
    assert files & {f"trials/http_visibility-d{n}/ebpf.parquet" for n in (1, 2)}
    assert any(re.search(says, problem.what) for problem in check(copy))


@pytest.mark.parametrize(
    ("a", "b", "found"),
    [
        ({"x": [1.0, 2.0]}, {"x": [1.0, 2.0 + 1e-9]}, ""),
        ({"x": [1.0, 2.0]}, {"x": [1.0, 2.001]}, "x[1]: 2.001 is stored, 2.0 computed"),
        ({"x": float("nan")}, {"x": float("nan")}, ""),
        ({"x": 1}, {"x": 1.0}, ""),
        ({"x": True}, {"x": 1}, "x: 1 is stored, True computed"),
        ({"x": None}, {"x": 0.0}, "x: 0.0 is stored, None computed"),
        ({"x": 1}, {"y": 1}, "{'y': 1} is stored, {'x': 1} computed"),
    ],
)
def test_numbers_computed_again_may_differ_by_rounding_only(a: Any, b: Any, found: str) -> None:
    assert difference(a, b).removeprefix(": ") == found


def test_a_step_offered_twice_and_windows_moved_together_are_as_planned(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "run", synthetic.small_plan(), {})
    ran, runs, requests, host, files = synthetic.trial_data(store.plan, store.plan.trials[0], Truth())
    ladder = ran.blocks[0]
    (window,) = ladder.only("sidecar")
    again = replace(ladder, name=f"{ladder.name}-again", windows=(replace(window, start_s=0.0),))
    moved = requests["sidecar"][ladder.name].copy()
    for name in ("scheduled_ns", "sent_ns", "first_byte_ns", "done_ns"):
        moved[name] -= round(window.start_s * 1e9)
    requests["sidecar"][again.name] = moved
    sidecar = next(run for run in runs if run.arm == "sidecar")
    told = tuple(replace(r, block=again.name) for r in sidecar.readings if r.block == ladder.name)
    found = gates.judge(again, "sidecar", moved, told, sidecar.features)
    twice = replace(sidecar, readings=sidecar.readings + told, findings=sidecar.findings + found)
    runs = [twice if run is sidecar else run for run in runs]
    store.add(replace(ran, blocks=(ladder, again, *ran.blocks[1:])), runs, requests, host, files)
    assert check(store.folder) == ()
