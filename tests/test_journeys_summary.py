"""What stored walks say, from synthetic ones: gates, steps, contrasts, the check, and that loops are kept apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lab import claims, codec
from lab.behaviour import COLUMNS, Journey, Tally, Turn, Walk
from lab.check import check
from lab.gates import walk as gates
from lab.plan import Plan, plan
from lab.record import OUTCOMES, Feature, Mistake, Outcome, RequestCount
from lab.report import build, compare, frames, glance
from lab.report.journeys import briefly
from lab.report.text import markdown
from lab.scenario import find_journey, find_question
from lab.store import Store
from lab.summary import Estimate, StepContrast, journeys, summarise

STEPS = ("GET list", "POST buy")
SLOWER = {"none": 1.0, "none_again": 1.0, "ebpf": 1.002, "sidecar": 1.5}
PER_STEP = 800
HOST = ({"steal_share": 0.01, "idle_share": 0.5},)


def rows_of(turn: Turn, seed: int = 0) -> gates.Rows:
    """Answers of 1 ms and 2 ms by step, times the arm's factor, with little noise."""
    chance = np.random.default_rng((turn.seed, seed))
    rows = np.zeros(len(STEPS) * PER_STEP, list(COLUMNS))
    rows["step"] = np.arange(len(rows)) % len(STEPS)
    rows["start_ns"] = np.sort(chance.uniform(0, turn.seconds * 1e9, len(rows)))
    rows["duration_ns"] = (1e6 * (1 + rows["step"])) * SLOWER[turn.arm.name] * chance.normal(1, 0.01, len(rows))
    rows["status"], rows["sends"], rows["connection"] = 200, 1, rows["step"]
    return rows


def walk_of(turn: Turn, rows: gates.Rows, **changes: object) -> Walk:
    features = (Feature.HTTP_METRICS,) if turn.arm.datapath != "none" else ()
    counts = [(int((rows["step"] == n).sum()), int(rows["failed"][rows["step"] == n].sum())) for n in range(len(STEPS))]
    walk = Walk(
        turn=turn.name,
        journey=turn.journey,
        repeat=turn.repeat,
        arm=turn.arm.name,
        datapath=turn.arm.datapath,
        features=features,
        steps=STEPS,
        tallies=tuple(Tally(step, *count) for step, count in zip(STEPS, counts, strict=True)),
        seen=(RequestCount("observer", int(rows["sends"].sum())),) if features else (),
        lasted_s=turn.seconds,
        connections=2,
        cpu_share=0.2,
        errors=0,
    )
    changed: Walk = replace(walk, **changes)  # type: ignore[arg-type]
    return replace(changed, findings=gates.judge(changed, rows, frozenset()))


def asked(repeats: int = 5, datapaths: Sequence[str] = ("none", "ebpf", "sidecar")) -> Plan:
    return plan([journey()], "quick", seed=7, deployments=repeats, datapaths=tuple(datapaths), created="2026-01-01")


def journey() -> Journey:
    return find_journey("journeys_browse")


def stored(folder: Path, made: Plan) -> Store:
    store = Store.create(folder, made, {"cores": 2})
    for turn in made.turns:
        rows = rows_of(turn)
        store.add_walk(turn, walk_of(turn, rows), rows, HOST, {"logs/client.locust/stderr": b"done"})
    store.seal(summarise(store))
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = stored(tmp_path_factory.mktemp("runs") / "walked", asked())
    build(made, claims.judge(made.summary()))
    return made


def contrast(store: Store, arm: str, step: str, metric: str) -> StepContrast:
    (found,) = [c for c in store.summary().step_contrasts if (c.arm, c.step, c.metric) == (arm, step, metric)]
    return found


def test_events_are_read_as_they_were_written(store: Store) -> None:
    for turn, walk in store.turns():
        assert turn == store.plan.turn(turn.name)
        assert np.array_equal(store.events(turn.name), rows_of(turn))
        assert gates.valid(walk)


def test_a_turn_is_stored_once_and_as_planned(store: Store) -> None:
    turn = store.plan.turns[0]
    rows = rows_of(turn)
    with pytest.raises(Mistake, match="written once"):
        store.add_walk(turn, walk_of(turn, rows), rows)
    with pytest.raises(Mistake, match="is not the plan's"):
        store.add_walk(replace(turn, users=1), walk_of(turn, rows), rows)


def test_a_slower_arm_is_slower_in_each_step_and_an_equal_one_equivalent(store: Store) -> None:
    for step in (*STEPS, "all steps"):
        slow = contrast(store, "sidecar", step, "p50")
        assert slow.verdict == "slower"
        assert slow.ratio.low <= 1.5 <= slow.ratio.high or abs(slow.ratio.value - 1.5) < 0.02
        assert contrast(store, "ebpf", step, "p50").verdict.startswith("equivalent within")
    found = contrast(store, "sidecar", STEPS[0], "p50")
    assert (found.repeats, found.parts, len(found.parts_ratio)) == (5, 50, 50)
    assert contrast(store, "sidecar", STEPS[0], "p99").parts == 5, "a p99 needs more requests than a part has"


def test_fewer_answers_in_the_same_time_are_slower(store: Store) -> None:
    turns = {turn.arm.name: (turn, walk) for turn, walk in store.turns() if turn.repeat == 1}
    stages = {arm: journeys._stages(*pair, rows_of(pair[0])) for arm, pair in turns.items()}
    whole = {arm: next(iter(found)) for arm, found in stages.items()}
    fewer = replace(whole["none"], since_s=whole["none"].since_s[::2], time_s=whole["none"].time_s[::2])
    arm, none = journeys._paired(fewer, whole["none"], "throughput")
    assert np.all(arm < none)
    said = journeys._worded(
        replace(contrast(store, "ebpf", "all steps", "throughput"), ratio=Estimate(0.5, 0.49, 0.51), holm_p=0.0)
    )
    assert said.verdict == "slower"


def test_what_began_while_users_settled_is_not_judged(store: Store) -> None:
    (step,) = [s for s in store.summary().steps if (s.arm, s.step) == ("none", "all steps")]
    turns = [turn for turn, _ in store.turns() if turn.arm.name == "none"]
    late = sum(int((rows_of(turn)["start_ns"] >= turn.settle_s * 1e9).sum()) for turn in turns)
    assert step.requests == late < len(turns) * len(STEPS) * PER_STEP
    assert step.throughput_per_s == pytest.approx(late / sum(t.seconds - t.settle_s for t in turns))


@pytest.mark.parametrize(
    ("changes", "gate"),
    [
        ({"tallies": (Tally(STEPS[0], PER_STEP, 0), Tally(STEPS[1], PER_STEP + 1, 0))}, "recorded"),
        ({"tallies": (Tally(STEPS[0], PER_STEP, 1), Tally(STEPS[1], PER_STEP, 0))}, "recorded"),
        ({"tallies": ()}, "recorded"),
        ({"seen": (RequestCount("observer", 3),)}, "accounting"),
        ({"seen": ()}, "accounting"),
        ({"cpu_share": 0.9}, "generator"),
        ({"errors": 1}, "users"),
    ],
)
def test_each_gate_fails_for_its_own_reason(changes: dict[str, object], gate: str) -> None:
    turn = next(turn for turn in asked().turns if turn.arm.name == "ebpf")
    walk = walk_of(turn, rows_of(turn), **changes)
    assert {f.gate for f in walk.findings if not f.passed} == {gate}
    assert not gates.valid(walk)


def test_an_arm_without_the_features_that_are_asked_is_not_comparable() -> None:
    turn = next(turn for turn in asked().turns if turn.arm.name == "ebpf")
    findings = gates.judge(walk_of(turn, rows_of(turn)), rows_of(turn), {Feature.TRACING})
    assert {f.gate for f in findings if not f.passed} == {"parity"}


def test_a_void_turn_is_kept_and_left_out(tmp_path: Path) -> None:
    made = asked(repeats=1, datapaths=("none", "ebpf"))
    store = Store.create(tmp_path / "run", made, {})
    for turn in made.turns:
        rows = rows_of(turn)
        store.add_walk(turn, walk_of(turn, rows, errors=int(turn.arm.name == "ebpf")), rows)
    summary = summarise(store)
    assert {s.arm for s in summary.steps} == {"none"}
    assert summary.step_contrasts == ()
    assert {c.arm for c in summary.walk_counts} == {"none", "ebpf"}
    assert summary.gates["users"] == {"passed": 1, "failed": 1}
    assert any("journeys_browse, ebpf: 1 of 1 turns are left out" in words for words in summary.warnings)


def test_a_walked_run_stands_a_strict_check(store: Store) -> None:
    assert check(store.folder, strict=True) == ()
    assert store.summary().host["mean_steal_share"] == pytest.approx(0.01)


def test_a_walk_that_was_changed_by_hand_is_found(tmp_path: Path) -> None:
    store = stored(tmp_path / "run", asked(repeats=1, datapaths=("none",)))
    place = f"journeys/{store.plan.turns[0].name}/walk.json"
    data = codec.parse((store.folder / place).read_bytes())
    data["walk"]["tallies"][0]["requests"] += 1
    raw = codec.text(data)
    (store.folder / place).write_bytes(raw)
    assert [p.what for p in check(store.folder)] == ["is not what was written"]
    store._list(store.manifest.with_files({place: codec.sha256(raw)}))  # even with its hash made right
    found = check(store.folder)
    assert [p.file for p in found] == [place]
    assert "gates, judged again, differ" in found[0].what


def test_a_run_that_was_broken_off_lacks_its_turns(tmp_path: Path) -> None:
    made = asked(repeats=1, datapaths=("none", "ebpf"))
    store = Store.create(tmp_path / "run", made, {})
    first = made.turns[0]
    store.add_walk(first, walk_of(first, rows_of(first)), rows_of(first))
    assert store.missing_turns() == made.turns[1:]
    assert f"journeys/{made.turns[1].name}" in {p.file for p in check(store.folder, strict=True)}
    assert Store.resume(store.folder).missing_turns() == made.turns[1:]


def test_the_report_marks_every_table_of_a_journey_and_ranks_none_beside_an_open_loop(store: Store) -> None:
    page = (store.folder / "report" / "index.html").read_text()
    section = page[page.index('<section id="journeys">') :].partition("</section>")[0]
    captions = [part.partition("</caption>")[0] for part in section.split("<caption>")[1:]]
    assert len(captions) == 3
    assert all(c.startswith("Closed loop") for c in captions[:2])
    assert "not comparable with those of scenarios" in section
    words = markdown(store.summary(), ())
    assert "## Journeys (closed loop)" in words
    assert glance.table(store.summary()).rows == ()
    assert all("loop" in table.columns for table in briefly(store.summary()))


def test_a_closed_loop_is_never_compared_with_an_open_one(store: Store, tmp_path: Path) -> None:
    made = plan([find_question("http_visibility")], "smoke", seed=1, created="2026-01-01")
    other = Store.create(tmp_path / "open", made, {})
    other.seal(summarise(other))
    for force in (False, True):
        with pytest.raises(Mistake, match=r"is a closed loop .* not comparable"):
            compare.compare(store, other, force=force)
    beside = compare.compare(store, store)
    assert all("(closed loop)" in pair.load for pair in beside.contrasts)


def test_frames_say_which_loop_they_are_of(store: Store) -> None:
    assert set(frames.steps(store)["loop"]) == set(frames.step_contrasts(store)["loop"]) == {"closed"}
    events = frames.events(store, "journeys_browse", "ebpf")
    assert len(events) == 5 * len(STEPS) * PER_STEP
    assert set(events["outcome"]) == {str(Outcome.OK)}
    with pytest.raises(Mistake, match="there are journeys_browse on ebpf"):
        frames.events(store, "journeys_browse", "pernode")


def test_outcomes_are_kept_by_name(tmp_path: Path) -> None:
    made = asked(repeats=1, datapaths=("none",))
    (turn,) = made.turns
    rows = rows_of(turn)
    rows["outcome"][-2:], rows["status"][-2:], rows["failed"][-2:] = OUTCOMES.index(Outcome.RESET), 0, 1
    store = Store.create(tmp_path / "run", made, {})
    store.add_walk(turn, walk_of(turn, rows), rows)
    everything = next(s for s in summarise(store).steps if s.step == "all steps")
    assert (everything.outcomes["reset"], everything.failures) == (2, 2)
    assert json.loads(json.dumps(codec.dump(everything)))["loop"] == "closed"
