"""One process of a local cluster: started in its cgroup, namespace and skin; ended with all its children."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, cast

from lab.cluster import Process, ProcessSpec, cgroup
from lab.cluster.skin import environment, furnish, output, settled, skin, user
from lab.record import CannotRun, Failed, Mistake

_GRACE_S = 2.0
_LAST_LINES = 15

# The shell becomes the program by a chain of exec, so the pid never changes, and everything it ever forks stays in the
# cgroup. Open files: 65,536 carry 20,000 connections both ways; without CAP_SYS_RESOURCE, as many as the host allows.
_ENTER = """echo $$ > "$1/cgroup.procs" && shift || exit 125
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
exec "$@" """


class LocalProcess(Process):
    """A child of the lab. Its folder, with what it printed, lives until its deployment ends."""

    def __init__(self, spec: ProcessSpec, where: str, arm: str, group: Path, folder: Path) -> None:
        self.spec, self.where, self.arm, self.folder = spec, where, arm, folder
        self.cgroup: Path = group
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def code(self) -> int | None:
        """Its exit code (negative: the signal that ended it); None while it runs."""
        return None if self._child is None else self._child.poll()

    def start(self, namespace: str, cores: Sequence[int] | None) -> None:
        """Fork it. The calling thread must outlive it: the kernel kills it when that thread ends (pdeathsig)."""
        spec = settled(self.spec, self.folder)
        env = environment(spec, self.folder)
        program = _found(spec, env["PATH"])
        pinned = [] if cores is None else ["taskset", "-c", ",".join(map(str, cores))]
        dressed = ["nsenter", f"--net={namespace}", "--", *pinned, *skin(spec, program, env), program, *spec.argv[1:]]
        furnish(spec, self.folder)
        self.cgroup.mkdir(parents=True)
        with output(self.folder / "stdout", user(spec)) as out, output(self.folder / "stderr", user(spec)) as err:
            self._child = subprocess.Popen(
                ["/bin/sh", "-c", _ENTER, "sh", str(self.cgroup), *dressed],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                cwd=self.folder,
                env=env,
                bufsize=0,
                start_new_session=True,  # a Ctrl-C at the terminal is the lab's to handle, not theirs
            )

    def pids(self) -> tuple[int, ...]:
        return cgroup.members(self.cgroup)

    def tell(self, line: str) -> None:
        try:
            cast(IO[bytes], self._started().stdin).write(line.rstrip("\n").encode() + b"\n")
        except (BrokenPipeError, ValueError) as error:
            raise Failed(self.story("does not listen to its standard input any more")) from error

    def wait(self, timeout_s: float) -> int:
        try:
            return self._started().wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.terminate()
            self.end(time.monotonic() + _GRACE_S)
            raise Failed(self.story(f"was still running after {timeout_s:g} s and was stopped")) from None

    def read(self, name: str) -> bytes:
        path = (self.folder / name).resolve()
        if not path.is_relative_to(self.folder.resolve()):
            raise Mistake(f"{name!r} is not in the folder of {self.spec.name}; give a name relative to it")
        try:
            return path.read_bytes()
        except OSError as error:
            there = ", ".join(sorted(p.name for p in self.folder.glob("*"))) or "nothing (is it undeployed?)"
            raise Failed(f"{self.spec.name} in {self.where} has no file {name!r}; there is {there}") from error

    def terminate(self) -> None:
        """Ask it to stop, if it still runs."""
        if self._child is not None:
            self._child.terminate()

    def end(self, deadline: float) -> None:
        """Wait until a time of the monotonic clock, then kill it and its children; reap it. Idempotent."""
        if self._child is None:
            return
        while self._child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        self._child.kill()
        self._child.wait()
        cgroup.empty(self.cgroup)
        cast(IO[bytes], self._child.stdin).close()

    def story(self, what: str) -> str:
        """An error text: who, where, what happened, and its last words."""
        lines = [line for name in ("stdout", "stderr") for line in self._printed(name).splitlines()]
        last = "\n".join(f"  {line}" for line in lines[-_LAST_LINES:]) or "  (nothing)"
        return f"{self.spec.name} in {self.where} (arm {self.arm}) {what}; its last output:\n{last}"

    def _printed(self, name: str) -> str:
        try:
            return (self.folder / name).read_text(errors="replace")
        except OSError:
            return ""

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            raise Failed(f"{self.spec.name} in {self.where} was never started")
        return self._child


def _found(spec: ProcessSpec, path: str) -> str:
    program = shutil.which(spec.argv[0], path=path)
    if program is None:
        raise CannotRun(f"{spec.name}: there is no program {spec.argv[0]!r}; `mesh-lab doctor` says what to install")
    return program
