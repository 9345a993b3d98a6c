"""Two runs side by side, and frames for notebooks."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic
from rich.console import Console

from lab import codec
from lab.record import Feature, Mistake
from lab.report import compare, frames
from lab.store import Store
from lab.summary import summarise


def made(folder: Path, seed: int = 1, **options: Any) -> Store:
    plan = synthetic.small_plan(synthetic.small(), seed=seed, **options)
    store = synthetic.store(folder, plan)
    store.seal(summarise(store))
    return store


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return made(tmp_path_factory.mktemp("a") / "one")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return made(tmp_path_factory.mktemp("b") / "other", seed=2)


def test_a_run_is_the_same_as_itself(one: Store) -> None:
    found = compare.compare(one, one)
    assert found.contrasts
    assert all(pair.same for pair in found.claims)
    assert all(pair.overlap for pair in found.contrasts if pair.a is not None)


def test_two_runs_of_one_truth_are_set_side_by_side(one: Store, other: Store) -> None:
    found = compare.compare(one, other)
    assert {p.arm for p in found.contrasts} == {c.arm for c in one.summary().contrasts}
    assert "synthetic-1 (A) beside synthetic-2 (B)" in found.text
    assert json.loads(codec.dumps(found))["contrasts"][0]["a"]["low"] > 0
    out = io.StringIO()
    compare.show(found, Console(file=out, width=120))
    assert "overlap" in out.getvalue()


def test_another_network_under_the_same_clusters_name_is_refused_and_other_versions_are_told(
    one: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Store.runs

    def told(self: Store) -> Any:
        mine = {"cni": "kindnet", "kubernetes": "v1.33.1"} if self.folder == one.folder else given
        return tuple(replace(run, facts={**run.facts, **mine}) for run in plain(self))

    monkeypatch.setattr(Store, "runs", told)
    given = {"cni": "cilium", "kubernetes": "v1.33.1"}
    with pytest.raises(Mistake, match=r"cni kindnet against cilium; add --force"):
        compare.compare(one, other)
    assert "cni kindnet against cilium" in compare.compare(one, other, force=True).unlike
    given = {"cni": "kindnet", "kubernetes": "v1.34.0"}
    assert "kubernetes v1.33.1 against v1.34.0" in compare.compare(one, other).unlike


def test_several_engines_beside_one_are_told(one: Store, tmp_path: Path) -> None:
    assert "engines 1 against 2" in compare.compare(one, made(tmp_path / "two", engines=2)).unlike


def test_another_kind_of_cluster_is_refused_unless_forced(one: Store, tmp_path: Path) -> None:
    foreign = made(tmp_path / "kind", cluster="kind")
    with pytest.raises(Mistake, match=r"cluster local against kind.*--force"):
        compare.compare(one, foreign)
    assert compare.compare(one, foreign, force=True).unlike == ("cluster local against kind",)


def test_other_features_are_refused_unless_forced(one: Store, other: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    poorer = tuple(replace(r, features=tuple(f for f in r.features if f != Feature.HTTP_METRICS)) for r in other.runs())
    monkeypatch.setattr(other, "runs", lambda: poorer)
    with pytest.raises(Mistake, match="features of arm ebpf differ in http_metrics"):
        compare.compare(one, other)
    assert compare.compare(one, other, force=True).unlike


def test_other_settings_are_said_but_not_refused(one: Store, tmp_path: Path) -> None:
    assert compare.compare(one, made(tmp_path / "overlay", overlay=True)).unlike == ("overlay False against True",)


def test_what_one_run_lacks_is_empty_not_equal(one: Store, tmp_path: Path) -> None:
    fewer = made(tmp_path / "fewer", datapaths=("none", "ebpf"))
    pair = next(p for p in compare.compare(one, fewer).contrasts if p.arm == "sidecar")
    assert pair.b is None
    assert pair.overlap is None


def test_a_frame_of_latencies_has_a_row_for_each_entry_and_a_column_for_each_outcome(one: Store) -> None:
    frame = frames.latencies(one)
    assert len(frame) == len(one.summary().latencies)
    assert (frame["outcome_ok"] > 0).all()
    assert frame["response_p50_s"].tolist() == [x.response_p50_s for x in one.summary().latencies]


def test_a_frame_of_contrasts_spreads_each_estimate_over_three_columns(one: Store) -> None:
    frame = frames.contrasts(one)
    assert {"ratio", "ratio_low", "ratio_high", "difference_s", "difference_s_low"} <= set(frame.columns)
    assert len(frames.rounds(one)) == sum(len(c.rounds_ratio) for c in one.summary().contrasts)


def test_a_frame_of_requests_holds_every_request_as_measured(one: Store) -> None:
    frame = frames.requests(one, "ebpf", "slices-500")
    raw = [one.requests(run)["slices-500"] for run in one.runs() if run.arm == "ebpf"]
    assert len(frame) == sum(map(len, raw))
    assert frame["deployment"].nunique() == len(raw)
    times = np.concatenate([(r["done_ns"] - r["scheduled_ns"]) / 1e9 for r in raw])
    assert np.allclose(frame["response_s"].astype(float), times)
    assert frame["judged"].mean() < 1


def test_what_never_happened_is_empty_in_a_frame(one: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = next(r for r in one.runs() if r.arm == "ebpf")
    rows = one.requests(run)["slices-500"]
    rows["done_ns"][0] = -1
    monkeypatch.setattr(one, "requests", lambda _: {"slices-500": rows})
    frame = frames.requests(one, "ebpf", "slices-500")
    assert frame["done_ns"].isna().iloc[0]
    assert frame["response_s"].isna().iloc[0]
    assert not frame["service_s"].isna().iloc[1]


def test_a_block_that_is_not_there_is_answered_with_those_that_are(one: Store) -> None:
    with pytest.raises(Mistake, match="slices-500"):
        frames.requests(one, "ebpf", "slices-1")
