from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile

import pytest
from meter_children import WINDOW, block, child, stop, two_pods

from lab.cluster.local import LocalCluster
from lab.meter.memory import Memory, Resident, resident, rollup
from lab.record import BlockKind, Failed

SIZE = 32 << 20
SMAPS = """\
55d0-7ffe ---p 00000000 00:00 0                          [rollup]
Rss:                1000 kB
Pss:                 600 kB
Pss_Dirty:           300 kB
Shared_Clean:        400 kB
Private_Clean:       100 kB
Private_Dirty:       250 kB
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with two_pods(tmp_path_factory.mktemp("state")) as opened:
        yield opened


def test_a_rollup_is_read_in_bytes() -> None:
    assert rollup(SMAPS) == Resident(1000 << 10, 600 << 10, 350 << 10)


def test_what_a_process_keeps_for_itself_is_private(cluster: LocalCluster) -> None:
    small, large = (cluster.run("a-server", "a", child("keep", size)) for size in (4096, SIZE))
    lean, fat = resident(small), resident(large)
    stop(small, large)
    assert 0 < lean.private_bytes <= lean.pss_bytes <= lean.rss_bytes
    assert fat.private_bytes - lean.private_bytes == pytest.approx(SIZE, rel=0.1)


def test_two_processes_share_what_both_map(cluster: LocalCluster) -> None:
    with NamedTemporaryFile() as text:
        text.write(os.urandom(SIZE))
        text.flush()
        os.fchmod(text.fileno(), 0o644)  # its readers are other users
        first = cluster.run("a-server", "a", child("keep", 4096, text.name))
        alone = resident(first)
        second = cluster.run("a-server", "a", child("keep", 4096, text.name))
        together = resident(first)
        stop(first, second)
    assert alone.pss_bytes - together.pss_bytes == pytest.approx(SIZE / 2, rel=0.2)
    assert together.rss_bytes == pytest.approx(alone.rss_bytes, rel=0.02)


def test_every_process_of_the_arm_and_no_other_is_read(cluster: LocalCluster) -> None:
    mine = cluster.run("a-server", "a", child("keep", 4096))
    other = cluster.run("a-server", "b", child("keep", 4096))
    meter = Memory(cluster)
    meter.open(block(BlockKind.COST))
    readings = meter.end(WINDOW)
    stop(mine, other)
    assert {(r.arm, r.subject, r.metric) for r in readings} == {
        ("a", "a-server/keep", f"{kind}_bytes") for kind in ("rss", "pss", "private")
    }


def test_memory_of_a_process_that_ended_is_an_error(cluster: LocalCluster) -> None:
    process = cluster.run("a-server", "a", child("keep", 4096))
    stop(process)
    with pytest.raises(Failed, match="has ended"):
        resident(process)


def test_the_figures_are_those_of_proc(cluster: LocalCluster) -> None:
    process = cluster.run("a-server", "a", child("keep", SIZE))
    lines = Path(f"/proc/{process.pids()[0]}/smaps").read_text().splitlines()
    total = sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Rss:"))
    assert resident(process).rss_bytes == pytest.approx(total, rel=0.01)
    stop(process)
