"""Thresholds as they are typed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from lab.record import Mistake
from lab.regression.share import MOST, share


@pytest.mark.parametrize(
    ("text", "value"),
    [("3%", 0.03), ("3 %", 0.03), (" 3.5% ", 0.035), ("0.03", 0.03), (".03", 0.03), ("+3%", 0.03), ("150%", 1.5)],
)
def test_percent_and_shares_are_read(text: str, value: float) -> None:
    assert share("--max-slowdown", text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("3", "may mean 3 % or 3 times; write 3% or 300%"),
        ("1", "may mean 1 % or 1 times"),
        ("three", "no share; give it as 3% or as 0.03"),
        ("", "no share"),
        ("%", "no share"),
        ("-3%", "no share"),
        ("3%%", "no share"),
        ("1e-2", "no share"),
        ("nan", "no share"),
        ("inf", "no share"),
        ("0", "allowed is above 0 %"),
        ("0%", "allowed is above 0 %"),
        ("1001%", "out of range"),
    ],
)
def test_anything_else_is_refused_with_what_is_allowed(text: str, says: str) -> None:
    with pytest.raises(Mistake) as refused:
        share("--max-slowdown", text)
    assert says in str(refused.value)
    assert str(refused.value).startswith("--max-slowdown ")


def test_zero_is_allowed_where_it_can_be_shown() -> None:
    assert share("--max-loss", "0%", zero=True) == 0


@settings(deadline=None)
@given(some.floats(0.01, 999))
def test_a_percentage_is_a_hundredth(number: float) -> None:
    assert share("--max-slowdown", f"{number:.6f}%") == pytest.approx(number / 100, abs=1e-7)


@settings(deadline=None)
@given(some.text(max_size=12))
def test_any_text_gives_a_share_in_range_or_a_mistake(text: str) -> None:
    try:
        value = share("--max-slowdown", text)
    except Mistake:
        return
    assert 0 < value <= MOST
    assert math.isfinite(value)
