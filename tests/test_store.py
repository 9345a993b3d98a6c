"""A run on disk is written once, trial by trial, and a kill at any moment costs one trial at most."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic
from synthetic import Truth

from lab import codec
from lab.record import Mistake
from lab.store import Store, manifest, runs_in, table
from lab.store.entry import PLAN_HASH
from lab.store.table import REQUEST
from lab.summary import Summary

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
SUMMARY = Summary("synthetic-1", "tiny", "measured", (), (), (), (), (), (), (), {}, {"steal": 0.5}, {}, ("made up",))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every trial stored; not to be changed."""
    return synthetic.store(tmp_path_factory.mktemp("results") / "whole").folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "run", synthetic.small_plan(), {"cores": 2})


def data(store: Store, index: int = 0) -> Any:
    return synthetic.trial_data(store.plan, store.plan.trials[index], Truth())


def test_what_was_stored_is_what_is_read(empty: Store) -> None:
    ran, runs, requests, host, files = data(empty)
    empty.add(ran, runs, requests, host, files)
    read = Store.open(empty.folder)
    assert read.plan == synthetic.small_plan()
    assert read.system == {"cores": 2}
    assert read.trials() == (ran,)
    assert read.runs() == tuple(runs)
    assert read.host(ran.name).to_pylist() == host
    assert read.files(ran.name) == files
    for run in read.runs():
        found = read.requests(run)
        assert found.keys() == requests[run.arm].keys()
        for block, rows in found.items():
            np.testing.assert_array_equal(rows, requests[run.arm][block])


def test_a_run_is_written_once(empty: Store) -> None:
    with pytest.raises(Mistake, match="exists; choose another with --out, or go on with it by --resume"):
        Store.create(empty.folder, synthetic.small_plan(), {})


def test_a_trial_is_written_once(empty: Store) -> None:
    synthetic.add(empty, empty.plan.trials[0])
    with pytest.raises(Mistake, match=r"trial http_visibility-d1 is stored in .* already; a trial is written once"):
        synthetic.add(empty, empty.plan.trials[0])


def test_a_second_writer_sees_what_the_first_has_stored(empty: Store) -> None:
    other = Store.open(empty.folder)
    synthetic.add(other, empty.plan.trials[0])
    with pytest.raises(Mistake, match="written once"):
        synthetic.add(empty, empty.plan.trials[0])
    synthetic.add(empty, empty.plan.trials[1])
    assert Store.open(empty.folder).missing() == ()


def test_the_plan_decides_what_is_missing(empty: Store) -> None:
    assert [trial.name for trial in empty.missing()] == ["http_visibility-d1", "http_visibility-d2"]
    synthetic.add(empty, empty.plan.trials[1])
    assert empty.done() == {"http_visibility-d2"}
    assert [trial.name for trial in empty.missing()] == ["http_visibility-d1"]


def test_every_file_but_the_plan_names_the_plan(whole: Path) -> None:
    sha = codec.sha256((whole / "plan.json").read_bytes())
    tables, texts = sorted(whole.rglob("*.parquet")), sorted(whole.rglob("trials/*/*.json"))
    assert len(tables) == 2 * 6
    assert len(texts) == 2 * 6
    assert {table.facts(path)[PLAN_HASH] for path in tables} == {sha}
    assert {codec.parse(path.read_bytes())[PLAN_HASH] for path in [*texts, whole / "system.json"]} == {sha}
    assert manifest.read(whole).plan_sha256 == sha


def test_the_manifest_lists_every_file(whole: Path) -> None:
    there = {path.relative_to(whole).as_posix() for path in whole.rglob("*") if path.is_file()}
    assert set(manifest.read(whole).files) == there - {"manifest.json"}


def test_reading_changes_nothing(whole: Path) -> None:
    before = manifest.hashes(whole, whole)
    store = Store.open(whole)
    for run in store.runs():
        store.requests(run)
    assert manifest.hashes(whole, whole) == before


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (shutil.rmtree, "no results folder at"),
        (lambda folder: (folder / "manifest.json").unlink(), "it is no results folder"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "not JSON"),
        (
            lambda folder: (folder / "manifest.json").write_text('{"manifest": {"schema": 7}}'),
            "has schema 7",
        ),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "not a Manifest"),
    ],
)
def test_what_is_no_results_folder_is_refused(copy: Path, spoil: Any, says: str) -> None:
    spoil(copy)
    with pytest.raises(Mistake, match=says):
        Store.open(copy)


def test_a_file_that_is_gone_is_an_error_that_names_it(copy: Path) -> None:
    (copy / "system.json").unlink()
    with pytest.raises(Mistake, match=r"system.json cannot be read .* see `mesh-lab check"):
        _ = Store.open(copy).system


def test_names_cannot_leave_the_folder(empty: Store, tmp_path: Path) -> None:
    ran, runs, requests, host, _ = data(empty)
    for path in ("../evil", "config/../../evil", "/etc/evil", "config", "other/file", "config/.hidden", "config//file"):
        with pytest.raises(Mistake, match="it must lie below config, logs"):
            empty.add(ran, runs, requests, host, {path: b""})
    with pytest.raises(Mistake, match="it must lie below report"):
        empty.report({"../evil": b""})
    for run in ("../evil", "Evil", "", "e" * 65, "a/b"):
        with pytest.raises(Mistake, match="run id"):
            Store.create(tmp_path / "other", replace(synthetic.small_plan(), run=run), {})
    assert empty.done() == frozenset()
    assert not list(tmp_path.rglob("evil"))


def test_a_write_that_fails_leaves_no_trial(empty: Store) -> None:
    ran, runs, requests, host, files = data(empty)
    with pytest.raises(Mistake):
        empty.add(ran, runs, requests, host, {**files, "nowhere/x": b""})
    assert empty.done() == frozenset()
    empty.add(ran, runs, requests, host, files)
    assert {path.name for path in (empty.folder / "trials").iterdir()} == {ran.name}


def test_runs_requests_and_trial_must_belong_together(empty: Store) -> None:
    ran, runs, requests, *_ = data(empty)
    with pytest.raises(Mistake, match=r"has runs of .* allowed are one run, with its requests, for each of"):
        empty.add(ran, runs[1:], requests)
    with pytest.raises(Mistake, match=r"has requests of \['other'\]; its blocks are"):
        empty.add(ran, runs, {**requests, "none": {"other": np.empty(0, REQUEST)}})
    with pytest.raises(Mistake, match="was given runs of"):
        empty.add(ran, [replace(run, trial="x") for run in runs], requests)
    with pytest.raises(Mistake, match="no trial 'x' in run synthetic-1; there are"):
        empty.add(replace(ran, name="x"), runs, requests)
    with pytest.raises(Mistake, match=r"have columns .* they must be"):
        empty.add(ran, runs, {**requests, "none": {"ladder-500": np.zeros(3, [("window", "<i4")])}})
    assert empty.done() == frozenset()


def test_an_arm_that_ran_nothing_has_an_empty_table(empty: Store) -> None:
    ran, runs, requests, *_ = data(empty)
    empty.add(ran, runs, {**requests, "none": {}, "ebpf": {"ladder-500": np.empty(0, REQUEST)}})
    none, ebpf, *_ = empty.runs()
    assert empty.requests(none) == {}
    assert [len(rows) for rows in empty.requests(ebpf).values()] == [0]
    assert empty.table(none).num_rows == 0


def test_requests_are_read_as_an_arrow_table_with_times_put_together(whole: Path) -> None:
    store = Store.open(whole)
    run = store.runs()[0]
    found = store.table(run, ["block", "done_ns"])
    rows = store.requests(run)
    assert found.column_names == ["block", "done_ns"]
    assert found.column("block").to_pylist() == [name for name, part in rows.items() for _ in part]
    assert found.column("done_ns").to_pylist() == [t for part in rows.values() for t in part["done_ns"].tolist()]


def test_a_summary_is_sealed_and_a_later_trial_drops_it(empty: Store) -> None:
    assert not empty.sealed
    with pytest.raises(Mistake, match="has no summary yet; finish it with --resume"):
        empty.summary()
    synthetic.add(empty, empty.plan.trials[0])
    empty.seal(SUMMARY)
    empty.report({"index.html": b"<html>"})
    assert Store.open(empty.folder).summary() == SUMMARY
    synthetic.add(empty, empty.plan.trials[1])
    assert not Store.open(empty.folder).sealed
    assert not (empty.folder / "summary.json").exists()
    assert not (empty.folder / "report").exists()


def test_a_report_replaces_the_one_before(copy: Path) -> None:
    store = Store.open(copy)
    store.report({"index.html": b"one", "figures/a.svg": b"<svg>"})
    store.report({"index.html": b"two"})
    assert [path.name for path in (copy / "report").rglob("*")] == ["index.html"]
    assert Store.open(copy).manifest.files["report/index.html"] == codec.sha256(b"two")


def test_runs_are_listed_by_their_folder(whole: Path, tmp_path: Path) -> None:
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "something").mkdir()
    made = [Store.create(tmp_path / name, synthetic.small_plan(), {}).folder for name in ("b", "a")]
    assert runs_in(tmp_path) == tuple(sorted(made))
    assert runs_in(tmp_path / "nowhere") == ()


KILLED = """
import os, signal, sys
from pathlib import Path
from lab.store import Store, manifest
import synthetic
store = Store.open(Path(sys.argv[1]))
save, left = manifest.{name}, {left}
def dying(*given):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return save(*given)
manifest.{name} = dying
synthetic.add(store, store.plan.trials[1])
"""


@pytest.mark.parametrize(
    ("name", "left", "done"),
    [("save", 0, 1), ("save", 7, 1), ("settle", 0, 2), ("write", 0, 2), ("save", 14, 2)],
    ids=["before-the-first-file", "between-files", "after-the-rename", "before-the-manifest", "in-the-manifest"],
)
def test_a_killed_writer_costs_one_trial_at_most(empty: Store, name: str, left: int, done: int) -> None:
    synthetic.add(empty, empty.plan.trials[0])
    script = KILLED.format(name=name, left=left)
    killed = subprocess.run([sys.executable, "-c", script, str(empty.folder)], check=False, cwd=ROOT, env=ENVIRONMENT)
    assert killed.returncode == -signal.SIGKILL
    seen = Store.open(empty.folder)
    assert seen.done() == {"http_visibility-d1"}
    assert len(seen.runs()) == 5
    resumed = Store.resume(empty.folder)
    assert len(resumed.done()) == done
    for trial in resumed.missing():
        synthetic.add(resumed, trial)
    assert len(Store.open(empty.folder).runs()) == 10
    there = {path.relative_to(empty.folder).as_posix() for path in empty.folder.rglob("*") if path.is_file()}
    assert there - {"manifest.json"} == set(Store.open(empty.folder).manifest.files)
