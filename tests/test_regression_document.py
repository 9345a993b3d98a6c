"""What docs/regression.md shows is real: its workflow, files, commands and example."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import typer.main
import yaml
from regression_page import NEW, OLD, PAGE, blocks, write_versions

from lab import codec, datapath
from lab.cli import app
from lab.cluster import PodSpec
from lab.regression import Limits, Sides, judge
from lab.report import ruling as rulings
from lab.store import Store

ROOT = Path(__file__).resolve().parent.parent


def commands() -> Iterator[str]:
    """Every `mesh-lab gate …` of the page, with lines that go on joined; placeholders stay words."""
    for text in [*blocks(""), *blocks("yaml"), *re.findall(r"`(\./mesh-lab gate [^`]+)`", PAGE)]:
        for line in text.replace("\\\n", " ").splitlines():
            found = re.search(r"mesh-lab (gate .*?)( \|\| .*| +#.*|$)", line)
            if found:
                yield found[1]


def test_there_are_commands_to_test() -> None:
    assert len(list(commands())) >= 7


@pytest.mark.parametrize("command", list(commands()))
def test_every_command_has_options_that_exist(command: str) -> None:
    gate = typer.main.get_command(app).commands["gate"]  # type: ignore[attr-defined]
    words = shlex.split(command)[1:]
    with gate.make_context("gate", words) as context:
        assert context.params["max_slowdown"].endswith("%")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The page's datapaths in a folder, as it says."""
    write_versions(tmp_path)
    monkeypatch.setenv(datapath.FOLDERS, str(tmp_path))
    yield tmp_path
    for name in ("mesh", "mesh_new", "mesh_old"):
        sys.modules.pop(f"datapaths.{name}", None)


@pytest.mark.usefixtures("own")
def test_its_two_versions_differ_in_their_program_only() -> None:
    pod = PodSpec("x-server", 1, "x", "server")
    new, old = (datapath.find(name).shape(pod) for name in ("mesh_new", "mesh_old"))
    assert (new.processes[0].argv[0], old.processes[0].argv[0]) == (NEW, OLD)
    assert new.processes[0].argv[1:] == old.processes[0].argv[1:]
    assert new.init == old.init
    assert datapath.find("mesh_new").features == datapath.find("mesh_old").features == datapath.find("mesh").features


def test_its_workflow_is_whole() -> None:
    whole, step = (yaml.safe_load(block) for block in blocks("yaml"))
    job = whole["jobs"]["gate"]
    assert whole[True] == "pull_request"  # YAML 1.1 reads the key `on` as true
    assert job["runs-on"].startswith("ubuntu-")
    assert all(("uses" in s) != ("run" in s) for s in [*job["steps"], *step])
    made = " ".join(s.get("run", "") for s in job["steps"])
    assert NEW in made
    assert OLD in made
    assert [s["name"] for s in step] == ["Gate"]


def test_its_noxfile_and_its_python_are_python() -> None:
    for block in blocks("python"):
        compile(block, "docs/regression.md", "exec")


def test_its_python_example_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (example,) = (block for block in blocks("python") if "judge(" in block)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(compile(example, "docs/regression.md", "exec"), {})
    assert said.getvalue().startswith("slower 1\np50 slower ")


def test_its_example_is_what_the_published_run_says() -> None:
    store = Store.open(ROOT / "results" / "20261123-quick")
    ruling = judge([store], Sides("http_visibility", "sidecar", "pernode", 1000.0), Limits(0.10))
    kept = json.loads((ROOT / "docs" / "data" / "gate-example.json").read_text())
    assert kept == json.loads(codec.dumps(replace(ruling, runs=tuple(kept["runs"]))))
    assert rulings.table(ruling).markdown() in PAGE
    assert ruling.exit == 1
