"""One record, four outputs: what people, pages, CI servers and programs are told is the same."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from xml.etree import ElementTree as Xml

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from regression_shape import assert_junit
from rich.console import Console

from lab import codec
from lab.cli.gate import _command
from lab.regression import Judgement, Ruling, Word
from lab.report import ruling as rulings
from lab.report.junit import clean, junit
from lab.summary import Estimate

WHEN = "2026-01-02T03:04:05"
TAGS = {
    Word.PASSED: None,
    Word.SLOWER: "failure",
    Word.WORSE: "failure",
    Word.UNDECIDED: "error",
    Word.REFUSED: "error",
    Word.SHOWN: "skipped",
}


def judgement(word: Word = Word.PASSED, metric: str = "p50", **changes: object) -> Judgement:
    made = Judgement(
        load="slices-1000",
        metric=metric,
        ratio=Estimate(1.01, 0.99, 1.03),
        difference_s=Estimate(1e-6, -1e-6, 3e-6),
        threshold=0.05,
        floor=0.012,
        deployments=9,
        void=1,
        word=word,
        because="the whole interval lies below 1.05",
        resolution=0.031,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def ruling(*found: Judgement, word: Word = Word.PASSED, because: str = "every metric", advice: str = "") -> Ruling:
    return Ruling(
        candidate="mesh_new",
        against="mesh_old",
        scenario="http_visibility",
        runs=("results/one",),
        baseline=None,
        looks=1,
        confidence=0.95,
        judgements=found,
        unlike=(),
        word=word,
        because=because,
        advice=advice,
    )


EVERY = ruling(*(judgement(word, f"m{k}") for k, word in enumerate(Word)), word=Word.SLOWER)


def parsed(one: Ruling) -> Xml.Element:
    return Xml.fromstring(junit(one, WHEN, 12.5))


def printed(one: Ruling) -> str:
    screen = Console(file=io.StringIO(), width=160)
    rulings.show(one, screen)
    return screen.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_junit_has_the_shape_that_readers_rely_on() -> None:
    assert_junit(parsed(EVERY))


@pytest.mark.parametrize("word", Word)
def test_each_word_is_its_element(word: Word) -> None:
    case = parsed(ruling(judgement(word), word=Word.PASSED))[0].find("testcase")
    assert case is not None
    assert [child.tag for child in case] == ([TAGS[word]] if TAGS[word] else [])


@settings(deadline=None)
@given(some.text(), some.text(min_size=1), some.text(min_size=1))
def test_any_text_leaves_junit_whole(because: str, name: str, folder: str) -> None:
    one = replace(EVERY, candidate=name, runs=(folder,), because=because)
    cases = tuple(replace(j, because=because or "why") for j in one.judgements)
    suites = parsed(replace(one, judgements=cases))
    assert_junit(suites)
    message = suites[0].findall("testcase/failure")[0].get("message") or ""
    assert message.replace("\n", " ") == f"slower: {clean(because or 'why')}".replace("\n", " ")


def test_what_xml_cannot_hold_is_replaced_and_the_rest_escaped() -> None:
    raw = junit(ruling(judgement(Word.SLOWER, because='a <b> & "c" \x00\x0b ]]>')), WHEN, 1.0)
    found = Xml.fromstring(raw)[0].find("testcase/failure")
    assert found is not None
    assert found.get("message") == 'slower: a <b> & "c" \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER} ]]>'
    assert raw.startswith(b"<?xml version=")


def test_every_judgement_is_a_row_and_every_open_one_a_sentence() -> None:
    for text in (printed(EVERY), rulings.markdown(EVERY)):
        for j in EVERY.judgements:
            assert j.metric in text
        for word in (Word.SLOWER, Word.WORSE, Word.UNDECIDED, Word.REFUSED):
            assert f"{word}: the whole interval" in text


def test_markdown_cannot_be_broken_by_a_name() -> None:
    page = rulings.markdown(ruling(judgement(load="a|b <script>\nc")))
    assert "<script>" not in page
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert {row.replace("\\|", "").count("|") for row in rows} == {rows[0].count("|")}


def test_advice_and_command_are_shown() -> None:
    left = judgement(Word.UNDECIDED, wanted=42)
    one = replace(ruling(left, word=Word.UNDECIDED, advice="it would take about 42 deployments"), command="mesh-lab …")
    assert "what to do: it would take about 42 deployments" in printed(one)
    assert "```\nmesh-lab …\n```" in rulings.markdown(one)


def test_json_says_what_the_record_says() -> None:
    data = json.loads(codec.dumps(EVERY))
    assert [j["word"] for j in data["judgements"]] == [str(word) for word in Word]
    assert "NaN" not in codec.dumps(EVERY)


def test_exit_codes_are_fixed() -> None:
    assert {word: replace(EVERY, word=word).exit for word in (*Word,) if word is not Word.SHOWN} == {
        Word.PASSED: 0,
        Word.SLOWER: 1,
        Word.WORSE: 1,
        Word.UNDECIDED: 2,
        Word.REFUSED: 2,
    }


@pytest.mark.parametrize(
    "typed",
    [
        ["gate", "--candidate", "a b", "--deployments", "5", "--out", "x", "--max-slowdown", "3%"],
        ["gate", "--candidate", "a b", "--deployments=5", "--run", "y", "--max-slowdown", "3%", "--run=z"],
    ],
)
def test_the_advised_command_is_the_typed_one_with_its_number(typed: list[str]) -> None:
    left = ruling(judgement(Word.UNDECIDED, wanted=12), judgement(Word.REFUSED, "mean", wanted=40), word=Word.REFUSED)
    assert _command(left, typed) == "mesh-lab gate --candidate 'a b' --max-slowdown 3% --deployments 40"


def test_no_command_is_advised_where_it_would_not_help() -> None:
    hopeless = ruling(judgement(Word.UNDECIDED, wanted=12), judgement(Word.REFUSED), word=Word.REFUSED)
    longer = ruling(judgement(Word.UNDECIDED, wanted=12, wanted_baseline=12), word=Word.UNDECIDED)
    done = ruling(judgement())
    assert [_command(one, ["gate"]) for one in (hopeless, longer, done)] == ["", "", ""]
