"""The whole lab on this machine, from the command to the verdicts; and what is left when it is broken off."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from root_namespace import snapshot

from lab import doctor
from lab.check import check
from lab.cluster.home import tag
from lab.cluster.local import clean
from lab.record import Need, Word
from lab.store import Store

ROOT = Path(__file__).resolve().parent.parent
WAIT_S = 240


@pytest.fixture(scope="module", autouse=True)
def _able() -> None:
    if os.geteuid():
        pytest.skip("the local cluster needs root")
    lacking = [a for a in doctor.examine().abilities if not a.runs and Need.INSTALLED_MESH not in a.lacks]
    unable = [f"{a.name} lacks {', '.join(a.lacks)}" for a in lacking]
    if unable:
        pytest.skip("; ".join(unable))


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    return {**os.environ, "MESH_LAB_STATE": str(tmp_path_factory.mktemp("state")), "PYTHONPATH": str(ROOT)}


def started(words: str, surroundings: Mapping[str, str], folder: Path) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    heard = ("env", "--default-signal=INT")  # also where the tests themselves were started to ignore Ctrl-C
    argv = [*heard, sys.executable, "-m", "lab", *words.split()]
    return subprocess.Popen(argv, env=surroundings, cwd=folder, text=True, stdout=pipe, stderr=pipe)


@pytest.fixture(scope="module")
def reproduced(surroundings: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reproduced")
    before = snapshot()
    process = started("reproduce --profile smoke --json --out run", surroundings, folder)
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, err
    assert {v["claim"] for v in json.loads(out)["verdicts"]} >= {"C1", "C2", "C5", "C6", "C7"}
    assert snapshot() == before, "the root namespace is not as it was"
    assert leftovers(surroundings) == []
    return folder / "run"


def leftovers(surroundings: Mapping[str, str]) -> list[str]:
    """What `clean` still finds to remove."""
    return list(clean(state=Path(surroundings["MESH_LAB_STATE"])))


def test_every_claim_with_a_scenario_has_a_verdict(reproduced: Path) -> None:
    from lab import claims  # noqa: PLC0415

    verdicts = {v.claim: v for v in claims.judge(Store.open(reproduced).summary())}
    for claim in ("C1", "C2", "C5", "C6", "C7"):
        assert verdicts[claim].word in set(Word) - {Word.NOT_MEASURABLE}
        assert verdicts[claim].because


def test_one_application_connection_is_one_two_or_three(reproduced: Path) -> None:
    counted = {
        (s.arm, s.observed_per_connection, s.traced_per_connection) for s in Store.open(reproduced).summary().sockets
    }
    assert counted == {("none", 1, 1), ("ebpf", 1, 1), ("pernode", 2, 2), ("sidecar", 3, 3)}


def test_every_observer_saw_every_request(reproduced: Path) -> None:
    accounting = Store.open(reproduced).summary().accounting
    assert {a.arm for a in accounting} == {"ebpf", "pernode", "sidecar"}
    assert [a for a in accounting if a.seen != a.sent or a.not_understood] == []


def test_the_folder_stands_a_strict_check(reproduced: Path) -> None:
    assert check(reproduced, strict=True) == ()
    assert (reproduced / "report" / "index.html").stat().st_size > 10_000


def test_one_changed_byte_of_a_raw_file_is_found(reproduced: Path) -> None:
    raw = next((reproduced / "trials").glob("*/ebpf.parquet"))
    whole = raw.read_bytes()
    changed = bytearray(whole)
    changed[len(changed) // 2] ^= 1
    raw.write_bytes(bytes(changed))
    try:
        assert check(reproduced, strict=False)
    finally:
        raw.write_bytes(whole)


@pytest.fixture
def under_way(surroundings: Mapping[str, str], tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run that has finished its first trial and is in its second."""
    words = "run connections proxies_15k --profile smoke --out run"
    process = started(words, surroundings, tmp_path)
    deadline = time.monotonic() + WAIT_S
    while not (tmp_path / "run" / "trials" / "connections-d1-hold-c1").exists() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    time.sleep(1.0)
    yield process
    process.kill()
    process.communicate()


def test_an_interrupted_run_cleans_up_keeps_its_trials_and_is_resumed(
    under_way: subprocess.Popen[str], surroundings: Mapping[str, str], tmp_path: Path
) -> None:
    under_way.send_signal(signal.SIGINT)
    _, err = under_way.communicate(timeout=60)
    assert under_way.returncode == 130, err
    assert "Traceback" not in err
    assert leftovers(surroundings) == []
    done = Store.open(tmp_path / "run").done()
    assert done
    again = started("run connections --resume run --json", surroundings, tmp_path)
    _, err = again.communicate(timeout=WAIT_S)
    assert again.returncode == 0, err
    assert Store.open(tmp_path / "run").done() > done
    assert check(tmp_path / "run", strict=True) == ()


def test_after_a_kill_and_clean_nothing_is_left(
    under_way: subprocess.Popen[str], surroundings: Mapping[str, str], tmp_path: Path
) -> None:
    assert alive(surroundings)
    before = "\n".join(line for line in snapshot().splitlines() if not line.endswith(PINS))
    under_way.kill()
    under_way.communicate()
    assert leftovers(surroundings), "a killed run leaves at least its cgroup folders"
    assert leftovers(surroundings) == []
    assert snapshot() == before
    deadline = time.monotonic() + 10  # instruments end when they read that their input has
    while alive(surroundings) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert alive(surroundings) == []


PINS = "- bpf mesh-lab rw,mode=700"  # file systems of agents, in the folders of the run


def alive(surroundings: Mapping[str, str]) -> list[str]:
    """Processes of the run's cgroups, and its instruments; those that only wait to be reaped are dead."""
    return [words for p in Path("/proc").glob("[0-9]*") if (words := _of_a_run(p, surroundings["MESH_LAB_STATE"]))]


def _of_a_run(process: Path, state: str) -> str:
    try:
        words = (process / "cmdline").read_text().replace("\0", " ")
        told = f"MESH_LAB_STATE={state}\0" in (process / "environ").read_text()
        ours = tag(Path(state)) in (process / "cgroup").read_text() or (told and "lab.meter." in words)
        return words if ours and "State:\tZ" not in (process / "status").read_text() else ""
    except (OSError, UnicodeDecodeError):
        return ""
