"""Notebooks run from start to end on what is published, and hold nothing but text and code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import html5lib  # type: ignore[import-untyped]
import jupytext  # type: ignore[import-untyped, unused-ignore]
import nbformat
import pytest

from lab import notebooks
from lab.record import Failed, Mistake

BARE = {**os.environ, "PATH": str(Path(sys.executable).parent)}  # a machine without nginx, nft, HAProxy
COUNT = 6


def text(notebook: nbformat.NotebookNode) -> str:
    """Everything that its cells print."""
    return "\n".join(o.get("text", "") for c in notebook.cells for o in c.get("outputs", ()))


def pictures(notebook: nbformat.NotebookNode) -> int:
    return sum("image/png" in o.get("data", {}) for c in notebook.cells for o in c.get("outputs", ()))


def test_there_are_six_in_an_order() -> None:
    assert [name[:2] for name in notebooks.names()] == [f"{n:02}" for n in range(1, COUNT + 1)]


@pytest.mark.parametrize("name", notebooks.names())
def test_a_notebook_is_a_percent_script_without_outputs(name: str) -> None:
    source = (notebooks.FOLDER / f"{name}.py").read_text()
    assert "format_name: percent" in source
    assert "# %% [markdown]" in source
    notebook = notebooks.read(name)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)
    assert notebook.cells[0].source.startswith(f"# {int(name[:2])}. ")
    assert all("lab" not in cell.metadata for cell in notebook.cells)
    compile(source.replace("display(", "print("), name, "exec")


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[nbformat.NotebookNode]]]:
    """Every notebook by the command, as many at a time as there are cores."""
    out = tmp_path_factory.mktemp("executed")

    def execute(name: str) -> nbformat.NotebookNode:
        words = [sys.executable, "-m", "lab.notebooks", "--out", str(out), name]
        done = subprocess.run(words, cwd=notebooks.ROOT, env=BARE, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        kept: nbformat.NotebookNode = jupytext.read(out / f"{name}.ipynb")
        return kept

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {name: pool.submit(execute, name) for name in notebooks.names()}


@pytest.mark.parametrize("name", notebooks.names())
def test_a_notebook_runs_on_what_is_published(name: str, executed: dict[str, Future[nbformat.NotebookNode]]) -> None:
    done = executed[name].result()
    assert pictures(done) >= 2
    assert ("NOT MEASURED HERE: " in text(done)) == (name == notebooks.names()[-1])


def test_a_cell_that_fails_is_shown() -> None:
    broken = jupytext.reads("left = 6\nleft / 0", fmt="py:percent")
    with pytest.raises(Failed, match=r"(?s)notebook broken: this cell failed:.*left / 0.*ZeroDivisionError"):
        notebooks.execute(broken, "broken")


def test_a_notebook_reads_a_run_of_ones_own() -> None:
    run = notebooks.ROOT / "results" / "20261123-ebpf-5000"
    done = notebooks.execute(notebooks.prepared("01_read_a_run", run), "01_read_a_run")
    assert f"RUN = {str(run)!r}" in [cell.source for cell in done.cells]
    shown = "\n".join(o.data["text/plain"] for c in done.cells for o in c.get("outputs", ()) if "data" in o)
    assert "mesh-lab run http_visibility --datapaths none,ebpf" in shown
    assert "ebpf at slices-5000: " in shown


def test_a_notebook_that_needs_what_is_published_says_which_do_not(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match=r"05_fleet_15k reads published runs only; those with --run: 01_read_a_run$"):
        notebooks.prepared("05_fleet_15k", tmp_path)
    with pytest.raises(Mistake, match=r"no folder .*nowhere; runs are folders below results/"):
        notebooks.prepared("01_read_a_run", tmp_path / "nowhere")


def test_a_notebook_may_be_called_by_its_number() -> None:
    assert notebooks.chosen(["01", "05_fleet"], None) == ("01_read_a_run", "05_fleet_15k")
    assert notebooks.chosen(["0"], None) == ("0",), "several begin so"
    assert notebooks.chosen([], None) == notebooks.names()


def test_an_executed_notebook_is_a_page_that_needs_nothing_else(
    executed: dict[str, Future[nbformat.NotebookNode]], tmp_path: Path
) -> None:
    done = executed["01_read_a_run"].result()
    page = notebooks.save(done, "01_read_a_run", tmp_path)[0].read_text()
    html5lib.HTMLParser(strict=True).parse(page)
    assert "<h1>1. Read a run</h1>" in page
    assert page.count("<img ") == pictures(done) == page.count('<img src="data:image/png;base64,')
    assert 'alt=""' not in page
    assert page.count("<table>") == page.count('class="scroll" role="region"') >= 3
    assert not re.search(r"<th(?!ead| scope=)", page)
    assert not re.search(r'(?:src|href)="(?!data:|#)', page), "something is fetched from elsewhere"


def test_a_notebook_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(Mistake, match=r"no notebook '99'; there are 01_read_a_run, "):
        notebooks.read("99")
