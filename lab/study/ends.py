"""The two ends of many connections as processes of a cluster."""

from __future__ import annotations

import sys

from lab import compile
from lab.cluster import Line, Part, ProcessSpec

PORT = 8080
CLIENT, SERVER = "client", "server"


def server() -> ProcessSpec:
    """Answers on PORT of its pod."""
    return _peer("serve", Part.APP, str(PORT))


def client(host: str, port: int, count: int, how: str) -> ProcessSpec:
    """Holds `count` connections to host:port; `how` as in `lab.study.peer`. Ready once all are open and used."""
    return _peer("hold", Part.LOAD, host, str(port), str(count), how)


def _peer(role: str, part: Part, *words: str) -> ProcessSpec:
    return ProcessSpec(
        name=role,
        argv=(sys.executable, "-m", "lab.study.peer", role, *words),
        part=part,
        env={"PYTHONPATH": str(compile.ROOT)},
        ready=Line("ready"),
    )
