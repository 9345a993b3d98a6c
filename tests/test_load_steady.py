"""The engine as a process: by hand on this machine's loopback, and in a pod of the local cluster."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import numpy as np
import pytest
from load_faults import FaultServer, serving, well

from lab import workload
from lab.cluster import Layout, Part, Process, ProcessSpec
from lab.cluster.local import LocalCluster
from lab.load import steady
from lab.load.schedule import offsets
from lab.record import Arrivals, Block, BlockKind, Failed, Load, Outcome, Window

AHEAD_NS = 50_000_000

pytestmark = pytest.mark.skipif(shutil.which("clang") is None, reason="clang is missing (apt-get install clang)")


class Child(Process):
    """A plain child process in a folder of the test."""

    def __init__(self, spec: ProcessSpec, folder: Path) -> None:
        self.spec, self.where, self.arm, self.cgroup, self.folder = spec, "here", "a", None, folder
        for name, text in spec.files.items():
            (folder / name).write_text(text)
        argv = [word.replace("{dir}", str(folder)) for word in spec.argv]
        with (folder / "stdout").open("w") as out, (folder / "stderr").open("w") as err:
            self.child = subprocess.Popen(
                argv, env=os.environ | dict(spec.env), stdin=subprocess.PIPE, stdout=out, stderr=err, cwd=folder
            )

    def pids(self) -> tuple[int, ...]:
        return (self.child.pid,)

    def tell(self, line: str) -> None:
        stdin = cast(IO[bytes], self.child.stdin)
        stdin.write(line.encode() + b"\n")
        stdin.flush()

    def wait(self, timeout_s: float) -> int:
        return self.child.wait(timeout_s)

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


def block(rate: float = 200, connections: int = 5, arrivals: Arrivals = Arrivals.POISSON) -> Block:
    windows = (Window(0, 0, "a", 0.0, 0.2), Window(1, 0, "b", 0.25, 0.2), Window(2, 1, "a", 0.5, 0.2))
    return Block("slices", BlockKind.SLICES, Load(rate, connections, arrivals, timeout_s=2.0), windows)


@contextmanager
def running(server: FaultServer, asked: Block, folder: Path) -> Iterator[Child]:
    child = Child(steady.process("engine", "127.0.0.1", server.port, asked, "a", seed=9), folder)
    try:
        for _ in range(400):
            if child.read("stdout").startswith(b"ready\n") or child.child.poll() is not None:
                break
            time.sleep(0.02)
        yield child
    finally:
        child.child.kill()
        child.child.wait()
        cast(IO[bytes], child.child.stdin).close()


def test_an_engine_says_what_it_needs_to_run() -> None:
    spec = steady.process("engine", "10.79.0.1", 8080, block(), "a", seed=9)
    plan = json.loads(spec.files["plan.json"])
    assert spec.part is Part.LOAD
    assert not spec.privileges
    assert [w["index"] for w in plan["windows"]] == [0, 2]
    assert Path(plan["library"]).exists()
    assert spec.user == Path(steady.__file__).stat().st_uid
    assert steady.process("engine", "10.79.0.1", 8080, block(), "a", seed=9, user=7).user == 7


def test_an_engine_follows_only_the_windows_of_its_arm(tmp_path: Path) -> None:
    asked = block()
    with serving(well) as server, running(server, asked, tmp_path) as child:
        steady.start(child, time.monotonic_ns() + AHEAD_NS)
        report = steady.collect(child, 10)
        assert server.requests == report.on_wire
    scheduled, window = offsets(asked.only("a"), 200, Arrivals.POISSON, 9)
    assert report.requests.dtype == steady.REQUEST
    assert np.array_equal(report.requests["scheduled_ns"], scheduled)
    assert np.array_equal(report.requests["window"], window)
    assert report.outcomes()[Outcome.OK] == len(scheduled)
    assert (report.warmups, report.connects, report.reconnects) == (5, 5, 0)
    assert report.on_wire == 5 + len(scheduled)
    assert report.cpu_user_s + report.cpu_system_s > 0


def test_an_arm_without_windows_has_nothing_to_send(tmp_path: Path) -> None:
    asked = Block("idle", BlockKind.COST, Load(100.0, 2), (Window(0, 0, "other", 0.0, 1.0),))
    with serving(well) as server, running(server, asked, tmp_path) as child:
        steady.start(child, time.monotonic_ns())
        report = steady.collect(child, 10)
    assert len(report.requests) == 0
    assert report.on_wire == report.warmups == 2


def test_an_engine_that_meets_no_server_ends_with_one_line(tmp_path: Path) -> None:
    with serving(well) as server:
        pass
    child = Child(steady.process("engine", "127.0.0.1", 1, block(), "a", seed=9), tmp_path)
    assert server.stopped.is_set()
    with pytest.raises(Failed, match=r"engine in here ended with 1: warm-up of 5 .*refused"):
        steady.collect(child, 10)
    assert child.read("stderr").count(b"\n") == 1
    cast(IO[bytes], child.child.stdin).close()


def test_an_engine_that_is_told_something_else_ends_with_one_line(tmp_path: Path) -> None:
    with serving(well) as server, running(server, block(), tmp_path) as child:
        child.tell("go!")
        with pytest.raises(Failed, match="ended with 2: read 'go!'; the engine waits for the line: start <epoch_ns>"):
            steady.collect(child, 10)


def test_without_clang_here_the_engine_is_the_one_that_an_image_has(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = steady.process("engine", "127.0.0.1", 1, block(), "a", seed=9)
    monkeypatch.setenv("PATH", "/nowhere")
    assert steady.process("engine", "127.0.0.1", 1, block(), "a", seed=9) == compiled


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
@pytest.mark.skipif(shutil.which("nft") is None, reason="nft is missing (apt-get install nftables)")
@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is missing (apt-get install nginx)")
def test_a_pods_engine_reaches_the_service_and_every_request_is_answered(tmp_path: Path) -> None:
    asked = block(rate=1000, connections=20)
    pods = (workload.client_pod("a", 0), workload.server_pod("a", 1, [asked.load]))
    with LocalCluster("load", state=tmp_path) as cluster:
        mesh = cluster.deploy(Layout(pods, (workload.service("a"),)))
        service = mesh.service(workload.server_name("a"))
        spec = steady.process("engine", service.address, service.port, asked, "a", seed=9)
        engine = cluster.run(workload.client_name("a"), "a", spec)
        steady.start(engine, time.monotonic_ns() + AHEAD_NS)
        report = steady.collect(engine, 10)
    outcomes = report.outcomes()
    assert outcomes[Outcome.OK] + outcomes[Outcome.NOT_SENT] == len(report.requests)  # a busy machine may be late
    assert outcomes[Outcome.OK] > len(report.requests) / 2
    assert (report.connects, report.reconnects) == (20, 0)
    assert np.all(report.requests["status"][report.requests["outcome"] == 0] == 200)
