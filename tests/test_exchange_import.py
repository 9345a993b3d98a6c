"""The whole life of an imported run: kept byte for byte, checked, shown as imported, and never a judge."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import html5lib  # type: ignore[import-untyped]
import pytest
import synthetic
from exchange_material import FOLDER
from typer.testing import CliRunner

from lab import claims, codec, report, session
from lab.check import check
from lab.cli import app
from lab.exchange.given import groups, repetitions
from lab.exchange.keep import keep
from lab.record import Mistake, Word
from lab.report.compare import compare
from lab.report.published import of_run
from lab.report.site import build
from lab.store import IMPORTS, Store, manifest
from lab.summary import summarise

EVIL = "<script>alert(1)</script>&<img src=x onerror=alert(2)>"


def paths(*names: str) -> list[str]:
    return ["+".join(str(FOLDER / part) for part in name.split("+")) for name in names]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tools of one arm with one baseline, summed up and reported."""
    folder = tmp_path_factory.mktemp("imports") / "run"
    found = repetitions(
        paths("fortio.json", "locust_stats.csv+locust_stats_history.csv", "h2load.txt+h2load.tsv"),
        paths("nighthawk.json"),
        arm="mesh",
    )
    session.report(keep(folder, found, "mesh-lab import …"))
    return folder


@pytest.fixture
def run(stored: Path, tmp_path: Path) -> Path:
    """A copy of it, to spoil."""
    return Path(shutil.copytree(stored, tmp_path / "run"))


def problems(folder: Path) -> str:
    return "; ".join(f"{p.file}: {p.what}" for p in check(folder, strict=True))


def test_the_files_are_kept_byte_for_byte_with_their_hashes(stored: Path) -> None:
    store = Store.open(stored)
    for original, _ in store.imports():
        for document, (name, sha, size) in zip(store.documents(original.name), original.files, strict=True):
            raw = (FOLDER / name).read_bytes()
            assert document.raw == raw
            assert (codec.sha256(raw), len(raw)) == (sha, size)
            assert sha in store.manifest.files.values()


def test_it_passes_the_strict_check_and_is_of_origin_imported(stored: Path) -> None:
    assert problems(stored) == ""
    summary = Store.open(stored).summary()
    assert summary.origin == "imported"
    assert {one.origin for one in summary.imported} == {"imported"}
    assert [one.original.name for one in summary.imported] == ["base-1", "mesh-1", "mesh-2", "mesh-3"]
    assert summary.concerns


def test_no_claim_is_judged_by_it(stored: Path) -> None:
    store = Store.open(stored)
    verdicts = claims.judge(store.summary())
    assert len(verdicts) == len(claims.CLAIMS)
    assert not any(v.measured and v.word is not Word.NOT_MEASURABLE for v in verdicts)
    assert not any(v.measured for v in of_run(store).verdicts)


def test_its_report_says_imported_and_shows_the_audit(stored: Path) -> None:
    page = (stored / "report" / "index.html").read_text()
    html5lib.HTMLParser(strict=True).parse(page)
    assert "imported" in page
    for words in ("Fortio 1.75.2", "mesh (imported)", "coordinated_omission", "closed_loop", "missing_baseline"):
        assert words in page
    assert "## Imported" in (stored / "report" / "summary.md").read_text()


def test_words_in_its_files_are_never_html(tmp_path: Path) -> None:
    data = json.loads((FOLDER / "fortio.json").read_text()) | {"Labels": EVIL, "Version": EVIL}
    data["RetCodes"] = {EVIL: 5000}
    file = tmp_path / "a<b>&c.json"
    file.write_text(json.dumps(data))
    store = keep(tmp_path / "run", repetitions([str(file)]))
    session.report(store)
    page = (store.folder / "report" / "index.html").read_text()
    html5lib.HTMLParser(strict=True).parse(page)
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page
    assert "<img" not in page
    assert "a<b>" not in page
    assert problems(store.folder) == ""
    assert "<script" not in (store.folder / "report" / "summary.md").read_text()


def test_a_kept_file_that_was_changed_is_found(run: Path) -> None:
    (kept,) = (run / IMPORTS / "mesh-1" / "original").iterdir()
    kept.write_bytes(kept.read_bytes() + b" ")
    assert "is not what was written" in problems(run)


def test_what_was_read_is_read_again_and_compared(run: Path) -> None:
    """Whoever changes what is said of a file, and every hash with it, is found by reading the file again."""
    path = run / IMPORTS / "mesh-1" / "told.json"
    data = codec.parse(path.read_bytes())
    data["told"]["most_s"] = 0.001
    relist(run, path, codec.text(data))
    assert "read again, differs: most_s" in problems(run)


def test_another_file_in_its_place_is_found(run: Path) -> None:
    (kept,) = (run / IMPORTS / "mesh-1" / "original").iterdir()
    relist(run, kept, kept.read_bytes().replace(b"mesh, 8", b"mesh, 9"))
    assert "is not what the plan names" in problems(run)


def test_an_import_that_was_not_planned_is_found(run: Path) -> None:
    shutil.copytree(run / IMPORTS / "mesh-1", run / IMPORTS / "mesh-9")
    store = Store.open(run)
    listed = store.manifest.with_files(manifest.hashes(run / IMPORTS / "mesh-9", run))
    manifest.write(run, listed)
    assert "is not in the plan" in problems(run)


def relist(run: Path, path: Path, raw: bytes) -> None:
    path.write_bytes(raw)
    listed = Store.open(run).manifest.with_files({path.relative_to(run).as_posix(): codec.sha256(raw)})
    manifest.write(run, listed)


def test_it_is_written_once(tmp_path: Path) -> None:
    found = repetitions(paths("fortio.json"))
    store = keep(tmp_path / "run", found)
    with pytest.raises(Mistake, match="written once"):
        store.add_import(found[0].imported.original, found[0].imported.told, found[0].documents)
    with pytest.raises(Mistake, match="exists"):
        keep(tmp_path / "run", found)


def test_an_interrupted_import_is_seen(tmp_path: Path) -> None:
    found = repetitions(paths("fortio.json", "nighthawk.json"))
    store = keep(tmp_path / "run", found)
    shutil.rmtree(store.folder / IMPORTS / "imported-2")
    manifest.write(store.folder, store.manifest.without(f"{IMPORTS}/imported-2/"))
    assert "was planned and is missing" in problems(store.folder)


def test_it_is_compared_only_by_force_and_shown_apart(stored: Path, tmp_path: Path) -> None:
    measured = synthetic.store(tmp_path / "measured")
    measured.seal(summarise(measured))
    with pytest.raises(Mistake, match="origin"):
        compare(Store.open(stored), measured)
    side_by_side = compare(Store.open(stored), measured, force=True)
    assert not any(pair.a and pair.b and pair.overlap is not None for pair in side_by_side.contrasts)
    assert {run for run, _ in side_by_side.imported} == {Store.open(stored).plan.run}
    assert "Imported: another tool's numbers" in side_by_side.text


def test_frames_give_what_was_imported(stored: Path) -> None:
    run = report.open(stored)
    found = report.imported(run)
    assert set(found["origin"]) == {"imported"}
    assert found.set_index("name").loc["mesh-1", "p99_s"] == 0.00463
    assert len(report.concerns(run)) == len(run.summary().concerns)


def test_the_list_of_runs_says_what_it_is(stored: Path) -> None:
    found = of_run(Store.open(stored))
    assert found.origin == "imported"
    assert dict(found.asked)["imported"].startswith("what Fortio 1.75.2, Locust, Nighthawk 0.6.0, h2load told")


def test_the_site_shows_it_as_imported_and_no_claim_names_it(stored: Path, tmp_path: Path) -> None:
    shutil.copytree(stored, tmp_path / "results" / "20260101-told")
    build(tmp_path / "results", tmp_path / "site")
    index = (tmp_path / "site" / "index.html").read_text()
    assert "nothing of it was measured here, and it judges no claim" in index
    page = tmp_path / "site" / "runs" / "20260101-told.html"
    assert "Imported: what other tools told" in page.read_text()
    pages = [p.read_text() for p in (tmp_path / "site" / "claims").glob("*.html")]
    assert pages
    assert not any("20260101-told" in p for p in pages)


def test_files_of_one_run_belong_together() -> None:
    stats, history, other = paths("locust_stats.csv", "locust_stats_history.csv", "fortio.json")
    assert [[p.name for p in g] for g in groups([history, other, stats])] == [
        ["fortio.json"],
        ["locust_stats.csv", "locust_stats_history.csv"],
    ]


def test_a_file_whose_name_has_a_plus_is_one_file(tmp_path: Path) -> None:
    file = tmp_path / "a+b.json"
    file.touch()
    assert groups([str(file)]) == ((file,),)


def test_a_name_that_cannot_be_printed_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a\x1b[31m.json"
    file.write_bytes((FOLDER / "fortio.json").read_bytes())
    with pytest.raises(Mistake, match="cannot be printed; rename it"):
        repetitions([str(file)])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["absent.json"], "no file absent.json"),
        ([*paths("fortio.json"), "--arm", "base"], "not 'base'"),
        ([*paths("fortio.json"), "--rate", "9"], "says that 1000/s were asked for"),
        ([*paths("wrk2.txt"), "--rate", "-1"], "--rate -1.0"),
        ([*paths("wrk.txt")], "wrk2 or wrk"),
    ],
)
def test_the_command_says_what_is_wrong_and_makes_nothing(tmp_path: Path, words: list[str], expected: str) -> None:
    out = tmp_path / "run"
    result = CliRunner().invoke(app, ["import", *words, "--out", str(out)])
    assert result.exit_code == 2
    assert expected in result.stderr
    assert not out.exists()


def test_the_command_imports_and_the_others_read_it(tmp_path: Path) -> None:
    out = tmp_path / "made"
    words = [*paths("wrk2.txt"), "--rate", "300", "--arm", "sidecar", "--out", str(out)]
    made = CliRunner().invoke(app, ["import", *words])
    assert made.exit_code == 0, made.output
    assert "imported" in made.stdout
    assert CliRunner().invoke(app, ["check", str(out), "--strict"]).exit_code == 0
    audited = CliRunner().invoke(app, ["audit", str(out), "--json"])
    assert audited.exit_code == 1
    assert {c["rule"] for c in json.loads(audited.stdout)["concerns"]} >= {"single_run", "late_starts", "discarded"}
