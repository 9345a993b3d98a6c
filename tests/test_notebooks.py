"""Notebooks run from start to end on what is published, and hold nothing but text and code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

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


def test_a_notebook_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(Mistake, match=r"no notebook '99'; there are 01_read_a_run, "):
        notebooks.read("99")
