"""Asking the kernel: every feature that a datapath may need is tried, and what was tried leaves nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import doctor, kernel
from lab.record import Need

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="the kernel is asked by loading programs, which needs root")


def test_every_need_has_a_probe() -> None:
    assert set(doctor.PROBES) == set(Need)


@needs_root
@pytest.mark.parametrize("need", [need for need in Need if need.startswith("bpf_")])
def test_a_feature_is_there_or_the_answer_says_why_not_and_what_helps(need: Need) -> None:
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    (found,) = doctor.probe(frozenset({need}))
    assert found.detail
    assert found.mend
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before
    assert "mesh-lab-doctor-" not in Path("/proc/self/mountinfo").read_text()


@needs_root
@pytest.mark.parametrize(
    "try_it", [kernel.try_socket_messages, kernel.try_ring_buffer, kernel.try_socket_storage, kernel.try_user_probe]
)
def test_what_the_kernel_refuses_is_an_error_and_no_yes(
    try_it: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "_NR_BPF", {os.uname().machine: 100_000})  # a system call that is none
    with pytest.raises(OSError, match="not implemented"):
        try_it()
