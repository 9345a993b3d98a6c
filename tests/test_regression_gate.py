"""The gate from its command line: what it refuses at once, and real runs of datapaths of one's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
from regression_shape import assert_junit

from lab import datapath, doctor
from lab.cluster.local import clean
from lab.record import Need
from lab.store import Store

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = ROOT / "results" / "20261123-ebpf-5000"
FASTER = ROOT / "results" / "20261123-ebpf-10000"
WAIT_S = 420

PLAIN = '''"""A wire with a name: what the slow one is held against."""

from lab.datapath import Datapath


class Plain(Datapath):
    """Nothing."""
'''
SLOW = '''"""A TCP relay in the server's pod that holds every request back for some milliseconds."""

import sys
from dataclasses import replace

from lab.cluster import Part, PodSpec, Port, Privilege, ProcessSpec
from lab.datapath import Datapath

RULES = """table ip slow {
  chain inbound {
    type nat hook prerouting priority -100; policy accept;
    iif "lo" return
    meta l4proto tcp redirect to :15006
  }
}
"""
RELAY = """
import asyncio

HELD_S = 0.008


async def passed(reader, writer, held_s):
    try:
        while data := await reader.read(65536):
            await asyncio.sleep(held_s)
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def relay(reader, writer):
    there, back = await asyncio.open_connection("127.0.0.1", 8080)
    await asyncio.gather(passed(reader, back, HELD_S), passed(there, writer, 0))


async def main():
    server = await asyncio.start_server(relay, "0.0.0.0", 15006, backlog=512)
    async with server:
        await server.serve_forever()


asyncio.run(main())
"""


class Slow(Datapath):
    """A relay that holds back."""

    connections = 2

    def shape(self, pod: PodSpec) -> PodSpec:
        if pod.app != "server":
            return pod
        redirect = ProcessSpec(
            "redirect", ("nft", "-f", "{dir}/rules.nft"), Part.DATAPATH, files={"rules.nft": RULES},
            user=0, privileges=frozenset({Privilege.NET_ADMIN}),
        )
        held = ProcessSpec(
            "relay", (sys.executable, "{dir}/relay.py"), Part.DATAPATH, files={"relay.py": RELAY},
            user=0, ready=Port(15006),
        )
        return replace(pod, init=(*pod.init, redirect), processes=(held, *pod.processes))
'''


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
def test_what_cannot_be_asked_is_answered_in_one_line(words: str, says: str, tmp_path: Path) -> None:
    done = gate(words, tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def able(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Where the datapaths are, and a state of one's own."""
    if os.geteuid():
        pytest.skip("the local cluster needs root")
    needs = doctor.ALWAYS | {Need.NAT_REDIRECT}
    lacking = [f"{p.need}: {p.detail}" for p in doctor.probe(needs) if not p.there]
    if lacking:
        pytest.skip("; ".join(lacking))
    own = tmp_path_factory.mktemp("own")
    (own / "plain.py").write_text(PLAIN)
    (own / "slow.py").write_text(SLOW)
    return {datapath.FOLDERS: str(own), "MESH_LAB_STATE": str(tmp_path_factory.mktemp("state"))}


@pytest.fixture(scope="module")
def measured(able: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One short run of the slow one beside the plain one; judged by the command that measured it."""
    folder = tmp_path_factory.mktemp("gate")
    words = "--candidate slow --against plain --max-slowdown 10% --max-pss 50% --max-cpu 50%"
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
    assert memory["word"] == "refused", "the plain one has no processes, so there is no ratio"


def test_both_sides_are_in_every_round_of_one_run(measured: Path) -> None:
    for trial in Store.open(measured / "run").plan.trials:
        assert {arm.name for arm in trial.arms} == {"none", "none_again", "plain", "slow"}
        for block in trial.blocks:
            rounds = {w.round for w in block.windows}
            assert all({w.arm for w in block.windows if w.round == r} >= {"none", "plain", "slow"} for r in rounds)


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
        "--candidate plain --against none",
        "--baseline run --datapath plain",
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
    """The slow one in place of the plain one of the same run, each by way of `none`."""
    done = gate("--baseline run --datapath plain --candidate slow --run run --max-slowdown 10% --json", measured, able)
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
