"""Words: units, Markdown, the terminal."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import report_material as material
from rich.console import Console

from lab.record import Verdict, Word
from lab.report import console, glance, markdown, units
from lab.report.table import Table
from lab.summary import Summary


def shown(summary: Summary, verdicts: tuple[Verdict, ...], width: int = 100) -> str:
    out = io.StringIO()
    console.show(summary, verdicts, Console(file=out, width=width))
    return out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 µs"),
        (1.5, "1.50 s"),
        (0.00234, "2.34 ms"),
        (1e-6, "1.00 µs"),
        (5e-9, "5.00 ns"),
        (float("nan"), "–"),
        (None, "–"),
    ],
)
def test_a_time_has_the_unit_that_fits(seconds: float | None, words: str) -> None:
    assert units.time(seconds) == words


def test_what_was_not_measured_is_a_dash_never_a_zero() -> None:
    for word in (
        units.number,
        units.count,
        units.time,
        units.ms,
        units.us,
        units.mib,
        units.size,
        units.rate,
        units.ratio,
    ):
        assert word(None) == units.NOTHING
        assert word(float("nan")) == units.NOTHING


def test_numbers_keep_the_digits_that_were_measured() -> None:
    assert units.number(0.19) == "0.190"
    assert units.number(0.00001234) == "0.0000123"
    assert units.number(1234567.8) == "1,234,568"
    assert units.count(2.5) == "2.50"
    assert units.percent(0.0123) == "1.2 %"


def test_markdown_has_the_verdicts_then_one_row_an_arm() -> None:
    text = markdown(material.summary(), material.verdicts())
    assert text.index("does not hold") < text.index("| none_again")
    assert "| sidecar" in text
    assert all(len(line) - len(line.lstrip("|")) <= 1 for line in text.splitlines())


def test_markdown_cells_end_neither_a_column_nor_a_line() -> None:
    made = Table("x", ("a", "b"), (("one|two\nthree", "<b>"),))
    assert made.markdown().splitlines()[2].count("|") == 4  # two edges, one between, one escaped
    assert "<b>" not in made.markdown()


def test_an_empty_summary_is_said_in_sentences() -> None:
    nothing = Summary("empty", "smoke", "nothing measured", (), (), (), (), (), (), (), {}, {}, {}, ())
    text = markdown(nothing, ())
    assert "No claim was judged." in text
    assert "No arms were compared." in text
    assert "empty" in shown(nothing, ())


def test_the_row_of_an_arm_is_taken_at_the_highest_load_that_all_arms_carry() -> None:
    summary = material.summary()
    shared = glance.shared_load(summary)
    assert shared is not None
    assert shared.rate_per_s == 1000
    rows = {row[0]: row for row in glance.table(summary).rows}
    assert rows["none"][4] == "≥ 20,000"
    assert rows["sidecar"][4] == "2,000"
    assert rows["none_again"][5] == units.NOTHING


def test_arms_without_a_common_load_have_no_latency_in_their_row() -> None:
    summary = material.summary()
    apart = tuple(x for x in summary.latencies if (x.arm == "none") == (x.rate_per_s < 1000))
    assert glance.shared_load(replace(summary, latencies=apart)) is None
    assert {row[1] for row in glance.table(replace(summary, latencies=apart)).rows} == {units.NOTHING}


def test_the_terminal_shows_every_arm_and_takes_no_name_for_markup() -> None:
    verdict = Verdict("C1", Word.HOLDS, "because [red]it[/] does", conditions=("a", "b", "c", "d", "e"))
    text = shown(material.summary(), (verdict, Verdict("C9", Word.NOT_MEASURABLE, "no scenario")))
    assert "[red]it[/]" in text
    assert "and 2 more" in text
    assert "C9 (no scenario)" in text
    assert all(arm in text for arm in ("none_again", "ebpf", "pernode", "sidecar"))


def test_no_column_is_lost_on_a_narrow_terminal() -> None:
    text = shown(material.summary(), (), width=80)
    assert all(cell in text for row in glance.table(material.summary()).rows for cell in row)
