from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from meter_children import child

from lab.cluster import Process
from lab.meter.bpf import Held, Map, Program, held, program_name, run_time_statistics
from lab.meter.instrument import Instrument
from lab.meter.memory import bpf_memory
from lab.meter.tracer import Tracer
from lab.record import CannotRun, Failed


class Holder(Process):
    """A process that is known by its number only."""

    def __init__(self, pid: int) -> None:
        self.spec, self.where, self.arm, self.cgroup = child("keep"), f"place{pid}", "a", None
        self.pid = pid

    def pids(self) -> tuple[int, ...]:
        return (self.pid,)

    def tell(self, line: str) -> None:
        raise NotImplementedError

    def wait(self, timeout_s: float) -> int:
        raise NotImplementedError

    def read(self, name: str) -> bytes:
        raise NotImplementedError


@pytest.fixture(scope="module")
def tracer() -> Iterator[Tracer]:
    try:
        started = Tracer.start()
    except CannotRun as reason:
        pytest.skip(str(reason))
    with started:
        yield started


def connect(times: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        for _ in range(times):
            with socket.create_connection(server.getsockname()):
                server.accept()[0].close()


def test_maps_and_programs_are_found_with_their_memory_and_name(tracer: Tracer) -> None:
    found = held([tracer.instrument.pid])
    assert len(found.maps) == 2  # `openings` and `lost`
    assert all(m.memory_bytes > 0 for m in found.maps)
    (program,) = found.programs
    assert program.memory_bytes > 0
    assert program_name(program.id)


def test_a_program_is_counted_only_while_statistics_are_on(tracer: Tracer) -> None:
    def seen() -> Program:
        return held([tracer.instrument.pid]).programs[0]

    before = seen()
    connect(5)
    if seen().runs != before.runs:
        pytest.skip("somebody else has BPF statistics on")
    with run_time_statistics():
        connect(20)
        after = seen()
    assert after.runs - before.runs >= 20 * 2  # both ends became established, and passed through other states
    assert after.run_time_ns > before.run_time_ns


def test_what_two_processes_hold_is_charged_once(tracer: Tracer) -> None:
    pid = tracer.instrument.pid
    first, second = Holder(pid), Holder(pid)
    charged = bpf_memory([first, second])
    assert charged[first] == held([pid])
    assert charged[second] == Held((), ())


def test_a_charge_leaves_what_others_do_not_hold() -> None:
    mine = Held((Map(1, 100), Map(2, 200)), (Program(7, "tag", 4096, 0, 0),))
    assert mine.without({("map", 1), ("program", 7)}) == Held((Map(2, 200),), ())


def test_a_process_without_bpf_holds_none() -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            assert held([other.pid]) == Held((), ())
        finally:
            other.kill()


def test_a_holder_that_is_gone_is_an_error_not_a_zero() -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    with pytest.raises(Failed, match=r"place\d+/keep"):
        bpf_memory([Holder(gone.pid)])


def test_the_instrument_ends_with_its_input(tracer: Tracer) -> None:
    other = Tracer.start()
    pid = other.instrument.pid
    other.instrument.stop()
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(Failed, match="has ended"):
        other.openings()


def test_an_instrument_that_cannot_start_says_why() -> None:
    with pytest.raises(CannotRun, match=r"No module named lab\.meter\.nothing"):
        Instrument("lab.meter.nothing")
