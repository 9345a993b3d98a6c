"""The spinners take only what nobody wants, and say how much that was."""

from __future__ import annotations

import os
import time

import pytest

from lab.meter.awake import Awake, virtual


def spun(work_s: float) -> tuple[float, float]:
    """(soaked, wall × cores) around so much work of this process."""
    with Awake() as awake:
        start, before = time.monotonic(), awake.soaked_s()
        used = time.process_time()
        while time.process_time() - used < work_s:
            pass
        time.sleep(0.3)
        return awake.soaked_s() - before, (time.monotonic() - start) * len(os.sched_getaffinity(0))


def test_it_never_soaks_more_than_there_is() -> None:
    soaked, whole = spun(0.0)
    assert 0 < soaked <= whole


def test_work_is_not_soaked() -> None:
    soaked, whole = spun(0.3)
    assert soaked <= whole - 0.3 * 0.95


def test_unwanted_it_does_nothing() -> None:
    with Awake(wanted=False) as awake:
        assert awake.soaked_s() == 0.0


def test_it_ends_when_it_is_left() -> None:
    with Awake() as awake:
        instrument = awake._instrument
        assert instrument is not None
        os.kill(instrument.pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(instrument.pid, 0)


def test_a_virtual_machine_is_known_by_its_flag() -> None:
    assert virtual("processor: 0\nflags\t\t: fpu sse hypervisor lahf_lm\n")
    assert not virtual("processor: 0\nflags\t\t: fpu sse lahf_lm\n")
