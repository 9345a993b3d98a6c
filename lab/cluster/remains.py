"""Removing what a killed run left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from lab.cluster.home import need_root, state_folder, sweep
from lab.cluster.lock import Lock, holder
from lab.record import Failed, Mistake

_PATIENCE_S = 15.0


def clean(force: bool = False, state: Path | None = None) -> tuple[str, ...]:
    """Remove processes, cgroups, folders, pins and mounts of a killed run; one line for each thing removed.

    Network namespaces need no cleaning: nothing but the run's own processes held them. `Mistake` while a live run holds
    the lock, unless `force`: that run is then ended first.
    """
    need_root()
    place = state_folder(state)
    ended = _end(place) if force else ()
    lock = Lock(place, "clean")
    try:
        return (*ended, *sweep(place))
    finally:
        lock.release()


def _end(place: Path) -> tuple[str, ...]:
    """Ask the holder of the lock to stop, then make it."""
    owner = holder(place)
    if owner is None:
        return ()
    pid, run = owner
    if pid in (0, os.getpid()):
        raise Mistake(f"run {run!r} (pid {pid}) cannot be ended from here; leave its cluster instead of cleaning it")
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sign)
        if _let_go(place, owner):
            return (f"run {run!r} (pid {pid}), ended with {sign.name}",)
    raise Failed(f"run {run!r} (pid {pid}) does not end; it may hang in the kernel: see /proc/{pid}/stack")


def _let_go(place: Path, owner: tuple[int, str]) -> bool:
    deadline = time.monotonic() + _PATIENCE_S
    while holder(place) == owner:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
