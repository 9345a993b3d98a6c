"""The ledger over several runs, and `mesh-lab claims`."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import report_material as material
import synthetic
from rich.console import Console

from lab import claims, cli, codec
from lab.claims import Claim
from lab.compile import ROOT
from lab.record import Mistake, Verdict, Word
from lab.report import listing, published
from lab.report.ledger import Entry, entries, machines
from lab.report.published import Machine, Published
from lab.report.site import pages
from lab.report.site.documents import Documents
from lab.store import Store
from lab.summary import Summary, summarise

HERE = Machine("Xeon", 2, True, "6.18", "local")
THERE = Machine("EPYC", 64, False, "6.1", "kind")
LONG = tuple(f"condition {n}, as long as conditions are: at 1,000/s with a server that answers" for n in range(9))


def run(name: str, created: str, *verdicts: Verdict, machine: Machine = HERE, origin: str = "measured") -> Published:
    return Published(name, "run", Path(name), created, machine=machine, origin=origin, verdicts=verdicts)


def entry(found: tuple[Entry, ...], claim: str) -> Entry:
    return next(e for e in found if e.claim.id == claim)


HOLDS = Verdict("C2", Word.HOLDS, "it does", conditions=LONG)
FAILS = Verdict("C2", Word.DOES_NOT_HOLD, "it does not")
LACKS = Verdict("C2", Word.UNDECIDED, "nothing was measured", measured=False)
OPEN = Verdict("C2", Word.UNDECIDED, "the interval is wide")


def test_the_newest_run_that_could_judge_a_claim_is_shown_first() -> None:
    found = entry(entries([run("old", "2026-01-01", FAILS), run("new", "2026-01-02", LACKS)]), "C2")
    assert found.latest is not None
    assert (found.latest.run, found.latest.verdict) == ("old", FAILS)


def test_undecided_after_measuring_is_a_verdict() -> None:
    found = entry(entries([run("old", "2026-01-01", FAILS), run("new", "2026-01-02", OPEN)]), "C2")
    assert [j.run for j in found.judgements] == ["new", "old"]


def test_a_claim_that_holds_on_one_machine_and_not_on_another_has_both() -> None:
    found = entries([run("a", "2026-01-01", FAILS), run("b", "2026-01-02", HOLDS, machine=THERE)])
    assert listing.side_by_side(found).rows == (("C2", "holds", "b", "A"), ("C2", "does not hold", "a", "B"))
    assert machines(found) == {THERE: "A", HERE: "B"}


@pytest.mark.parametrize("origin", ["imported", "simulated", "measured, imported"])
def test_only_what_was_measured_judges(origin: str) -> None:
    assert entry(entries([run("a", "2026-01-01", HOLDS, origin=origin)]), "C2").latest is None


def test_without_any_run_every_claim_is_still_listed() -> None:
    found = entries(())
    assert [e.claim.id for e in found] == [c.id for c in claims.CLAIMS]
    assert all(e.latest is None for e in found)


def test_a_claim_has_a_scenario_or_says_what_would_measure_it() -> None:
    text = " ".join(shown(entries(()), 100).split())
    for claim in claims.CLAIMS:
        assert bool(claim.scenario) != bool(claim.lacks)
        assert f"mesh-lab run {claim.scenario}" in text if claim.scenario else claim.lacks.endswith(".")
        assert " ".join(claim.lacks.split()[:4]) in text


def test_every_rule_says_in_a_sentence_what_it_demands() -> None:
    for claim in claims.CLAIMS:
        assert claim.demands.endswith(".")
        assert not claim.demands.startswith(claim.id)


def shown(found: tuple[Entry, ...], width: int) -> str:
    out = io.StringIO()
    listing.show(found, Console(file=out, width=width))
    return out.getvalue()


@pytest.mark.parametrize("width", [60, 80, 160])
def test_long_conditions_are_wrapped_and_the_first_ones_shown(width: int) -> None:
    text = shown(entries([run("a", "2026-01-01", HOLDS)]), width)
    assert max(map(len, text.splitlines())) <= width
    words = " ".join(text.split())
    assert "condition 2" in words
    assert "condition 3" not in words
    assert "and 6 more" in words


def test_names_in_a_listing_are_not_markup() -> None:
    hostile = replace(HOLDS, because="[red]x[/]", conditions=("[/bold]",), evidence=("[link]",))
    found = entries([run("[b]", "2026-01-01", hostile)])
    assert "[red]x[/]" in shown(found, 100)
    out = io.StringIO()
    listing.detail(entry(found, "C2"), Console(file=out, width=100))
    assert "[link]" in out.getvalue()
    assert "[/bold]" in out.getvalue()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, an unfinished run, a folder of another kind, and one that is nothing."""
    folder = tmp_path_factory.mktemp("results")
    made = synthetic.store(folder / "whole", synthetic.small_plan(synthetic.small()))
    made.seal(summarise(made))
    Store.create(folder / "unfinished", synthetic.small_plan(synthetic.small(), seed=2), {})
    (folder / "forecasts" / "20260102-f").mkdir(parents=True)
    (folder / "forecasts" / "20260102-f" / "manifest.json").write_text('{"kind": "forecast", "files": {}}')
    (folder / "nothing").mkdir()
    return folder


def test_everything_with_a_manifest_is_found_but_unfinished_runs(results: Path) -> None:
    found = {one.name: one.kind for one in published.published(results)}
    assert found == {"whole": "run", "20260102-f": "forecast"}


def test_a_manifest_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "manifest.json").write_text("{")
    with pytest.raises(Mistake, match=r"x/manifest\.json"):
        published.published(tmp_path)


def typed(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["mesh-lab", "claims", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_programs_get_every_claim_with_its_rule_and_verdicts(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(monkeypatch, "--results", str(results), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["claim"] for one in found] == [c.id for c in claims.CLAIMS]
    assert {"statement", "source", "scenario", "rule", "verdict", "run", "conditions", "verdicts"} < found[0].keys()
    assert codec.dumps(found)


def test_one_claim_of_one_run_is_told_with_its_evidence(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(monkeypatch, "c2", str(results / "whole")) == 0
    text = capsys.readouterr().out
    assert "C2" in text
    assert "the rule" in text
    assert "C3" not in text


def test_a_word_that_is_neither_claim_nor_folder_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(monkeypatch, "C17") == 2
    assert "C17 is no claim and no folder" in " ".join(capsys.readouterr().err.split())


def test_a_claim_is_added_by_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    def rule(summary: Summary) -> Verdict:
        """C17. Every run has a name."""
        return Verdict("C17", Word.HOLDS if summary.run else Word.DOES_NOT_HOLD, "it has")

    monkeypatch.setattr(claims, "CLAIMS", (*claims.CLAIMS, Claim("C17", "Runs have names", "nowhere", "holdout", rule)))
    found = entry(entries([run("a", "2026-01-01", rule(material.summary()))]), "C17")
    assert found.claim.demands == "Every run has a name."
    assert "Runs have names" in shown((found,), 80)
    page = dict(pages.quick(pages.Site((), Documents(ROOT))))["claims/c17.html"].decode()
    assert "Every run has a name." in page
