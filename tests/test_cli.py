"""What a user types: mistakes are one clear line and exit code 2, and never a traceback."""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

import pytest

from lab import cli
from lab.cluster.local import LocalCluster

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="the local cluster needs root")


def typed(words: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["mesh-lab", *words.split()])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("run http_visibilty", "no scenario 'http_visibilty'; there are "),
        ("run http_visibility --datapaths none,ebfp", "no datapath 'ebfp'; there are cilium, ebpf, "),
        ("run http_visibility --datapaths ebpf", "add it to the list"),
        ("run http_visibility --datapaths none,none", "each once"),
        (
            "run http_visibility --profile quickly",
            "no profile 'quickly' in scenario http_visibility; there are smoke, quick",
        ),
        ("run http_visibility --rate 0", "above 0"),
        ("run http_visibility --rate -5", "above 0"),
        ("run http_visibility --rate nan", "above 0"),
        ("run http_visibility --duration 0", "above 0"),
        ("run http_visibility --connections 20001", "1 to 20000"),
        ("run http_visibility --connections 0", "1 to 20000"),
        ("run http_visibility --cluster kindd", "'kindd' is unknown; allowed: local, kind, kind:NAME, kube:CONTEXT"),
        ("run http_visibility --cpus all", "'all' is unknown; allowed: shared, per_node"),
        ("check nowhere", "nowhere"),
        ("report nowhere", "nowhere"),
        ("compare nowhere elsewhere", "nowhere"),
        ("run http_visibility --resume nowhere", "nowhere"),
    ],
)
def test_a_mistake_is_answered_in_one_line(
    words: str, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert typed(words, monkeypatch) == 2
    shown = capsys.readouterr()
    assert says in shown.err
    assert len(shown.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir()), "a refused command left something behind"


def test_an_unknown_command_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("mesure", monkeypatch) == 2
    assert "No such command" in capsys.readouterr().err


def test_without_root_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert typed(f"run http_visibility --out {tmp_path / 'run'}", monkeypatch) == 2
    assert "sudo" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@as_root
def test_a_missing_tool_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert typed(f"run http_visibility --out {tmp_path / 'run'}", monkeypatch) == 2
    assert "apt-get install" in capsys.readouterr().err


@as_root
def test_a_folder_that_exists_is_never_written_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    assert typed(f"run connections --profile smoke --out {tmp_path / 'run'}", monkeypatch) == 2
    assert "exists" in capsys.readouterr().err
    assert not list((tmp_path / "run").iterdir())


@as_root
def test_a_second_cluster_is_refused_and_the_first_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("MESH_LAB_STATE", str(tmp_path / "state"))
    with LocalCluster("first"):
        assert typed(f"run connections --profile smoke --out {tmp_path / 'run'}", monkeypatch) == 2
    assert "first" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["scenarios", "datapaths", "claims"])
def test_lists_are_for_programs_too(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(f"{command} --json", monkeypatch) == 0
    assert json.loads(capsys.readouterr().out)


def test_the_doctor_speaks_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code = typed("doctor --json", monkeypatch)
    health = json.loads(capsys.readouterr().out)
    assert code == (0 if health["ready"] else 1)
    assert {a["name"] for a in health["abilities"]} >= {"none", "ebpf", "http_visibility"}
    assert all(p["mend"] for p in health["probes"])


def test_the_site_is_built_and_served_on_loopback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "results").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ThreadingHTTPServer, "serve_forever", _read)
    assert typed("site --serve 0", monkeypatch) == 0
    shown = capsys.readouterr().out
    assert "site/index.html" in shown
    assert "http://127.0.0.1:" in shown
    assert "No run is published." in (tmp_path / "site" / "index.html").read_text()


def _read(server: ThreadingHTTPServer) -> None:
    """One page, asked for and answered, in place of for ever."""
    assert server.server_address[0] == "127.0.0.1"
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(lambda: urlopen(f"http://127.0.0.1:{server.server_port}/glossary.html").read())
        server.handle_request()
        assert b"<h1>Glossary</h1>" in answer.result()


def test_a_site_or_notebook_that_cannot_be_made_is_answered_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for words, says in (
        ("site --results nowhere", "no folder nowhere; name the one that holds the runs with --results"),
        ("notebook 99", "no notebook '99'; there are 01_read_a_run, "),
        ("notebook 01 --run nowhere", "no folder nowhere; runs are folders below results/"),
    ):
        assert typed(words, monkeypatch) == 2
        assert says in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir()), "a refused command left something behind"
