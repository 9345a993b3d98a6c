from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from meter_children import WINDOW, block, child, stop, two_pods

from lab.cluster import Process, ProcessSpec
from lab.cluster.local import LocalCluster
from lab.meter.cpu import TICK_S, Cpu, usage
from lab.record import BlockKind, Failed, Reading

BURNT_S = 0.3


class Lonely(Process):
    """A child outside any cgroup of its own, as on a cluster that gives none."""

    def __init__(self, running: subprocess.Popen[bytes]) -> None:
        self.spec, self.where, self.arm, self.cgroup = child("burn"), "nowhere", "a", None
        self.running = running

    def pids(self) -> tuple[int, ...]:
        return (self.running.pid,)

    def tell(self, line: str) -> None:
        raise NotImplementedError

    def wait(self, timeout_s: float) -> int:
        return self.running.wait(timeout_s)

    def read(self, name: str) -> bytes:
        raise NotImplementedError


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with two_pods(tmp_path_factory.mktemp("state")) as opened:
        yield opened


def value(readings: tuple[Reading, ...], subject: str, metric: str) -> float:
    (found,) = [r.value for r in readings if (r.subject, r.metric) == (subject, metric)]
    return found


def burn(cluster: LocalCluster, spec: ProcessSpec, meter: Cpu) -> tuple[Reading, ...]:
    process = cluster.run("a-client", "a", spec)
    meter.open(block(BlockKind.COST))
    meter.begin(WINDOW)
    process.tell("go")
    while b"burnt" not in process.read("stdout"):
        time.sleep(0.01)
    readings = meter.end(WINDOW)
    stop(process)
    return readings


def test_a_busy_process_pays_for_what_it_burns_and_no_more_than_the_wall(cluster: LocalCluster) -> None:
    readings = burn(cluster, child("burn", BURNT_S), Cpu(cluster))
    used = value(readings, "a-client/burn", "cpu_s")
    wall = value(readings, "all", "wall_s")
    assert BURNT_S <= used <= wall
    split = value(readings, "a-client/burn", "cpu_user_s") + value(readings, "a-client/burn", "cpu_system_s")
    assert split == pytest.approx(used, abs=1e-4)


def test_the_host_is_busier_than_the_lab_and_its_bills_add_up(cluster: LocalCluster) -> None:
    readings = burn(cluster, child("burn", BURNT_S), Cpu(cluster))
    host = {r.metric: r.value for r in readings if r.subject == "all"}
    assert BURNT_S - 0.1 <= host["busy_s"] <= host["wall_s"] * host["cores"]
    bills = sum(r.value for r in readings if r.metric == "cpu_s")  # with the remainder, they make the whole
    assert bills == pytest.approx(host["busy_s"], abs=1e-6)


def test_another_arms_process_is_billed_to_the_others(cluster: LocalCluster) -> None:
    meter = Cpu(cluster)
    process = cluster.run("a-client", "b", child("burn", BURNT_S))
    meter.open(block(BlockKind.COST))
    meter.begin(WINDOW)
    process.tell("go")
    while b"burnt" not in process.read("stdout"):
        time.sleep(0.01)
    readings = meter.end(WINDOW)
    stop(process)
    assert value(readings, "other arms", "cpu_s") >= BURNT_S
    assert not [r for r in readings if r.subject == "a-client/burn"]


def test_a_process_that_ends_within_the_window_is_still_read(cluster: LocalCluster) -> None:
    meter = Cpu(cluster)
    process = cluster.run("a-client", "a", child("burn", BURNT_S))
    meter.open(block(BlockKind.COST))
    meter.begin(WINDOW)
    process.tell("go")
    process.tell("stop")
    assert process.wait(10) == 0
    readings = meter.end(WINDOW)
    assert value(readings, "a-client/burn", "cpu_s") >= BURNT_S


def test_without_a_cgroup_the_ticks_of_its_pids_are_summed() -> None:
    script = "import time\nwhile time.process_time() < 0.2: pass\nprint(flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        used = usage(Lonely(running))
        running.kill()
    assert used.total_s == pytest.approx(used.user_s + used.system_s)
    assert used.total_s >= 0.2 - 2 * TICK_S


def test_a_process_that_is_gone_is_an_error_not_a_zero() -> None:
    with subprocess.Popen(["true"]) as running:
        running.wait()
    with pytest.raises(Failed, match="nowhere/burn"):
        usage(Lonely(running))


def test_a_window_that_never_began_is_an_error(cluster: LocalCluster) -> None:
    meter = Cpu(cluster)
    meter.open(block(BlockKind.COST))
    with pytest.raises(Failed, match="never began"):
        meter.end(WINDOW)


@pytest.mark.skipif(not Path("/sys/fs/cgroup").exists() or os.geteuid() != 0, reason="needs root and cgroups")
def test_the_cgroup_and_the_ticks_agree(cluster: LocalCluster) -> None:
    process = cluster.run("a-client", "a", child("burn", BURNT_S))
    process.tell("go")
    while b"burnt" not in process.read("stdout"):
        time.sleep(0.01)
    exact = usage(process).total_s
    user, system = Path(f"/proc/{process.pids()[0]}/stat").read_text().rpartition(")")[2].split()[11:13]
    assert exact == pytest.approx((int(user) + int(system)) * TICK_S, abs=6 * TICK_S)
    stop(process)
