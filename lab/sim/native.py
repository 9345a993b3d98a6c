"""Python to machine code by Numba, kept in the lab's build folder and never beside the sources."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import config

from lab.compile import cache

F = TypeVar("F", bound=Callable[..., Any])


def _folder() -> Path:
    # Numba looks for changes only in the file of the function it is asked for, not in those that it calls
    digest = hashlib.sha256()
    for name in ("kernel.py", "native.py", "program.py", "times.py"):  # constants are compiled in, too
        digest.update(Path(__file__).with_name(name).read_bytes())
    return cache() / f"numba-{digest.hexdigest()[:16]}"


def native(function: F) -> F:
    """Compile at the first call, without the interpreter's lock, without fast-math: the same bits on every run."""
    settings: Any = config
    before, settings.CACHE_DIR = settings.CACHE_DIR, str(_folder())
    try:
        compiled: Any = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    finally:
        settings.CACHE_DIR = before
    return cast(F, compiled)
