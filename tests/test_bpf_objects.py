"""Every object in datapaths/bpf/ is taken by this kernel's verifier, and is not near the end of its patience."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
from bpf_mesh import needs

import datapaths.bpf
from datapaths.bpf.calls import library
from datapaths.bpf.http import SOURCE
from datapaths.bpf.libbpf import Object
from datapaths.bpf.sampling import TRACED
from datapaths.ebpf import Ebpf
from lab import compile

pytestmark = needs(Ebpf.needs)

SOURCES = sorted(Path(datapaths.bpf.__file__).parent.glob("*.bpf.c"))
WAYS = [*((source, ()) for source in SOURCES), (SOURCE, TRACED)]
MOST_INSTRUCTIONS = 500_000
"""That the verifier may walk through for one program: half of what the kernel has patience for (1,000,000)."""
VERIFIED = slice(216, 220)  # verified_insns of the kernel's struct bpf_prog_info


def verified(program: int) -> int:
    """How many instructions the verifier went through."""
    info, size = ctypes.create_string_buffer(256), ctypes.c_uint32(256)
    assert library().bpf_obj_get_info_by_fd(program, info, ctypes.byref(size)) == 0
    return int.from_bytes(info.raw[VERIFIED], "little")


@pytest.mark.parametrize(("source", "flags"), WAYS, ids=[f"{path.name}{''.join(flags)}" for path, flags in WAYS])
def test_the_verifier_takes_it_and_has_patience_left(source: Path, flags: tuple[str, ...]) -> None:
    with Object(compile.bpf(source, "-mcpu=v3", *flags)) as opened:
        opened.load()
        walked = {name: verified(fd) for name, fd in opened.programs().items()}
    assert walked
    assert all(0 < number < MOST_INSTRUCTIONS for number in walked.values()), walked
