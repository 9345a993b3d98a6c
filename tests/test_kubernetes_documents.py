"""What users and their CI are told of Kubernetes: every command line is one, every message is said somewhere."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_lines import blocks, lines, refused

from lab import datapath
from lab.cluster.kind import THREE_NODES, Settings
from lab.cluster.kubernetes import names

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "kubernetes.md").read_text()
WORKFLOW: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "kind.yml").read_text())
STEPS: list[dict[str, Any]] = WORKFLOW["jobs"]["smoke"]["steps"]
SCRIPT = "\n".join(step["run"] for step in STEPS if "run" in step)


def inline(page: str) -> str:
    """Whole commands in running text, one a line; a command that is only named has no options."""
    return "\n".join(words for words in re.findall(r"`([^`\n]+)`", page) if re.match(r"(\./)?mesh-lab \S+ \S", words))


@pytest.mark.parametrize("text", [blocks(PAGE), inline(PAGE), SCRIPT], ids=["blocks", "inline", "workflow"])
def test_every_command_line_of_the_lab_is_taken_by_its_parser(text: str) -> None:
    found = list(lines(text))
    assert found
    assert [why for words in found if (why := refused(words))] == []


def test_a_line_that_the_parser_would_refuse_is_found() -> None:
    assert "no command" in refused(["rnu", "x"])
    assert "--engine" in refused(["run", "http_visibility", "--engine", "2"])
    assert list(lines("A=1 sudo ./mesh-lab run x \\\n  --engines 2 # why\nkind load x")) == [
        ["run", "x", "--engines", "2"]
    ]


def test_scenarios_and_datapaths_of_the_page_are_there() -> None:
    for words in lines(blocks(PAGE)):
        for option, value in pairwise(words):
            if option in ("--datapaths", "--datapath"):
                assert set(value.split(",")) <= set(datapath.names())


def test_every_message_of_the_page_is_said_somewhere() -> None:
    rows = re.findall(r"^\| (`[^|]+) \|", PAGE.partition("## When it does not work")[2], re.MULTILINE)
    said = "".join(file.read_text() for top in ("lab", "datapaths") for file in (ROOT / top).rglob("*.py"))
    said = re.sub(r'"\s*\n?\s*f?"', "", said)  # literals over several lines
    theirs = {"violates PodSecurity", "exceeded quota"}  # words of Kubernetes itself
    phrases = [phrase for row in rows for phrase in re.findall(r"`([^`]+)`", row)]
    assert len(phrases) > 12
    assert [phrase for phrase in phrases if phrase not in said and phrase not in theirs] == []


def test_the_pages_variables_are_those_that_are_read() -> None:
    read = "".join(file.read_text() for top in ("lab", "datapaths") for file in (ROOT / top).rglob("*.py"))
    for variable in set(re.findall(r"MESH_LAB_[A-Z_]+", PAGE)):
        assert f'"{variable}"' in read, variable


def test_the_workflow_may_only_read_and_names_the_version_of_every_action() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert "permissions" not in WORKFLOW["jobs"]["smoke"]
    used = [step["uses"] for step in STEPS if "uses" in step]
    assert used
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+\.\d+\.\d+", each) for each in used)
    assert "secrets." not in (ROOT / ".github" / "workflows" / "kind.yml").read_text()


def test_the_workflow_builds_and_loads_the_image_that_runs_ask_for() -> None:
    image = WORKFLOW["env"]["IMAGE"]
    assert image == names.image()
    assert image in blocks(PAGE)
    order = [
        SCRIPT.index(word)
        for word in ("docker build", "docker save", "kind create", "kind load image-archive", "mesh-lab run")
    ]
    assert order == sorted(order)
    assert "docker-image" not in SCRIPT


def test_the_workflows_cluster_is_the_one_that_the_run_uses() -> None:
    config = re.search(r"--config (\S+)", SCRIPT)
    assert config
    assert ROOT / config[1] == THREE_NODES
    assert len(yaml.safe_load(THREE_NODES.read_text())["nodes"]) == 3
    env = {"MESH_LAB_KIND_NAME": WORKFLOW["env"]["MESH_LAB_KIND_NAME"], "MESH_LAB_KIND_BINARY": "true"}
    assert Settings.of(env).name == "mesh-lab"
    (uploaded,) = (step["with"]["path"] for step in STEPS if "upload-artifact" in step.get("uses", ""))
    assert f"--out {uploaded}" in SCRIPT
    tested = re.search(r"pytest (\S+)", SCRIPT)
    assert tested
    assert (ROOT / tested[1]).is_file()
