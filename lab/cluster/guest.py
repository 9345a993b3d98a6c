"""The first process of every container that the lab makes on Kubernetes: `python -IS lab/cluster/guest.py serve`.

It idles until it is told, by the same program started beside it in the same container, over a Unix socket. What it
starts are its own children, so they are in its cgroup, run as its user, and die with it. Standard library only, and
little of that, nothing else of the lab: every word is one more start of this file, in containers that are measured.

    start            a specification as one line of JSON on standard input; prints {"name", "pid"} once it is ready
    tell NAME LINE   | wait NAME SECONDS | stop NAME | pids NAME | read NAME FILE | get PORT PATH | clock | once FILE

Exit code 0, or 1 with one line (and a process's last words) on standard error.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

TYPE_CHECKING = False  # as in `typing`, which takes longer to import than all of this file
if TYPE_CHECKING:
    import subprocess
    from typing import Any

    Told = dict[str, Any]

FOLDER = Path(os.environ.get("MESH_LAB_GUEST", "/run/mesh-lab"))  # an emptyDir of the container's own
PROJECT = Path(__file__).resolve().parents[2]
GRACE_S = 5.0  # agents detach their programs meanwhile; shorter than a pod's own time of grace
LAST_LINES = 15
MOST_FILES = 65_536  # open ones: they carry 20,000 connections both ways


class Trouble(Exception):
    """What could not be done, in a line."""


class Child:
    """One process that was started."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self.popen = popen
        self.code: int | None = None


class Guest:
    """Its children, and what became of them. Every method is called by one thread per word that it is told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.children: dict[str, Child] = {}
        self.changed = threading.Condition()

    def start(self, spec: Told) -> Told:
        import subprocess  # noqa: PLC0415 - only the server has children

        with self.changed:
            name = self._free(spec["name"])
            folder = self.folder / name
            argv, env = furnished(spec, folder)
            with (folder / "stdout").open("ab") as out, (folder / "stderr").open("ab") as err:
                try:
                    popen = subprocess.Popen(
                        argv,
                        stdin=subprocess.PIPE,
                        stdout=out,
                        stderr=err,
                        cwd=folder,
                        env=env,
                        bufsize=0,
                        start_new_session=True,
                    )
                except OSError as error:
                    what = f"{spec['name']}: {argv[0]!r} cannot be started: {error}; is the image the lab's?"
                    raise Trouble(what) from error
            self.children[name] = Child(popen)
            return {"name": name, "pid": popen.pid}

    def tell(self, name: str, line: str) -> Told:
        stdin = self._child(name).popen.stdin
        try:
            if stdin is not None:
                stdin.write(line.encode() + b"\n")
        except (BrokenPipeError, ValueError) as error:
            raise Trouble(f"{name} does not listen to its standard input any more") from error
        return {}

    def wait(self, name: str, seconds: float) -> Told:
        child = self._child(name)
        with self.changed:
            self.changed.wait_for(lambda: child.code is not None, seconds)
        return {"code": child.code}

    def state(self, name: str) -> Told:
        child = self._child(name)
        return {"code": child.code, "pid": child.popen.pid}

    def stop(self, name: str) -> Told:
        self.end([self._child(name)])
        return self.state(name)

    def end(self, children: Iterable[Child]) -> None:
        """Ask all, give them one time of grace, then leave no choice to them and to whatever they started."""
        asked = list(children)
        living = [child for child in asked if child.code is None]
        for child in living:
            _signal(child.popen.pid, signal.SIGTERM)
        with self.changed:
            self.changed.wait_for(lambda: all(c.code is not None for c in living), GRACE_S)
        for child in asked:
            for pid in (child.popen.pid, *below(child.popen.pid)) if child.code is None else ():
                _signal(pid, signal.SIGKILL)
            _signal(-child.popen.pid, signal.SIGKILL)  # its session's own group

    def reap(self) -> None:
        """Take note of every process that has ended, also of those that were only left to the guest."""
        with self.changed:
            while True:
                try:
                    pid, status = os.waitpid(-1, os.WNOHANG)
                except ChildProcessError:
                    break
                if not pid:
                    break
                for child in self.children.values():
                    if child.popen.pid == pid and child.code is None:
                        child.code = child.popen.returncode = os.waitstatus_to_exitcode(status)
            self.changed.notify_all()

    def _free(self, name: str) -> str:
        taken = {path.name for path in self.folder.glob("*")}
        return next(each for each in (name, *(f"{name}-{n}" for n in range(2, len(taken) + 3))) if each not in taken)

    def _child(self, name: str) -> Child:
        if name not in self.children:
            raise Trouble(f"no process {name!r} in this container; there are {', '.join(self.children) or 'none'}")
        return self.children[name]


def furnished(spec: Told, folder: Path) -> tuple[list[str], dict[str, str]]:
    """Its folder with its files; its arguments and environment with the image's paths in place of symbols."""
    folder.mkdir(parents=True)
    for name, text in spec["files"].items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise Trouble(f"{spec['name']}: file {name!r} is outside its folder; give a name relative to it")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(settled(text, folder))
    passed = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "MESH_LAB_BUILD") if name in os.environ}
    env = {"HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8", **passed}
    env |= {name: settled(value, folder) for name, value in spec["env"].items()}
    return [settled(word, folder) for word in spec["argv"]], env


def settled(text: str, folder: Path) -> str:
    """Symbols of `lab.cluster.place`, and `{dir}`, as paths of this container."""
    for symbol, path in places().items():
        text = text.replace(symbol, str(path))
    return text.replace("{dir}", str(folder))


def places() -> Mapping[str, Path]:
    """What the symbols stand for here."""
    home = PROJECT / ".venv"
    packages = sorted(home.glob("lib/python3*/site-packages"))
    return {
        "{lab:project}": PROJECT,
        "{lab:build}": Path(os.environ.get("MESH_LAB_BUILD", PROJECT / ".build")),
        "{lab:python}": home / "bin/python" if packages else Path(sys.executable),
        "{lab:packages}": packages[-1] if packages else _own_packages(),
    }


def _own_packages() -> Path:
    import sysconfig  # noqa: PLC0415 - only where there is no .venv beside the project

    return Path(sysconfig.get_path("purelib"))


def below(pid: int) -> tuple[int, ...]:
    """All that descend from a process, as this container's /proc shows them."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # ended since it was listed
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return tuple(sorted(found - {pid}))


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


class Server:
    """Takes words at the socket until it is told to end."""

    def __init__(self, folder: Path) -> None:
        self.guest = Guest(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "guest.sock"
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen(64)
        self._ending = threading.Event()

    def run(self) -> None:
        """Be it. SIGTERM and SIGINT end it, after its children."""
        signals, told = os.pipe()
        for end in (signals, told):
            os.set_blocking(end, False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._heard)
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        threading.Thread(target=self._listen, daemon=True).start()
        while not self._ending.is_set():
            _drained(signals)
            self.guest.reap()
        ender = threading.Thread(target=self.guest.end, args=(list(self.guest.children.values()),))
        ender.start()
        while ender.is_alive():
            self.guest.reap()
            ender.join(0.01)
        self._path.unlink(missing_ok=True)

    def _heard(self, number: int, _: object) -> None:
        if number != signal.SIGCHLD:
            self._ending.set()

    def _listen(self) -> None:
        while True:
            client, _ = self._listener.accept()
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client, client.makefile("rwb") as stream:
            word, *given = json.loads(stream.readline())
            try:
                said = getattr(self.guest, word)(*given)
            except (Trouble, OSError) as error:
                said = {"trouble": str(error)}
            try:
                stream.write(json.dumps(said).encode() + b"\n")
                stream.flush()
            except BrokenPipeError:
                return  # who asked has gone


def _drained(end: int) -> None:
    """Sleep until a signal comes, and forget it."""
    import select  # noqa: PLC0415 - the words have no use for it

    select.select([end], [], [])
    os.read(end, 4096)


def serve() -> None:
    """Be the first process of a container."""
    import ctypes  # noqa: PLC0415 - only the server has children
    import resource  # noqa: PLC0415

    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: with hostPID it is not number 1
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    Server(FOLDER).run()


def ask(word: str, *given: object) -> Told:
    """What the guest of this container says to a word."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(FOLDER / "guest.sock"))
        except OSError as error:
            raise Trouble(f"no guest answers in this container: {error}") from error
        with client.makefile("rwb") as stream:
            stream.write(json.dumps([word, *given]).encode() + b"\n")
            stream.flush()
            line = stream.readline()
    if not line:
        raise Trouble("the guest of this container has ended")
    said: Told = json.loads(line)
    if "trouble" in said:
        raise Trouble(said["trouble"])
    return said


def start() -> None:
    """Start what standard input says, and wait until it is ready."""
    spec: Told = json.loads(sys.stdin.readline())
    said = ask("start", spec)
    deadline = time.monotonic() + spec["ready_s"]
    while spec["ready"] and not _is_ready(spec["ready"], said["name"]):
        if (code := ask("state", said["name"])["code"]) is not None:
            raise Trouble(story(said["name"], f"ended with exit code {code} before it was ready"))
        if time.monotonic() > deadline:
            raise Trouble(story(said["name"], f"was not ready after {spec['ready_s']:g} s ({spec['ready']})"))
        time.sleep(0.02)
    print(json.dumps(said))


def _is_ready(ready: Told, name: str) -> bool:
    if "line" in ready:
        start = ready["line"].encode()
        lines = [line for which in ("stdout", "stderr") for line in (FOLDER / name / which).read_bytes().splitlines()]
        return any(line.startswith(start) for line in lines)
    try:
        if "path" in ready:
            return fetched(ready["port"], ready["path"], 1.0)[0] == 200
        socket.create_connection(("127.0.0.1", ready["port"]), 1.0).close()
    except (OSError, Trouble):
        return False
    return True


def fetched(port: int, path: str, timeout_s: float) -> tuple[int, bytes]:
    """Status and body of GET http://127.0.0.1:port/path; `Trouble` for what is no HTTP."""
    import http.client  # noqa: PLC0415 - slow to import, and most words do without

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as error:
        raise Trouble(f"{type(error).__name__}: {error}") from error
    finally:
        connection.close()


def story(name: str, what: str) -> str:
    """What happened to a process, and its last words."""
    texts = ((FOLDER / name / which).read_text(errors="replace") for which in ("stdout", "stderr"))
    lines = [line for text in texts for line in text.splitlines()]
    last = "\n".join(f"  {line}" for line in lines[-LAST_LINES:]) or "  (nothing)"
    return f"{name} {what}; its last output:\n{last}"


def wait(name: str, seconds: str) -> None:
    """Print its exit code; stop it where it still runs."""
    code = ask("wait", name, float(seconds))["code"]
    if code is None:
        ask("stop", name)
        raise Trouble(story(name, f"was still running after {float(seconds):g} s and was stopped"))
    print(code)


def read(name: str, file: str) -> None:
    """Its file, as it is."""
    path = (FOLDER / name / file).resolve()
    try:
        if not path.is_relative_to((FOLDER / name).resolve()):
            raise Trouble(f"{file!r} is not in the folder of {name}; give a name relative to it")
        sys.stdout.buffer.write(path.read_bytes())
    except OSError as error:
        there = ", ".join(sorted(p.name for p in (FOLDER / name).glob("*"))) or "nothing"
        raise Trouble(f"{name} has no file {file!r}; there is {there}") from error


def get(port: str, path: str) -> None:
    """The body of an answer 200."""
    url = f"GET http://127.0.0.1:{port}{path}"
    try:
        status, body = fetched(int(port), path, 10.0)
    except (OSError, Trouble) as error:
        raise Trouble(f"{url}: {type(error).__name__}: {error}") from error
    if status != 200:
        raise Trouble(f"{url} answers {status}, not 200: {body[:200]!r}")
    sys.stdout.buffer.write(body)


def clock() -> None:
    """CLOCK_MONOTONIC, once for every line that comes."""
    for _ in sys.stdin.buffer:
        print(time.monotonic_ns(), flush=True)


def once(file: str) -> None:
    """Become the program that a file specifies: an init step."""
    spec: Told = json.loads(Path(file).read_text())
    argv, env = furnished(spec, FOLDER / spec["name"])
    os.chdir(FOLDER / spec["name"])
    os.execvpe(argv[0], argv, env)  # noqa: S606 - there is no shell, and none is wanted


def tell(name: str, line: str) -> None:
    """Write one line to its standard input."""
    ask("tell", name, line)


def pids(name: str) -> None:
    """Its number and those of its children, by this container's /proc."""
    said = ask("state", name)
    print(json.dumps([said["pid"], *below(said["pid"])] if said["code"] is None else []))


def stop(name: str) -> None:
    """End it."""
    print(ask("stop", name)["code"])


WORDS: Mapping[str, Callable[..., None]] = {
    word.__name__: word for word in (serve, start, tell, wait, read, get, clock, once, pids, stop)
}


def main(words: list[str]) -> int:
    """Exit code 0, or 1 with why."""
    word = WORDS.get(words[0]) if words else None
    if word is None:
        print(f"unknown word {words[:1]}; there are {', '.join(WORDS)}", file=sys.stderr)
        return 1
    try:
        word(*words[1:])
    except (Trouble, TypeError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
