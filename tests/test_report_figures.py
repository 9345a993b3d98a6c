"""The figures: faithful to their numbers, themed, deterministic, free of global state."""

from __future__ import annotations

import re
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
import report_material as material
from matplotlib._pylab_helpers import Gcf

from lab.report import drawing, looks, units
from lab.report.figures import connections, cost, ecdf, headline, ladder, memory, rounds
from lab.summary import Estimate


def test_the_headline_is_a_file_of_its_own_and_the_same_every_time() -> None:
    svg = headline(material.summary())
    assert svg.startswith("<?xml")
    assert "var(--" not in svg
    assert "<!--" not in svg
    assert svg == headline(material.summary())


def test_a_run_without_contrasts_has_no_headline() -> None:
    assert headline(replace(material.summary(), contrasts=())) == ""


def test_the_headline_says_every_ratio_in_words_too() -> None:
    svg = headline(material.summary())
    for contrast in material.summary().contrasts:
        if contrast.metric == "p50":
            said = units.ratio(contrast.ratio.value) if contrast.rounds else contrast.verdict
            assert said in svg


def test_drawing_leaves_no_global_state() -> None:
    before = dict(mpl.rcParams)
    material_rounds = rounds.panels(material.small(material.summary()))
    assert material_rounds
    assert dict(mpl.rcParams) == before
    assert not Gcf.figs, "a figure was made through pyplot"


def test_embedded_figures_have_no_colour_that_the_theme_does_not_know() -> None:
    summary = material.small(material.summary())
    for made in (*ladder.panels(summary), *cost.panels(summary), *memory.panels(summary), *connections.panels(summary)):
        assert not re.search(r"(?:fill|stroke): #", made.svg), made.name


def test_light_and_dark_know_the_same_colours() -> None:
    used = {looks.INK, looks.MUTED, looks.GRID, looks.BAND, looks.BASE, looks.TWIN, *looks.PALETTE}
    assert used == set(looks.DARK)


def test_a_number_in_a_figure_is_not_cut_with_its_coordinates() -> None:
    drawn = drawing.draw("x", "1.23456", (2, 2), lambda figure: figure.text(0.51234567, 0.5, "1.23456"))
    assert ">1.23456</text>" in drawn.svg
    assert 'aria-label="1.23456"' in drawn.svg


def test_the_baseline_comes_first_and_its_twin_is_grey_too() -> None:
    look = looks.looks(material.summary())
    assert list(look)[:2] == ["none", "none_again"]
    assert [look[a].colour for a in ("none", "none_again")] == [looks.BASE, looks.TWIN]


def test_arms_differ_in_line_and_marker_not_only_in_colour() -> None:
    look = list(looks.looks(material.summary()).values())
    assert len({one.marker for one in look}) == len(look)
    assert len({one.colour for one in look}) == len(look)


def test_a_downsampled_distribution_keeps_both_ends_and_its_quantiles() -> None:
    values = np.random.default_rng(1).lognormal(0, 1, 100_000)
    seconds, shares = ecdf.quantiles(values)
    assert len(seconds) <= ecdf.POINTS
    assert (seconds[0], seconds[-1]) == (values.min(), values.max())
    for q in (0.01, 0.5, 0.99, 0.999):
        assert np.interp(q, shares, seconds) == pytest.approx(np.quantile(values, q), rel=0.05)


def test_few_requests_are_all_drawn() -> None:
    seconds, shares = ecdf.quantiles(np.array([3.0, 1.0, 2.0]))
    assert seconds.tolist() == [1.0, 2.0, 3.0]
    assert shares.tolist() == pytest.approx([1 / 6, 1 / 2, 5 / 6])


def test_one_request_and_identical_ones_make_no_trouble() -> None:
    summary = material.summary()
    one = summary.latencies[0]
    for values in (np.array([1e-3]), np.full(1000, 1e-3), np.zeros(5)):
        assert ecdf.panels(summary, {(one.scenario, one.load, one.arm): values})


def test_time_in_bpf_is_not_counted_twice() -> None:
    spent = {"app.user": 1.0, "app.system": 2.0, "kernel": 4.0, "bpf": 3.0, "total": 7.0}
    one = replace(material.summary().costs[0], per_request_s={k: Estimate(v, v, v) for k, v in spent.items()})
    assert cost.by_part(one) == {"app": 3.0, "kernel": 4.0}
