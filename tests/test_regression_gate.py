"""The gate from its command line: what it refuses at once, and real runs of datapaths of one's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
from regression_page import write_versions
from regression_shape import assert_junit

from lab import cli, datapath, doctor
from lab.cluster.local import clean
from lab.record import Need
from lab.store import Store

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = ROOT / "results" / "20261123-ebpf-5000"
FASTER = ROOT / "results" / "20261123-ebpf-10000"
WAIT_S = 420

PYTHON = Path("/usr/bin/python3")  # the relays' user cannot enter the home of the tests' own
RELAY = """#!{python}
import argparse
import asyncio

HELD_S = {held_s}


async def passed(reader, writer, held_s):
    try:
        while data := await reader.read(65536):
            if held_s:
                await asyncio.sleep(held_s)
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def main(port, host, upstream):
    async def relay(reader, writer):
        there, back = await asyncio.open_connection(host, upstream)
        await asyncio.gather(passed(reader, back, HELD_S), passed(there, writer, 0))

    async with await asyncio.start_server(relay, "0.0.0.0", port, backlog=512) as server:
        await server.serve_forever()


asked = argparse.ArgumentParser()
asked.add_argument("--listen", type=int)
asked.add_argument("--forward")
given = asked.parse_args()
host, _, upstream = given.forward.partition(":")
asyncio.run(main(given.listen, host, int(upstream)))
"""


def gate(words: str, folder: Path, surroundings: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lab", "gate", *words.split()],
        env={**os.environ, "PYTHONPATH": str(ROOT), **(surroundings or {})},
        cwd=folder,
        text=True,
        capture_output=True,
        timeout=WAIT_S,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--candidate ebpf --against ebpf --max-slowdown 3", "write 3% or 300%"),
        ("--candidate ebpf --against ebpf --max-slowdown -3%", "give it as 3% or as 0.03"),
        ("--candidate ebpf --against ebpf --max-slowdown 0%", "out of range"),
        ("--candidate ebpf --against ebpf --max-slowdown 3% --max-p99 much", "--max-p99 'much' is no share"),
        ("--candidate ebpf --against ebpf --max-slowdown 3% --metrics p50,p51", "give some of p50,mean,p99"),
        ("--candidate ebpf --against ebpf --max-slowdown 3% --metrics p50,p50", "each once"),
        ("--candidate ebfp --against ebpf --max-slowdown 3%", "no datapath 'ebfp'; there are "),
        ("--candidate ebpf --against none --max-slowdown 3%", "features of ebpf and none differ"),
        ("--candidate ebpf --max-slowdown 3%", "--candidate NEW --against OLD, or --baseline RUN"),
        ("--max-slowdown 3%", "--candidate NEW --against OLD, or --baseline RUN"),
        ("--candidate ebpf --against ebpf --max-slowdown 3% --looks 0", "it must be 1 or more"),
        ("--candidate ebpf --against ebpf --max-slowdown 3% --deployments 0", "it must be 1 or more"),
        ("--candidate ebpf --against ebpf --max-slowdown 3% --scenario connections", "compares nothing in slices"),
        ("--candidate ebpf --against ebpf --max-slowdown 3% --scenario nothing", "no scenario 'nothing'"),
        ("--candidate ebpf --against ebpf --max-slowdown 3% --profile smokey", "no profile 'smokey'"),
        ("--candidate ebpf --against ebpf --max-slowdown 3% --rate 0", "above 0"),
        ("--baseline nowhere --max-slowdown 3%", "nowhere"),
        (f"--baseline {PUBLISHED} --max-slowdown 3% --datapath sidecar", "is not in"),
        (f"--baseline {PUBLISHED} --max-slowdown 3% --against ebpf", "by --datapath ebpf"),
        (f"--baseline {PUBLISHED} --max-slowdown 3% --rounds 3", "the stored run decides it"),
        (f"--baseline {PUBLISHED} --max-slowdown 3% --run {FASTER}", "loads slices-10000"),
        (f"--candidate ebpf --against sidecar --max-slowdown 3% --run {PUBLISHED}", "has no arm 'sidecar'; it"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_answered_in_one_line(
    words: str, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["mesh-lab", "gate", *words.split()])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    shown = capsys.readouterr()
    assert ended.value.code == 2
    assert says in shown.err
    assert len(shown.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir()), "a refused command left something behind"


def test_what_breaks_on_the_way_never_ends_as_a_slowdown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Store, "open", broken)
    monkeypatch.setattr(sys, "argv", f"mesh-lab gate --baseline {PUBLISHED} --max-slowdown 3%".split())
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "says nothing of any datapath" in capsys.readouterr().err


@pytest.fixture(scope="module")
def able(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """The page's two versions of a datapath, one of which holds every request back; and a state of one's own."""
    if os.geteuid():
        pytest.skip("the local cluster needs root")
    lacking = [f"{p.need}: {p.detail}" for p in doctor.probe(doctor.ALWAYS | {Need.NAT_REDIRECT}) if not p.there]
    if lacking or not PYTHON.exists():
        pytest.skip("; ".join(lacking) or f"no {PYTHON}")
    with tempfile.TemporaryDirectory() as programs:  # pytest's own folders are closed to other users
        Path(programs).chmod(0o755)
        for name, held_s in (("quick", 0), ("slow", 0.008)):
            (Path(programs) / name).write_text(RELAY.format(python=PYTHON, held_s=held_s))
            (Path(programs) / name).chmod(0o755)
        own = tmp_path_factory.mktemp("own")
        write_versions(own, new=f"{programs}/slow", old=f"{programs}/quick")
        yield {datapath.FOLDERS: str(own), "MESH_LAB_STATE": str(tmp_path_factory.mktemp("state"))}


@pytest.fixture(scope="module")
def measured(able: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One short run of the slow version beside the quick one; judged by the command that measured it."""
    folder = tmp_path_factory.mktemp("gate")
    words = "--candidate mesh_new --against mesh_old --max-slowdown 10% --max-pss 50% --max-cpu 50%"
    amount = (
        "--rate 100 --connections 4 --deployments 3 --rounds 8 --out run --json --junit gate.xml --markdown gate.md"
    )
    done = gate(f"{words} {amount}", folder, able)
    assert done.returncode in {1, 2}, done.stderr
    assert "Traceback" not in done.stderr
    (folder / "said.json").write_text(done.stdout)
    assert list(clean(state=Path(able["MESH_LAB_STATE"]))) == []
    return folder


def test_a_real_slowdown_never_passes(measured: Path) -> None:
    said = json.loads((measured / "said.json").read_text())
    assert said["exit"] in {1, 2}
    latency = {j["metric"]: j for j in said["judgements"] if j["metric"] in {"p50", "mean"}}
    assert set(latency) == {"p50", "mean"}
    for j in latency.values():
        assert j["word"] in {"slower", "refused", "undecided"}
        assert j["because"]
        if j["word"] == "slower" and j["ratio"]:
            assert j["ratio"]["low"] > 1.1
    memory = next(j for j in said["judgements"] if j["metric"] == "pss")
    assert memory["word"] != "worse", "both versions are the same program but for a sleep"


def test_both_sides_are_in_every_round_of_one_run(measured: Path) -> None:
    for trial in Store.open(measured / "run").plan.trials:
        assert {arm.name for arm in trial.arms} == {"none", "none_again", "mesh_old", "mesh_new"}
        for block in trial.blocks:
            rounds = {w.round for w in block.windows}
            assert all(
                {w.arm for w in block.windows if w.round == r} >= {"none", "mesh_old", "mesh_new"} for r in rounds
            )


def test_every_output_says_the_same(measured: Path) -> None:
    said = json.loads((measured / "said.json").read_text())
    suites = Xml.fromstring((measured / "gate.xml").read_bytes())
    assert_junit(suites)
    assert int(suites[0].get("tests", "0")) == len(said["judgements"])
    page = (measured / "gate.md").read_text()
    assert f": {said['word']}\n" in page
    assert page.count("\n| slices-100 ") == 3


@pytest.mark.parametrize(
    "words",
    [
        "--candidate none --against none",
        "--baseline run --datapath mesh_old",
    ],
)  # fmt: skip
def test_equals_pass_or_are_refused_in_words(words: str, measured: Path, able: Mapping[str, str]) -> None:
    """So short a run on a busy machine may well be refused; then it says why and what to do."""
    before = sorted(measured.rglob("*"))
    done = gate(f"{words} --run run --max-slowdown 300% --json", measured, able)
    assert done.returncode in {0, 2}, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert said["word"] in {"passed", "refused", "undecided"}
    if done.returncode == 2:
        assert len(done.stderr.strip().splitlines()) == 1
        assert said["because"]
        assert said["advice"]
    assert sorted(measured.rglob("*")) == before, "judging a stored run left something behind"


def test_a_slow_run_never_passes_against_a_stored_one(measured: Path, able: Mapping[str, str]) -> None:
    """The slow version in place of the quick one of the same run, each by way of `none`."""
    stored = "--baseline run --datapath mesh_old --candidate mesh_new --run run"
    done = gate(f"{stored} --max-slowdown 10% --json", measured, able)
    assert done.returncode in {1, 2}, done.stderr
    assert json.loads(done.stdout)["word"] != "passed"


def test_two_looks_make_two_runs_that_are_judged_together(able: Mapping[str, str], tmp_path: Path) -> None:
    """Two deployments never suffice alone: a second look always comes, and four then have a spread."""
    words = "--candidate none --against none --max-slowdown 300% --looks 2 --deployments 2 --rounds 4 --rate 100"
    done = gate(f"{words} --connections 4 --out twice --json", tmp_path, able)
    assert done.returncode in {0, 2}, done.stderr
    said = json.loads(done.stdout)
    assert said["looks"] == 2
    assert said["confidence"] == pytest.approx(0.975)
    assert said["runs"] == ["twice", "twice-2"]
    assert {Store.open(tmp_path / run).plan.seed for run in said["runs"]} == {1, 2}
