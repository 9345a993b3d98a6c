"""The audit of methods: each rule speaks where its fields say so, and is silent where they do not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import synthetic
from exchange_material import FOLDER, flawless, sample
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from lab.cli import app
from lab.exchange.audit import RULES, Sample, audit, grave
from lab.exchange.audit.times import needed
from lab.exchange.own import audit_run, of_run
from lab.foreign import Loop, Severity, Since, Told
from lab.store import Store
from lab.summary import summarise

LOG = ("h2load-rps.txt", "h2load-rps.tsv")
Sampled = Callable[[], Sample]
CASES: dict[str, tuple[Sampled, Sampled]] = {  # rule: where it speaks, where it does not
    "closed_loop": (lambda: sample("wrk-latency.txt"), lambda: sample("fortio.json")),
    "coordinated_omission": (lambda: sample("fortio.json"), lambda: sample("wrk2.txt", rate=300)),
    "loop_unknown": (lambda: sample("h2load.txt"), lambda: sample(*LOG, rate=500)),
    "late_starts": (lambda: sample("wrk2.txt"), lambda: sample("wrk2-short.txt")),
    "rate_not_kept": (lambda: sample("wrk2-overload.txt", rate=200_000), lambda: sample("wrk2.txt", rate=300)),
    "saturated": (lambda: sample("wrk2-overload.txt"), lambda: sample("fortio.json")),
    "held_back": (lambda: flawless(held_back=12), lambda: sample("nighthawk.json")),
    "rate_untold": (lambda: sample("wrk2.txt"), lambda: sample("wrk2.txt", rate=300)),
    "errors_timed": (lambda: sample("locust_stats.csv"), lambda: sample("fortio.json")),
    "errors": (lambda: flawless(errors=3), lambda: sample("h2load-404.txt", "h2load-404.tsv")),
    "thin_tail": (lambda: sample("nighthawk.json"), lambda: sample("wrk-latency.txt")),
    "resolution": (lambda: sample("fortio.json"), lambda: sample("nighthawk.json")),
    "discarded": (lambda: sample("wrk2.txt"), lambda: sample("wrk2-overload.txt")),
    "bursts": (lambda: sample(*LOG, rate=500), lambda: flawless(together=0.02)),
    "no_keep_alive": (lambda: flawless(keep_alive=False), lambda: sample("fortio.json")),
    "reopened": (lambda: flawless(opened=400), lambda: sample("nighthawk.json")),
}


def rules(found: Sequence[Sample]) -> set[str]:
    return {concern.rule for concern in audit(found)}


def test_every_rule_has_a_case() -> None:
    assert set(CASES) == {rule.name for rule in RULES}


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_speaks_where_the_fields_say_so_and_nowhere_else(rule: str) -> None:
    speaks, silent = CASES[rule]
    (concern,) = [c for c in audit([speaks()]) if c.rule == rule]
    assert concern.evidence
    assert concern.source.startswith("https://")
    assert rule not in rules([silent()])


def test_three_repetitions_with_a_baseline_of_a_flawless_tool_leave_nothing_to_say() -> None:
    one = flawless()
    base = replace(one, name="base", arm="base", base=True)
    assert audit([one, base]) == ()
    assert not grave(audit([one, base]))


def test_a_single_run_is_no_sample_of_runs() -> None:
    once = replace(flawless(), repeats=1)
    assert "single_run" in rules([once])
    assert "single_run" in rules([once, once])
    assert "single_run" not in rules([once, once, once])


def test_runs_at_other_rates_are_no_repetitions() -> None:
    loads = [replace(flawless(), repeats=1, load=load) for load in ("1000/s", "2000/s", "3000/s")]
    assert [c.rule for c in audit(loads)].count("single_run") == 3


def test_a_baseline_is_one_at_the_same_load() -> None:
    base = replace(flawless(), arm="base", base=True)
    assert "missing_baseline" in rules([flawless()])
    assert "missing_baseline" not in rules([flawless(), base])
    (other,) = [c for c in audit([flawless(), replace(base, load="50/s")]) if c.rule == "missing_baseline"]
    assert other.evidence == ("baseline at other loads = 50/s",)


def test_omitted_requests_are_counted_from_the_send_interval() -> None:
    """One connection at 100/s that waits a second has not sent some hundred requests."""
    fields = {"loop": Loop.PACED, "since": Since.SEND, "asked_per_s": 1000.0, "connections": 10}
    (concern,) = [c for c in audit([flawless(**fields, most_s=1.0)]) if c.rule == "coordinated_omission"]
    assert "about 100 requests" in concern.because
    assert "coordinated_omission" not in rules([flawless(**fields, most_s=0.0099)])


def test_what_a_file_does_not_tell_decides_nothing() -> None:
    unknown = dict.fromkeys(
        ("asked_per_s", "achieved_per_s", "connections", "opened", "keep_alive", "errors", "errors_timed", "held_back",
         "discarded", "resolution_s", "mean_s", "most_s", "together")
    )  # fmt: skip
    found = flawless(**unknown, quantiles=())
    assert rules([found, replace(found, base=True, arm="base")]) == set()


def test_a_rare_quantile_needs_requests_beyond_it() -> None:
    assert (needed(0.9), needed(0.99), needed(0.999), needed(0.9999)) == (0, 500, 100_000, 1_000_000)


def test_the_gravest_concern_comes_first() -> None:
    order = [c.severity for c in audit([sample("locust_stats.csv"), sample("wrk2.txt")])]
    assert order == sorted(order, key=list(Severity).index)


NUMBER = st.none() | st.floats(0, 1e18) | st.sampled_from([0.0, 1e-18, 1e18])
COUNT = st.none() | st.integers(0, 1 << 53)
TOLD = st.builds(
    Told,
    tool=st.text(max_size=4),
    loop=st.sampled_from(Loop),
    since=st.sampled_from(Since),
    requests=st.integers(1, 1 << 53),
    keep_alive=st.none() | st.booleans(),
    quantiles=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1e18)), max_size=4).map(tuple),
    uncorrected=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1e18)), max_size=4).map(tuple),
    together=st.none() | st.floats(0, 1),
    **dict.fromkeys(("asked_per_s", "achieved_per_s", "resolution_s", "mean_s", "most_s"), NUMBER),
    **dict.fromkeys(("threads", "connections", "opened", "errors", "errors_timed", "held_back", "discarded"), COUNT),
)


@settings(max_examples=300, deadline=None)
@given(told=TOLD)
def test_whatever_a_file_tells_the_audit_has_sentences_and_no_accident(told: Told) -> None:
    for concern in audit([Sample("one", "arm", False, told, "load", told.asked_per_s)]):
        assert concern.because
        assert concern.evidence
        assert concern.source


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A run of two deployments in which one observer missed requests."""
    truth = synthetic.Truth(miscounted={"ebpf": 3})
    made = synthetic.store(tmp_path_factory.mktemp("audit") / "run", truth=truth)
    made.seal(summarise(made))
    return made


def test_the_labs_own_runs_are_audited_by_the_same_rules(measured: Store) -> None:
    found = {c.rule for c in audit_run(measured)}
    assert {"single_run", "unproven", "discarded"} <= found
    assert not found & {"closed_loop", "coordinated_omission", "missing_baseline", "rate_untold"}
    assert all(s.told.loop is Loop.OPEN and s.told.since is Since.SCHEDULE for s in of_run(measured))


def test_a_run_whose_proofs_hold_is_not_called_unproven(tmp_path: Path) -> None:
    made = synthetic.store(tmp_path / "run")
    made.seal(summarise(made))
    assert "unproven" not in {c.rule for c in audit_run(made)}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([str(FOLDER / "fortio.json")], 1, "coordinated_omission"),
        ([str(FOLDER / "README.md")], 2, ""),
        ([str(FOLDER / "absent.json")], 2, ""),
        ([str(FOLDER / "wrk.txt")], 2, ""),
        ([str(FOLDER / "fortio.json"), "--rate", "5"], 2, ""),
        ([str(FOLDER / "fortio.json"), "--arm", "<b>"], 2, ""),
    ],
)
def test_the_command_ends_as_it_says(words: list[str], code: int, said: str) -> None:
    result = CliRunner().invoke(app, ["audit", *words])
    assert result.exit_code == code
    assert said in result.stdout


def test_files_without_a_serious_concern_end_with_zero(tmp_path: Path) -> None:
    files = [str(FOLDER / "nighthawk.json")] * 3
    base = [word for name in files for word in ("--baseline", name)]
    result = CliRunner().invoke(app, ["audit", *files, *base, "--json"])
    told = json.loads(result.stdout)
    assert result.exit_code == 0, told["concerns"]
    assert told["serious"] is False
    assert {s["arm"] for s in told["samples"]} == {"imported", "base"}
    assert {c["rule"] for c in told["concerns"]} == {"thin_tail"}


def test_a_run_can_be_audited_by_the_command(measured: Store) -> None:
    result = CliRunner().invoke(app, ["audit", str(measured.folder)])
    assert result.exit_code == 1
    assert "unproven" in result.stdout


def test_the_document_names_every_rule_with_its_severity() -> None:
    page = (FOLDER.parents[1] / "docs" / "exchange.md").read_text()
    told = dict(re.findall(r"^\| (`[^|]+`) \| (serious|limit|note) \|", page, re.MULTILINE))
    severity = {name: word for names, word in told.items() for name in re.findall(r"`(\w+)`", names)}
    assert {rule.name: str(rule.severity) for rule in RULES}.items() <= severity.items()
