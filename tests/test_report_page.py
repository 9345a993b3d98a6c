"""The page: valid, whole, harmless, and nothing on it that the summary does not say."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import html5lib  # type: ignore[import-untyped]
import pytest
import report_material as material
import synthetic

from lab import claims
from lab.check import check
from lab.record import Mistake, Verdict, Word
from lab.report import build, facts, glance, page, proofs, tables
from lab.report.table import Table
from lab.store import Store
from lab.summary import Summary, summarise

SVG = "{http://www.w3.org/2000/svg}"
MOST_BYTES = 3_000_000
HOSTILE = '<script>alert("$1$")</script>&amp;--></style>'
NOTHING = Summary("empty", "smoke", "nothing measured", (), (), (), (), (), (), (), {}, {}, {}, ())
TABLES = (
    glance.table,
    tables.latency,
    tables.contrasts,
    tables.cost,
    tables.memory,
    tables.sockets,
    proofs.accounting,
    proofs.gates,
    proofs.referee,
    proofs.host,
)


def render(summary: Summary, **changes: Any) -> str:
    given: dict[str, Any] = {
        "verdicts": material.verdicts(),
        "responses": material.responses(),
        "run": material.run(),
        "system": material.SYSTEM,
        **changes,
    }
    return page.render(summary, given.pop("verdicts"), **given)


@pytest.fixture(scope="module")
def html() -> str:
    return render(material.summary(), ledger=claims.CLAIMS)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = synthetic.store(tmp_path_factory.mktemp("report") / "run", synthetic.small_plan(synthetic.small()))
    made.seal(summarise(made))
    return made


def parsed(text: str) -> Any:
    """The document, if it is HTML5 without a single parse error."""
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(text)


def test_the_page_is_html5_without_a_parse_error(html: str) -> None:
    parsed(html)


def test_the_page_fetches_nothing_and_runs_nothing(html: str) -> None:
    for element in parsed(html).iter():
        assert element.tag not in ("script", "link", "iframe", "img", "object", "embed")
        for name, value in element.attrib.items():
            assert not name.startswith("on")
            if name in ("href", "src", "action", "data", "{http://www.w3.org/1999/xlink}href"):
                assert value.startswith("#"), f"{element.tag} reaches out to {value}"
    assert not re.search(r"url\((?!#)|@import|https?://", html)


def test_no_two_elements_share_an_id_and_every_link_has_its_end(html: str) -> None:
    elements = list(parsed(html).iter())
    ids = [e.attrib["id"] for e in elements if "id" in e.attrib]
    assert len(ids) == len(set(ids))
    links = {v[1:] for e in elements for n, v in e.attrib.items() if n == "href"}
    assert links | set(re.findall(r"url\(#([^)\"]+)\)", html)) <= set(ids)


def test_every_picture_is_described_and_captioned(html: str) -> None:
    document = parsed(html)
    pictures = [e for e in document.iter(f"{SVG}svg") if e.attrib.get("aria-hidden") != "true"]
    assert len(pictures) > 10
    assert all(e.attrib["role"] == "img" and e.attrib["aria-label"] for e in pictures)
    for figure in document.iter("figure"):
        assert "Measured" in "".join(figure.find("figcaption").itertext())


def test_headings_go_down_one_level_at_a_time(html: str) -> None:
    levels = [int(e.tag[1]) for e in parsed(html).iter() if re.fullmatch(r"h[1-6]", str(e.tag))]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_the_verdicts_stand_before_every_figure(html: str) -> None:
    assert html.index('id="verdicts"') < html.index("<figure>")
    for verdict in material.verdicts():
        assert verdict.because in html.replace("&#39;", "'")


def test_the_same_summary_makes_the_same_bytes() -> None:
    little = material.small(material.summary())
    assert render(little) == render(little)


def test_a_page_of_a_full_run_stays_small(html: str) -> None:
    assert len(html.encode()) < MOST_BYTES


def test_hostile_names_are_text() -> None:
    renamed = rename(material.small(material.summary()), "sidecar", HOSTILE)
    verdict = Verdict("C1", Word.HOLDS, HOSTILE, (HOSTILE,), (HOSTILE,))
    responses = {
        (s, load, HOSTILE if arm == "sidecar" else arm): v for (s, load, arm), v in material.responses().items()
    }
    run = replace(material.run(), name=HOSTILE, command=HOSTILE, versions=((HOSTILE, HOSTILE),))
    text = render(
        replace(renamed, warnings=(HOSTILE,), run=HOSTILE),
        verdicts=(verdict,),
        run=run,
        system=((HOSTILE, HOSTILE),),
        responses=responses,
    )
    assert "<script" not in text
    document = parsed(text)
    assert HOSTILE in "".join(document.find("body").itertext())
    assert any(HOSTILE in (t.text or "") for t in document.iter(f"{SVG}text")), "the figures name the arm as it is"


def test_a_run_that_measured_nothing_says_so_in_sentences() -> None:
    text = render(NOTHING, verdicts=(), responses={}, system=())
    sentences = [e.text for e in parsed(text).iter("p") if e.attrib.get("class") == "none"]
    assert len(sentences) >= 10
    assert "<figure>" not in text


def test_an_arm_that_saturates_everywhere_is_named_and_never_drawn_as_a_ratio() -> None:
    before = material.summary()
    void = material.nothing()
    contrasts = tuple(
        replace(c, ratio=void, geometric_ratio=void, difference_s=void, verdict="saturated", rounds=0, rounds_ratio=())
        for c in before.contrasts
    )
    capacities = tuple(replace(c, kept_per_s=None, saturated_per_s=500.0, steps=()) for c in before.capacities)
    text = render(replace(before, contrasts=contrasts, capacities=capacities, latencies=()), responses={})
    parsed(text)
    assert "SATURATED at 500/s" in text
    assert 'aria-label="Median latency' not in text


@pytest.mark.parametrize(
    "parts",
    [
        ("latencies",),
        ("contrasts",),
        ("capacities", "costs"),
        ("memories", "sockets"),
        ("accounting", "referee", "host", "gates", "warnings"),
    ],
    ids=", ".join,
)
def test_every_part_of_a_summary_may_be_missing(parts: tuple[str, ...]) -> None:
    whole = material.small(material.summary())
    text = render(replace(whole, **{part: type(getattr(whole, part))() for part in parts}), responses={})
    parsed(text)


@pytest.mark.parametrize("make", TABLES, ids=lambda make: f"{make.__module__}.{make.__name__}")
def test_every_number_of_a_table_follows_from_the_summary(make: Any) -> None:
    """All numbers of the summary are changed: no cell with a number in it may stay as it was."""
    before, after = make(material.summary()), make(changed(material.summary()))
    assert len(before.rows) == len(after.rows) > 0
    for row, other in zip(before.rows, after.rows, strict=True):
        for column, cell, moved in zip(
            before.columns[before.words :], row[before.words :], other[after.words :], strict=True
        ):
            if re.search(r"[1-9]", cell) and not cell.startswith("<"):
                assert cell != moved, f"{column} says {cell} whatever the summary says"


def test_every_cell_of_every_table_is_on_the_page(html: str) -> None:
    cells = {"".join(e.itertext()) for e in parsed(html).iter("td")}
    for make in (*TABLES, tables.capacity):
        made: Table = make(material.summary())
        assert {cell for row in made.rows for cell in row} <= cells


def test_a_report_is_built_into_its_folder_and_the_folder_still_passes_its_check(sealed: Store) -> None:
    verdicts = claims.judge(sealed.summary())
    where = build(sealed, verdicts)
    assert where == sealed.folder / "report" / "index.html"
    parsed(where.read_text())
    assert check(sealed.folder, strict=True) == ()
    assert (sealed.folder / "report" / "summary.md").read_text().startswith(f"# Run {sealed.plan.run}")
    assert where.read_bytes() == build(sealed, verdicts).read_bytes()


def test_a_changed_folder_gets_no_report(tmp_path: Path) -> None:
    made = synthetic.store(tmp_path / "run", synthetic.small_plan(synthetic.small("connections")))
    made.seal(summarise(made))
    raw = next(made.folder.glob("trials/*/*.parquet"))
    raw.write_bytes(raw.read_bytes()[:-1] + b"x")
    with pytest.raises(Mistake, match=r"no report is built.*mesh-lab check"):
        build(Store.open(made.folder), ())
    assert not (made.folder / "report").exists()


def test_facts_flatten_what_the_machine_says_and_cut_what_is_long() -> None:
    flat = facts.flat({"cpu": {"cores": 2, "flags": ["a", "b"]}, "disks": [{"name": "x"}], "long": "y" * 999})
    assert flat[:3] == (("cpu.cores", "2"), ("cpu.flags", "a, b"), ("disks.0.name", "x"))
    assert len(flat[3][1]) < 410


def changed(value: Any) -> Any:
    """The same with every number another one; rates keep their order."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return value * 3
    if isinstance(value, float):
        return value * 3.7
    if isinstance(value, dict):
        return {k: changed(v) for k, v in value.items()}
    if is_dataclass(value):
        return replace(value, **{f.name: changed(getattr(value, f.name)) for f in fields(value)})  # type: ignore[type-var]
    return tuple(changed(v) for v in value)


def rename(value: Any, name: str, other: str) -> Any:
    """The same with one arm renamed wherever it is named."""
    if isinstance(value, str):
        return value.replace(name, other)
    if isinstance(value, dict):
        return {rename(k, name, other): rename(v, name, other) for k, v in value.items()}
    if is_dataclass(value):
        return replace(value, **{f.name: rename(getattr(value, f.name), name, other) for f in fields(value)})  # type: ignore[type-var]
    return tuple(rename(v, name, other) for v in value) if isinstance(value, tuple) else value
