"""The site: valid, whole, harmless, the same every time, and everything in `results/` is on it."""

from __future__ import annotations

import posixpath
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import html5lib  # type: ignore[import-untyped]
import pytest
import site_material as material

from lab import claims
from lab.compile import ROOT
from lab.record import Mistake, Verdict, Word
from lab.report import looks
from lab.report.ledger import entries
from lab.report.published import Machine, Published, published
from lab.report.site import build, pages
from lab.report.site.documents import Documents
from lab.report.site.prose import prose, slug

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def results() -> Path:
    return material.borrowed()


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return material.files()


@pytest.fixture(scope="module")
def documents(files: dict[str, bytes]) -> dict[str, Any]:
    """Every page as a document, if it is HTML5 without a single parse error."""
    return {name: parsed(raw.decode()) for name, raw in files.items() if name.endswith(".html")}


def parsed(text: str) -> Any:
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(text)


def ids(document: Any) -> list[str]:
    return [e.attrib["id"] for e in document.iter() if "id" in e.attrib]


def test_everything_in_results_is_on_the_site(files: dict[str, bytes], results: Path) -> None:
    first = files["index.html"].decode()
    for folder in (*results.glob("2*"), *results.glob("forecasts/*")):
        assert folder.name.replace("&", "&amp;") in first
    assert {f"runs/{name}.html" for name in material.RUNS} < files.keys()
    assert "of kind quiet" in first
    assert "it has no report" in first


def test_every_claim_has_a_page_with_its_rule_or_what_it_lacks(documents: dict[str, Any]) -> None:
    for claim in claims.CLAIMS:
        text = "".join(documents[f"claims/{claim.id.lower()}.html"].find("body").itertext())
        assert claim.statement in text
        assert (claim.demands if claim.scenario else claim.lacks) in text


def test_no_two_elements_of_a_page_share_an_id(documents: dict[str, Any]) -> None:
    for name, document in documents.items():
        found = ids(document)
        assert len(found) == len(set(found)), name


def test_every_link_within_the_site_has_its_end(documents: dict[str, Any], files: dict[str, bytes]) -> None:
    anchors = {name: set(ids(document)) for name, document in documents.items()}
    for name, document in documents.items():
        for target in (v for e in document.iter() for n, v in e.attrib.items() if n in ("href", "src")):
            if not target.startswith(("https://", "http://", "data:image/png;base64,")):
                path, _, anchor = target.partition("#")
                page = posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(path))) if path else name
                assert page in files, f"{name}: {target}"
                assert not anchor or anchor in anchors[page], f"{name}: {target}"


def test_nothing_is_fetched_from_elsewhere_and_nothing_runs(documents: dict[str, Any], files: dict[str, bytes]) -> None:
    for name, document in documents.items():
        for element in document.iter():
            assert element.tag not in ("script", "iframe", "object", "embed", "base"), name
            assert not [a for a in element.attrib if a.startswith("on")], name
            reached = element.attrib.get("src") or (element.attrib.get("href") if element.tag == "link" else "")
            assert not (reached or "").startswith(("http", "//")), name
    assert not re.search(rb"url\((?!#)|@import", files["style.css"])


def test_every_page_can_be_walked_by_landmarks_and_headings(documents: dict[str, Any]) -> None:
    for name, document in documents.items():
        if name.startswith("other/"):
            continue
        tags = [e.tag for e in document.iter()]
        assert [tags.count(t) for t in ("main", "h1", "title")] == [1, 1, 1], name
        first = next(e for e in document.find("body").iter("a"))
        assert (first.attrib["class"], first.attrib["href"]) == ("skip", "#content"), name
        levels = [int(t[1]) for t in tags if re.fullmatch(r"h[1-6]", str(t))]
        assert levels[0] == 1, name
        assert all(after - before <= 1 for before, after in pairwise(levels)), name
        names = [e.attrib.get("aria-label") for e in document.iter("nav")]
        assert all(names), name
        assert len(names) == len(set(names)), name


def test_every_table_scrolls_in_a_named_region_and_its_headings_say_of_what(documents: dict[str, Any]) -> None:
    for name, document in documents.items():
        parents = {child: parent for parent in document.iter() for child in parent}
        for table in document.iter("table"):
            region = parents[table]
            assert region.attrib.get("role") == "region", name
            assert region.attrib.get("tabindex") == "0", name
            assert region.attrib.get("aria-label"), name
            assert all(th.attrib.get("scope") in ("col", "row") for th in table.iter("th")), name


def test_every_picture_is_described(documents: dict[str, Any]) -> None:
    for name, document in documents.items():
        for picture in document.iter(f"{SVG}svg"):
            described = picture.attrib.get("role") == "img" and picture.attrib.get("aria-label")
            assert described or picture.attrib.get("aria-hidden") == "true", name
        assert all(image.attrib.get("alt") for image in document.iter("img")), name


def test_the_first_page_is_the_same_every_time(results: Path, files: dict[str, bytes]) -> None:
    found = published(results)
    site = pages.Site(found, Documents(ROOT))
    again = dict(pages.quick(site))
    assert again == {name: files[name] for name in again}


def test_hostile_names_are_text() -> None:
    bad = material.HOSTILE
    verdict = Verdict("C1", Word.HOLDS_IF, bad, (bad,), (bad,))
    machine = Machine(bad, 1, True, bad, bad)
    named = Published("r", "run", Path("r"), bad, ((bad, bad),), bad, machine, "measured")
    run = replace(named, verdicts=(verdict,))
    site = pages.Site((run, replace(run, name="other", kind=bad)), Documents(ROOT))
    for name, raw in pages.quick(site):
        text = raw.decode()
        assert "<script" not in text, name
        parsed(text)
    assert bad in "".join(parsed(dict(pages.quick(site))["claims/c1.html"].decode()).find("body").itertext())


def test_verdicts_of_two_machines_stand_side_by_side() -> None:
    here, there = Machine("Xeon", 2, True, "6.18", "local"), Machine("EPYC", 64, False, "6.1", "kind")
    runs = tuple(
        Published(
            name, "run", Path(name), day, machine=machine, origin="measured", verdicts=(Verdict("C1", word, "x"),)
        )
        for name, day, machine, word in (
            ("a", "2026-01-01", here, Word.HOLDS),
            ("b", "2026-01-02", there, Word.DOES_NOT_HOLD),
        )
    )
    site = pages.Site(runs, Documents(ROOT))
    assert [e.latest.run for e in entries(runs) if e.latest] == ["b"]
    table = dict(pages.quick(site))["claims/index.html"].decode()
    assert table.index("does not hold") < table.index(">holds<")
    assert "64 cores of a machine (EPYC), Linux 6.1, cluster kind" in table


def test_a_changed_folder_is_refused(tmp_path: Path) -> None:
    folder = material.other(tmp_path / "results" / "20260101-x", "quiet", material.REPORT)
    (folder / "report" / "index.html").write_text("changed")
    with pytest.raises(Mistake, match="not what was written"):
        pages.files(tmp_path / "results", ROOT)


def test_a_manifest_cannot_reach_out_of_its_folder(tmp_path: Path) -> None:
    folder = material.other(tmp_path / "results" / "20260101-x", "quiet", material.REPORT)
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace("report/index.html", "report/../../../secret"))
    (tmp_path / "secret").write_text("x")
    with pytest.raises(Mistake, match="outside"):
        pages.files(tmp_path / "results", ROOT)


def test_results_without_anything_make_a_site_that_says_so(tmp_path: Path) -> None:
    first = build(tmp_path / "none", tmp_path / "site").read_text()
    parsed(first)
    assert "No run is published." in first
    assert "No forecast is published." in first


def test_a_folder_that_is_no_site_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("dear")
    with pytest.raises(Mistake, match="is no site"):
        build(tmp_path / "none", tmp_path / "mine")
    assert (tmp_path / "mine" / "letter").read_text() == "dear"
    build(tmp_path / "none", tmp_path / "site")
    (tmp_path / "site" / "stale.html").write_text("old")
    build(tmp_path / "none", tmp_path / "site")
    assert not (tmp_path / "site" / "stale.html").exists()


PAGES = {"docs/b.md": "docs/b.html", "docs/data/x.json": "docs/data/x.json"}


@pytest.mark.parametrize(
    ("text", "has", "lacks"),
    [
        ("# T\n\n[b](b.md#x)", '<a href="../docs/b.html#x">b</a>', ".md"),
        ("# T\n\n[x](data/x.json) [gone](../lab/x.py)", "gone", "lab/x.py"),
        ("# T\n\n[x](javascript:alert(1))", "javascript", "href"),
        ("# T\n\n<b onclick=x>y</b> <!-- hidden -->", "&lt;b onclick=x&gt;", "hidden"),
        ("# T\n\n<!-- a\nb -->\n\n<div>z</div>", "&lt;div&gt;", "<div>"),
        ("# T\n\n```\n<x>\n```", '<pre tabindex="0"><code>&lt;x&gt;', "<x>"),
        ("# T\n\n| a | b |\n|---|--:|\n| 1 | 2 |", '<td class="n">2</td>', "style="),
    ],
)
def test_a_document_links_to_pages_and_brings_no_html_of_its_own(text: str, has: str, lacks: str) -> None:
    made = str(prose(text, "docs/a.md", PAGES, "../").html)
    assert has in made
    assert lacks not in made


def test_headings_of_a_document_have_anchors_of_their_own() -> None:
    made = prose("# T `x`\n\n## A/A\n\n### Same\n\n## Same", "docs/a.md", {}, "")
    assert made.title == "T x"
    assert made.headings == (("aa", "A/A"), ("same-1", "Same"))
    assert slug("95 % interval") == "95--interval"


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """WCAG 2.2: (lighter + 0.05) / (darker + 0.05)."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_words_stand_out_from_what_is_behind_them(dark: bool, files: dict[str, bytes]) -> None:
    style = files["style.css"].decode()
    found = [re.findall(r"--([a-z]+): (#[0-9a-f]{6});", style.split("@media")[n]) for n in (0, 1)]
    colours = {**dict(found[0]), **(dict(found[1]) if dark else {})}
    pairs = [(word, back) for word in ("ink", "muted", "link") for back in ("page", "card")]
    pairs += [("good", "goodback"), ("bad", "badback"), ("open", "openback")]
    for word, back in pairs:
        assert contrast(colours[word], colours[back]) >= 4.5, (word, back)
    drawn = looks.DARK.values() if dark else looks.DARK.keys()
    lines = [c for c in drawn if c not in {looks.DARK[looks.GRID], looks.DARK[looks.BAND], looks.GRID, looks.BAND}]
    assert all(contrast(c, colours["card"]) >= 2.0 for c in lines)
