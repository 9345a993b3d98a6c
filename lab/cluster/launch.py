"""One process of a local cluster: how it is started in its cgroup, namespace and skin, and what is kept of it."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from lab.cluster import Privilege, Process, ProcessSpec, cgroup
from lab.record import CannotRun, Failed, Mistake

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PASSED_ON = ("PYTHONPATH", "MESH_LAB_BUILD")  # so that `python -m lab…` finds what the lab itself found
_LAST_LINES = 15

# The shell becomes the program by a chain of exec, so the pid never changes and everything it ever forks stays in the
# cgroup. Open files: 65,536 carry 20,000 connections both ways; without CAP_SYS_RESOURCE, as many as the host allows.
_ENTER = """echo $$ > "$1/cgroup.procs" && shift || exit 125
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
exec "$@" """

# What root may do without a privilege: bind low ports and give itself away, as a server's master process does.
_PLAIN_ROOT = ("net_bind_service", "setuid", "setgid", "chown", "kill", "dac_override")


class LocalProcess(Process):
    """A child of this process. Its folder, with what it printed, lives until its deployment ends."""

    def __init__(self, spec: ProcessSpec, where: str, arm: str, group: Path, folder: Path) -> None:
        self.spec, self.where, self.arm, self.folder = spec, where, arm, folder
        self.cgroup: Path = group
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def code(self) -> int | None:
        """Its exit code (negative: the signal that ended it); None while it runs."""
        return None if self._child is None else self._child.poll()

    def start(self, namespace: str, cores: Iterable[int] | None) -> None:
        """Fork it. The calling thread must outlive it: the kernel kills it when that thread ends (pdeathsig)."""
        uid, spec = user(self.spec), _placed(self.spec, self.folder)
        env = _environment(spec, self.folder)
        program = shutil.which(spec.argv[0], path=env["PATH"])
        if program is None:
            raise CannotRun(
                f"{self.spec.name}: program {spec.argv[0]!r} is not on this machine; install it or see `mesh-lab doctor`"
            )
        self.cgroup.mkdir(parents=True, exist_ok=True)
        _write_files(spec, self.folder, uid)
        inside = ["nsenter", f"--net={namespace}", "--", *_pinned(cores), *_skin(spec, uid, program, env)]
        with _output(self.folder / "stdout", uid) as out, _output(self.folder / "stderr", uid) as err:
            self._child = subprocess.Popen(
                ["/bin/sh", "-c", _ENTER, "sh", str(self.cgroup), *inside, program, *spec.argv[1:]],
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
        child = self._started()
        try:
            assert child.stdin is not None  # noqa: S101 - it was started with a pipe
            child.stdin.write(line.rstrip("\n").encode() + b"\n")
        except (BrokenPipeError, ValueError) as error:
            raise Failed(self.story("does not listen to its standard input any more")) from error

    def wait(self, timeout_s: float) -> int:
        try:
            return self._started().wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.end()
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

    def ask_to_stop(self) -> None:
        """SIGTERM, if it still runs."""
        if self._child is not None:
            self._child.terminate()

    def end(self, patience_s: float = 2.0) -> None:
        """Stop it and its children: politely, then by force; reap it and close its standard input. Idempotent."""
        if self._child is None:
            return
        self._child.terminate()
        deadline = time.monotonic() + patience_s
        while self._child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        for pid in self.pids():
            if pid != self._child.pid:
                _kill(pid)
        self._child.kill()  # until it is reaped the pid is its own; Popen knows when it is
        self._child.wait()
        if self._child.stdin is not None:
            self._child.stdin.close()

    def story(self, what: str) -> str:
        """An error text: who, where, what happened, and its last words."""
        lines = [line for name in ("stdout", "stderr") for line in self._printed(name).splitlines()[-_LAST_LINES:]]
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


def user(spec: ProcessSpec) -> int:
    """The uid it runs as: programs that load BPF are root (see `Privilege`), whatever else is asked."""
    return 0 if Privilege.BPF in spec.privileges else spec.user


def _placed(spec: ProcessSpec, folder: Path) -> ProcessSpec:
    def put(text: str) -> str:
        return text.replace("{dir}", str(folder))

    files = {name: put(text) for name, text in spec.files.items()}
    return replace(
        spec, argv=tuple(put(a) for a in spec.argv), files=files, env={k: put(v) for k, v in spec.env.items()}
    )


def _environment(spec: ProcessSpec, folder: Path) -> dict[str, str]:
    """Little, and the same wherever the lab was started."""
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {"PATH": _PATH, "HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8"} | passed | dict(spec.env)


def _write_files(spec: ProcessSpec, folder: Path, uid: int) -> None:
    folder.mkdir(parents=True)
    for name, text in spec.files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise Mistake(f"{spec.name}: file {name!r} is outside its folder; give a name relative to it")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, uid, uid)


def _output(path: Path, uid: int):  # type: ignore[no-untyped-def]
    file = path.open("ab")
    os.fchown(file.fileno(), uid, uid)  # programs reopen /dev/stderr, which asks for permission anew
    return file


def _pinned(cores: Iterable[int] | None) -> list[str]:
    return [] if cores is None else ["taskset", "-c", ",".join(map(str, cores))]


def _skin(spec: ProcessSpec, uid: int, program: str, env: Mapping[str, str]) -> list[str]:
    """setpriv(1): uid and gid, no groups, no way to gain anything, and dead when the lab is dead."""
    skin = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs", "--pdeathsig=KILL"]
    if Privilege.BPF in spec.privileges:
        return [*skin, "--"]
    extra = ["net_admin", "net_raw"] if Privilege.NET_ADMIN in spec.privileges else []
    if uid == 0:
        return [*skin, f"--bounding-set={_only(*_PLAIN_ROOT, *extra)}", "--"]
    # A clone below /root (mode 0700) holds programs and modules that an ordinary user cannot reach. CAP_DAC_READ_SEARCH
    # lets this one process read and pass, not write; it is given only where the path is really closed.
    if any(
        _closed(Path(path)) for path in (program, *_paths(spec.argv), *_paths(env.values()), *_interpreter(program))
    ):
        extra.append("dac_read_search")
    return [
        *skin,
        f"--inh-caps={_only(*extra)}",
        f"--ambient-caps={_only(*extra)}",
        f"--bounding-set={_only(*extra)}",
        "--",
    ]


def _only(*names: str) -> str:
    return ",".join(["-all", *(f"+{name}" for name in names)])


def _paths(words: Iterable[str]) -> list[str]:
    return [part for word in words for part in word.split(":") if part.startswith("/")]


def _interpreter(program: str) -> list[str]:
    """The lab's own Python imports from its prefix and, as an editable install, from the lab's sources."""
    return [sys.prefix, sys.base_prefix, __file__] if program == sys.executable else []


def _closed(path: Path) -> bool:
    """Whether others than root are kept from a path by a folder on the way, before or after following links."""
    ways = {path, path.resolve()}
    folders = {folder for way in ways for folder in way.parents}
    return any(folder.exists() and not stat.S_IMODE(folder.stat().st_mode) & stat.S_IXOTH for folder in folders)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
