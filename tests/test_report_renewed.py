"""What stands in documents is what stored data says; nothing there is stale."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from datapaths.bpf import told
from lab.compile import ROOT
from lab.record import Mistake
from lab.report import renewed


def test_every_document_is_what_its_data_says() -> None:
    found = renewed.documents()
    assert {ROOT / "README.md", ROOT / "docs" / "headline.svg", ROOT / "docs" / "ebpf.md"} < found.keys()
    for file, text in found.items():
        assert file.read_text() == text, f"{file.name} is stale; rebuild it with: nox -s figures"


def test_every_stored_file_of_data_is_shown_by_a_document() -> None:
    shown = {m["source"] for file in (ROOT / "docs").glob("*.md") for m in renewed.MARK.finditer(file.read_text())}
    assert {f"data/{file.name}" for file in (ROOT / "docs" / "data").glob("*.json")} <= shown


def marked(folder: Path, function: str, data: object) -> Path:
    (folder / "x.json").write_text(json.dumps(data))
    page = folder / "page.md"
    page.write_text(f"a\n<!-- made by {function} from x.json -->\nold\n<!-- end of what was made -->\nb\n")
    return page


def test_what_stands_around_a_mark_is_kept(tmp_path: Path) -> None:
    data = json.loads((ROOT / "docs" / "data" / "ebpf-counts.json").read_text())
    page = marked(tmp_path, "datapaths.bpf.told:counts", data)
    text = renewed.renewed(page)
    assert text.startswith("a\n<!-- made by datapaths.bpf.told:counts from x.json -->\n1,000,000 requests")
    assert text.endswith("\n<!-- end of what was made -->\nb\n")
    assert "\nold\n" not in text


@pytest.mark.parametrize(
    ("function", "says"),
    [("os:system", "allowed are modules of lab, datapaths"), ("datapaths.bpf.told:nothing", "mend the mark")],
)
def test_a_mark_names_a_function_of_the_project(function: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(Mistake, match=says):
        renewed.renewed(marked(tmp_path, function, {}))


def test_losses_are_counted_in_words() -> None:
    data = json.loads((ROOT / "docs" / "data" / "ebpf-counts.json").read_text())
    data["counted"]["server"]["holes"] = 3
    assert "The client's side counted 1,000,000 requests and 1,000,000 answers, 0 lost" in told.counts(data)
    assert "the server's side counted 1,000,000 requests and 1,000,000 answers, 3 lost" in told.counts(data)
