"""One local cluster at a time: the file lock that says so, and who holds it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from lab.record import Mistake


class Lock:
    """Held until `release` by a file descriptor, so a dead holder holds nothing. `Mistake` when it is taken."""

    def __init__(self, state: Path, run: str) -> None:
        self.path = state / "lock"
        state.mkdir(parents=True, exist_ok=True)
        self._fd = self._take()
        os.truncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()} {run}\n".encode(), 0)

    def _take(self) -> int:
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                raise Mistake(_refusal(self.path)) from None
            with contextlib.suppress(FileNotFoundError):  # the last holder removed it between open and flock: again
                if os.fstat(fd).st_ino == self.path.stat().st_ino:
                    return fd
            os.close(fd)

    def release(self) -> None:
        """Let the next one in and leave no file. Idempotent."""
        if self._fd < 0:
            return
        self.path.unlink(missing_ok=True)
        os.close(self._fd)
        self._fd = -1
        with contextlib.suppress(OSError):  # somebody else keeps something there
            self.path.parent.rmdir()


def holder(state: Path) -> tuple[int, str] | None:
    """(pid, run) of the live process that holds the lock of this state folder; None when nobody does."""
    lock = state / "lock"
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return _written(lock)
    return None


def _written(lock: Path) -> tuple[int, str]:
    try:
        pid, _, run = lock.read_text().strip().partition(" ")
        return int(pid), run
    except (OSError, ValueError):  # between taking the lock and writing who took it
        return 0, "unknown"


def _refusal(lock: Path) -> str:
    pid, run = _written(lock)
    return (
        f"run {run!r} (pid {pid}) has a local cluster open and a machine holds one at a time; "
        f"wait for it, or stop it with: kill {pid}"
    )
