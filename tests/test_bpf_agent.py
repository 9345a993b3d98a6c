"""The agent as a process: what it hosts, what it shows to whom, how it follows its mesh file and its predecessor."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from bpf_mesh import needs

from datapaths.bpf.part import PARTS, find
from datapaths.bpf.server import Server
from datapaths.ebpf import Ebpf
from lab.cluster import cgroup
from lab.compile import ROOT
from lab.record import Mistake, Need


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mesh-lab-test-") as made:
        yield Path(made)


@pytest.fixture
def groups() -> Iterator[list[Path]]:
    """Two cgroups with nobody in them."""
    tree = cgroup.find(Path("/proc/self/mountinfo").read_text(), Path("/nowhere"))
    assert tree.path is not None
    top = tree.path / f"mesh-lab-test-{os.getpid()}"
    made = [top / name for name in ("a", "b")]
    for each in made:
        each.mkdir(parents=True)
    yield made
    cgroup.remove(top)


class Running:
    """An agent and its mesh file."""

    def __init__(self, folder: Path, told: dict[str, Any], *flags: str) -> None:
        self.mesh = folder / "mesh.json"
        self.tell(told)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        words = ["--parts", "http", "--mesh", str(self.mesh), "--port", str(self.port), *flags]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "datapaths.bpf.agent", *words],
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()

    def tell(self, told: dict[str, Any]) -> None:
        self.mesh.write_text(json.dumps(told))

    def page(self, path: str, accept: str = "*/*") -> tuple[str, str]:
        asked = Request(f"http://127.0.0.1:{self.port}{path}", headers={"Accept": accept})
        with urlopen(asked, timeout=10) as answer:
            return answer.headers["Content-Type"], answer.read().decode()

    def count(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = json.loads(self.page("/count")[1])
        return found

    def reload(self, counter: str) -> None:
        """SIGHUP, and wait until it has been dealt with."""
        before = self.count()["agent"][counter]
        self.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 10
        while self.count()["agent"][counter] == before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert self.count()["agent"][counter] == before + 1

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Its exit code and what it said to standard error."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=10)
        return self.process.returncode, errors


@contextmanager
def running(folder: Path, told: dict[str, Any], *flags: str) -> Iterator[Running]:
    agent = Running(folder, told, *flags)
    try:
        yield agent
    finally:
        agent.process.kill()
        agent.process.communicate()


def links(pins: Path) -> set[str]:
    return {p.name for p in (pins / "http").iterdir() if re.fullmatch(r"\w+@\d+", p.name)}


def unmount(pins: Path) -> None:
    subprocess.run(["umount", str(pins)], check=True)


@needs(Ebpf.needs)
def test_it_is_ready_answers_and_ends_when_asked(folder: Path, groups: list[Path]) -> None:
    with running(folder, {"cgroups": [str(groups[0])]}) as agent:
        assert agent.said == "ready\n"
        assert agent.page("/ready") == ("text/plain", "ready\n")
        assert agent.count()["http"]["requests"] == 0
        assert agent.end() == (0, "")


@needs(Ebpf.needs)
def test_it_follows_its_mesh_file_when_told_to(folder: Path, groups: list[Path]) -> None:
    pins = folder / "pins"
    with running(folder, {"cgroups": [str(groups[0])], "identities": {"10.0.0.1": "a"}}, "--pins", str(pins)) as agent:
        before = links(pins)
        agent.tell({"cgroups": [str(groups[1])], "identities": {"10.0.0.1": "b", "10.0.0.2": "a"}})
        agent.reload("reloads")
        after = links(pins)
        inodes = [{str(g.stat().st_ino)} for g in groups]
        assert [{link.partition("@")[2] for link in found} for found in (before, after)] == inodes
        agent.end()
        unmount(pins)


@needs(Ebpf.needs)
@pytest.mark.parametrize("text", ["{", '{"cgroups": ["/nowhere"]}'], ids=["no JSON", "no such cgroup"])
def test_a_mesh_that_cannot_be_followed_is_said_counted_and_survived(
    text: str, folder: Path, groups: list[Path]
) -> None:
    with running(folder, {"cgroups": [str(groups[0])]}) as agent:
        agent.mesh.write_text(text)
        agent.reload("failed_reloads")
        agent.tell({"cgroups": [str(groups[0])]})
        agent.reload("reloads")
        code, errors = agent.end()
        assert code == 0
        assert "could not be followed" in errors
        assert errors.count("\n") == 1


@needs(Ebpf.needs)
def test_pins_stay_when_it_is_asked_to_end_unless_it_is_told_to_remove_them(folder: Path, groups: list[Path]) -> None:
    pins, told = folder / "pins", {"cgroups": [str(groups[0])]}
    with running(folder, told, "--pins", str(pins)) as agent:
        agent.end()
    assert len(links(pins)) == 3
    with running(folder, told, "--pins", str(pins), "--remove") as agent:
        agent.end()
    assert not pins.exists()


@needs(Ebpf.needs)
def test_pins_that_do_not_fit_are_refused_or_replaced_as_asked(folder: Path, groups: list[Path]) -> None:
    pins, told = folder / "pins", {"cgroups": [str(groups[0])]}
    with running(folder, told, "--pins", str(pins)) as agent:
        agent.end()
    before = links(pins)
    with running(folder, told | {"routes": ["/a/*"]}, "--pins", str(pins)) as agent:
        assert agent.said == ""
        code, errors = agent.end()
        assert code == 1
        assert "start with fresh maps" in errors
    with running(folder, told | {"routes": ["/a/*"]}, "--pins", str(pins), "--fresh") as agent:
        assert agent.said == "ready\n"
        assert links(pins) == before
        agent.end()
    unmount(pins)


@needs(Ebpf.needs)
def test_a_restarted_agent_holds_every_program_and_map_again(folder: Path, groups: list[Path]) -> None:
    pins, told, held = folder / "pins", {"cgroups": [str(groups[0])]}, []
    for _ in range(2):
        with running(folder, told, "--pins", str(pins)) as agent:
            infos = [f.read_text() for f in Path(f"/proc/{agent.process.pid}/fdinfo").iterdir()]
            held.append(sorted(t for i in infos for t in re.findall(r"^(?:map_type|prog_type|link_type):.*", i, re.M)))
            agent.end(signal.SIGKILL)
    assert held[0] == held[1]
    assert sum("prog_type" in kind for kind in held[0]) >= 3
    unmount(pins)


@needs(Ebpf.needs | {Need.NETWORK_NAMESPACES})
def test_it_listens_on_loopback_and_on_the_address_it_is_given_and_nowhere_else(
    folder: Path, groups: list[Path]
) -> None:
    with running(folder, {"cgroups": [str(groups[0])]}, "--listen", "127.0.0.2") as agent:
        own = {str(f.readlink()) for f in Path(f"/proc/{agent.process.pid}/fd").iterdir()}
        tables = [Path(f"/proc/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
        lines = [line.split() for table in tables for line in table]
        bound = {line[1].split(":")[0] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in own}
        assert bound == {"0100007F", "0200007F"}


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "*", "", "224.0.0.1", "localhost"])
def test_all_addresses_and_what_is_no_address_are_refused(address: str) -> None:
    with pytest.raises(Mistake, match="one address of the node"):
        Server(0, {}, address)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(Mistake, match=r"cannot listen on 192\.0\.2\.1"):
        Server(0, {}, "192.0.2.1")


@pytest.mark.parametrize("name", PARTS)
def test_a_part_is_found_by_its_name(name: str) -> None:
    module = PARTS[name].partition(":")[0].rpartition(".")[2]
    if not (ROOT / "datapaths" / "bpf" / f"{module}.py").exists():
        pytest.skip(f"{module}.py is not there yet")
    assert callable(find(name))


def test_a_part_that_is_none_is_answered_with_those_there_are() -> None:
    with pytest.raises(Mistake, match="no part 'htpp'; there are http, "):
        find("htpp")
