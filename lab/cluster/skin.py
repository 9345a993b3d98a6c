"""What a process of a local cluster may be and do: its user, capabilities, environment and files."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from io import BufferedWriter
from pathlib import Path

from lab.cluster import Privilege, ProcessSpec
from lab.record import CannotRun, Mistake

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PASSED_ON = ("PYTHONPATH", "MESH_LAB_BUILD")  # so that `python -m lab…` finds what the lab itself found

# What root may do without a privilege: bind low ports and give itself away, as a server's master process does.
_PLAIN_ROOT = ("net_bind_service", "setuid", "setgid", "chown", "kill", "dac_override")


def user(spec: ProcessSpec) -> int:
    """The uid it runs as: programs that load BPF are root (see `Privilege`), whatever else is asked."""
    return 0 if Privilege.BPF in spec.privileges else spec.user


def settled(spec: ProcessSpec, folder: Path) -> ProcessSpec:
    """The specification with its folder in place of `{dir}`."""

    def put(text: str) -> str:
        return text.replace("{dir}", str(folder))

    return replace(
        spec,
        argv=tuple(map(put, spec.argv)),
        files={name: put(text) for name, text in spec.files.items()},
        env={name: put(value) for name, value in spec.env.items()},
    )


def environment(spec: ProcessSpec, folder: Path) -> dict[str, str]:
    """Little, and the same wherever the lab was started."""
    passed = {name: _absolute(os.environ[name]) for name in _PASSED_ON if name in os.environ}
    return {"PATH": _PATH, "HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8"} | passed | dict(spec.env)


def _absolute(paths: str) -> str:
    """A process starts in a folder of its own, where `PYTHONPATH=.` would mean something else."""
    return ":".join(str(Path(path).absolute()) for path in paths.split(":"))


def furnish(spec: ProcessSpec, folder: Path) -> None:
    """Make its folder with its files, all its own."""
    uid = user(spec)
    folder.mkdir()
    for name, text in spec.files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise Mistake(f"{spec.name}: file {name!r} is outside its folder; give a name relative to it")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, uid, uid)


def output(path: Path, uid: int) -> BufferedWriter:
    """A file for standard output or error. It is the user's own, since programs reopen /dev/stderr by name."""
    file = path.open("ab")
    os.fchown(file.fileno(), uid, uid)
    return file


def skin(spec: ProcessSpec, program: str, env: Mapping[str, str]) -> list[str]:
    """A setpriv(1) command: uid and gid, no groups, no way to gain anything, and dead when the lab is dead."""
    uid = user(spec)
    command = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs", "--pdeathsig=KILL"]
    if Privilege.BPF in spec.privileges:
        return [*command, "--"]
    extra = ["net_admin", "net_raw"] if Privilege.NET_ADMIN in spec.privileges else []
    if uid == 0:
        return [*command, f"--bounding-set={_only(*_PLAIN_ROOT, *extra)}", "--"]
    _must_be_executable(spec, program)
    # A clone below /root (mode 0700) holds programs and modules that an ordinary user cannot reach. CAP_DAC_READ_SEARCH
    # lets this one process pass and read, not write; it is given only where a path it was told of is really closed.
    if any(map(_closed, (program, *_interpreter(program), *_paths((*spec.argv, *env.values()))))):
        extra.append("dac_read_search")
    return [*command, *(f"--{which}={_only(*extra)}" for which in ("inh-caps", "ambient-caps", "bounding-set")), "--"]


def _must_be_executable(spec: ProcessSpec, program: str) -> None:
    """No capability but writing everywhere (CAP_DAC_OVERRIDE) would let another user start it."""
    found = Path(program).stat()
    if found.st_uid != spec.user and not found.st_mode & stat.S_IXOTH:
        raise CannotRun(f"{spec.name}: uid {spec.user} may not execute {program}; allow it with: chmod o+rx {program}")


def _only(*names: str) -> str:
    return ",".join(["-all", *(f"+{name}" for name in names)])


def _paths(words: Iterable[str]) -> list[str]:
    """Absolute paths, also of lists as in PYTHONPATH and after the equals sign of an option."""
    parts = (part for word in words for part in word.replace("=", ":").split(":"))
    return [part for part in parts if part.startswith("/")]


def _interpreter(program: str) -> list[str]:
    """The lab's own Python imports from its prefixes and, as an editable install, from the lab's sources."""
    return [sys.prefix, sys.base_prefix, __file__] if program == sys.executable else []


def _closed(path: str) -> bool:
    """Whether a folder on the way, before or after following links, keeps ordinary users from a path."""
    folders = {folder for way in (Path(path), Path(path).resolve()) for folder in way.parents}
    return any(folder.exists() and not folder.stat().st_mode & stat.S_IXOTH for folder in folders)
