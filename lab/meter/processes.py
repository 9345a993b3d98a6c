"""Started processes as meters see them: who they are, which are alive, and in which network namespace."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lab.cluster import Part, Process
from lab.record import Failed


def subject(process: Process) -> str:
    """`place/process`, as readings name it."""
    return f"{process.where}/{process.spec.name}"


def part(process: Process) -> str:
    """The bill its readings go to: one of the parts of `lab.record.Reading`."""
    return "host" if process.spec.part is Part.INSTRUMENT else process.spec.part.value


def alive(processes: Iterable[Process]) -> tuple[Process, ...]:
    """Those that still have a pid: engines of earlier blocks have ended but are still on the cluster's list."""
    return tuple(p for p in processes if p.pids())


def of_arm(processes: Iterable[Process], arm: str) -> tuple[Process, ...]:
    """The living processes of one arm."""
    return alive(p for p in processes if p.arm == arm)


def on_path(processes: Iterable[Process]) -> tuple[Process, ...]:
    """Those that requests can go through: not those of a control plane, which are known by their own pod's place."""
    return tuple(p for p in processes if "/" not in p.where)


def namespace(process: Process) -> int:
    """The inode number of its network namespace; it is how the kernel names it in a tracepoint too."""
    pid = leader(process)
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    except OSError as error:
        raise gone(process, error) from error


def leader(process: Process) -> int:
    """One pid of it."""
    pids = process.pids()
    if not pids:
        raise Failed(f"{subject(process)} has ended; a process must outlive the window it is read in: see its stderr")
    return pids[0]


def gone(process: Process, error: OSError) -> Failed:
    """The error for a process that could not be read."""
    return Failed(
        f"{subject(process)} could not be read: {error}; it must live (and the lab be root) until its window is read"
    )
