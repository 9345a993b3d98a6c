"""The guest as a process of this machine: what it starts, says, and takes with it when it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.cluster import Part, ProcessSpec, place
from lab.cluster.kubernetes.manifests import told
from lab.compile import ROOT, cache

GUEST = (sys.executable, "-IS", str(ROOT / "lab/cluster/guest.py"))
Say = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="guest.") as path:  # short: a socket is in it
        yield Path(path)


@pytest.fixture
def guest(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    server = subprocess.Popen([*GUEST, "serve"], env={**os.environ, "MESH_LAB_GUEST": str(folder)})
    while not (folder / "guest.sock").exists():
        time.sleep(0.005)
    yield server
    server.terminate()
    server.wait(10)


@pytest.fixture
def say(guest: subprocess.Popen[bytes], folder: Path) -> Say:
    env = {**os.environ, "MESH_LAB_GUEST": str(folder)}

    def words(*given: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run([*GUEST, *given], env=env, input=stdin, capture_output=True, text=True, check=False)

    return words


def spec(script: str, **more: Any) -> str:
    made: dict[str, Any] = {
        "name": "x",
        "argv": ["sh", "-c", script],
        "files": {},
        "env": {},
        "ready": None,
        "ready_s": 5.0,
    }
    return json.dumps(made | more) + "\n"


def test_a_process_is_ready_is_told_ends_and_is_read(say: Say, folder: Path) -> None:
    script = "echo up; read word; echo $word in $PWD; cat note; exit 3"
    done = say("start", stdin=spec(script, files={"note": "{dir}/y"}, ready={"line": "up"}))
    said = json.loads(done.stdout)
    assert said["name"] == "x"
    assert json.loads(say("pids", "x").stdout) == [said["pid"]]
    say("tell", "x", "hello")
    assert say("wait", "x", "5").stdout == "3\n"
    assert say("read", "x", "stdout").stdout == f"up\nhello in {folder}/x\n{folder}/x/y"
    assert json.loads(say("pids", "x").stdout) == []


def test_a_second_one_of_a_name_has_a_number_and_a_folder_of_its_own(say: Say) -> None:
    names = [json.loads(say("start", stdin=spec("echo $0")).stdout)["name"] for _ in range(3)]
    assert names == ["x", "x-2", "x-3"]


@pytest.mark.parametrize(
    ("words", "stdin", "why"),
    [
        (
            ("start",),
            spec("echo bad; exit 4", ready={"line": "up"}),
            "exit code 4 before it was ready; its last output",
        ),
        (("start",), spec("sleep 9", ready={"port": 1}, ready_s=0.1), "was not ready after 0.1 s"),
        (("start",), spec("", argv=["no-such-program"]), "cannot be started"),
        (("start",), spec("", files={"../out": ""}), "outside its folder"),
        (("read", "x", "y"), "", "no file 'y'"),
        (("wait", "x", "1"), "", "no process 'x' in this container; there are none"),
        (("get", "1", "/"), "", "Connection refused"),
        (("dance",), "", "unknown word"),
    ],
)
def test_trouble_is_one_line_and_exit_code_1(say: Say, words: tuple[str, ...], stdin: str, why: str) -> None:
    done = say(*words, stdin=stdin)
    assert (done.returncode, done.stdout) == (1, "")
    assert why in done.stderr
    assert "Traceback" not in done.stderr


def test_who_does_not_end_in_time_is_stopped_with_its_children(say: Say) -> None:
    say("start", stdin=spec("sleep 60 & echo $!; wait", ready=None))
    time.sleep(0.2)
    child = int(say("read", "x", "stdout").stdout)
    assert child in json.loads(say("pids", "x").stdout)
    assert "was still running after 0.1 s and was stopped" in say("wait", "x", "0.1").stderr
    assert _gone(child)


def test_the_guest_takes_everybody_with_it(say: Say, guest: subprocess.Popen[bytes]) -> None:
    polite = json.loads(say("start", stdin=spec("trap 'echo bye; exit 0' TERM; sleep 60 & wait")).stdout)["pid"]
    other = json.loads(say("start", stdin=spec("exec sleep 60")).stdout)["pid"]
    guest.terminate()
    assert guest.wait(10) == 0
    assert _gone(polite)
    assert _gone(other)
    assert "no guest answers" in say("pids", "x").stderr


def test_its_clock_is_this_machines_and_answers_every_line(say: Say) -> None:
    before = time.monotonic_ns()
    found = [int(line) for line in say("clock", stdin="\n\n\n").stdout.split()]
    assert len(found) == 3
    assert before < found[0] <= found[1] <= found[2] < time.monotonic_ns()


def test_an_init_step_becomes_its_program(folder: Path) -> None:
    (folder / "spec.json").write_text(spec("cat rules; exit 5", files={"rules": "{dir}"}))
    env = {**os.environ, "MESH_LAB_GUEST": str(folder)}
    done = subprocess.run(
        [*GUEST, "once", str(folder / "spec.json")], env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (5, f"{folder}/x")


def test_paths_of_this_machine_are_carried_as_symbols_and_programs_as_names() -> None:
    made = place.portable(
        ProcessSpec(
            "x",
            (sys.executable, "-m", "lab.load.steady", "/bin/sh", f"{ROOT}2"),
            Part.LOAD,
            files={"plan.json": json.dumps({"library": f"{cache()}/engine-1.so"})},
            env={"PYTHONPATH": str(ROOT)},
        )
    )
    assert made.argv == ("{lab:python}", "-m", "lab.load.steady", "sh", f"{ROOT}2")
    assert made.env == {"PYTHONPATH": "{lab:project}"}
    assert made.files == {"plan.json": '{"library": "{lab:build}/engine-1.so"}'}


def test_no_path_of_this_machine_is_left_in_what_guests_are_told(say: Say) -> None:
    made = told(
        ProcessSpec("x", (sys.executable, "-c", "import sys; print(sys.prefix)"), Part.LOAD, env={"A": str(ROOT)})
    )
    assert str(ROOT) not in json.dumps(made)
    say("start", stdin=json.dumps({**made, "ready": None, "ready_s": 1}) + "\n")
    assert say("wait", "x", "5").stdout == "0\n", "symbols are paths again where it runs"


def _gone(pid: int) -> bool:
    """Ended: not there any more, or only its name is, for whoever must take note of it."""
    for _ in range(200):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False
