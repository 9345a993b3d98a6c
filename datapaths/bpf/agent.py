"""The process that a node runs for an eBPF datapath: `python -m datapaths.bpf.agent --parts http,… --mesh FILE …`.

It loads and attaches the parts' programs, prints `ready`, and shows what they count until SIGTERM. SIGHUP makes it read
its mesh file again. Why a signal: a page that changes what the kernel enforces would be a door for all on the node;
watching the file would wake an agent that should sleep.

Without `--pins` nothing outlives the process. With it, programs and counts do, so that an agent can crash or be
replaced; `--remove` takes them away at SIGTERM.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

from datapaths.bpf.bpffs import BpfFileSystem
from datapaths.bpf.openmetrics import Family, counters, negotiated, text
from datapaths.bpf.part import PARTS, Part, Told, find
from datapaths.bpf.pins import Stale
from datapaths.bpf.places import Places
from datapaths.bpf.server import Page, Server
from lab.record import LabError, Mistake

_HELPS = {
    "reloads": "Times that the mesh file was read again.",
    "failed_reloads": "Times that it could not be followed; the mesh before it is still in force.",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. Exit code 0; 1 with one line of why where it could not start."""
    asked = _parser().parse_args(argv)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    try:
        with ExitStack() as stack:
            agent = Agent(asked.mesh)
            signal.signal(signal.SIGHUP, agent.ask)
            server = Server(asked.port, agent.pages(), asked.listen)
            stack.callback(server.close)
            stack.callback(agent.places.close)  # last of all: what is attached to a folder goes before it
            pins = _pins(stack, asked)
            stack.callback(agent.close)
            agent.start(asked.parts.split(","), pins, asked.fresh)
            print("ready", flush=True)
            server.serve(agent.tend, agent.pause_s)
    except SystemExit:
        return 0
    except (LabError, OSError) as error:
        print(f"agent: {error}", file=sys.stderr)
        return 1
    return 0


class Agent:
    """Parts that share one mesh file and one process."""

    def __init__(self, mesh: Path) -> None:
        self._mesh, self._parts, self._asked = mesh, dict[str, Part](), False
        self._counts = dict.fromkeys(_HELPS, 0)
        self._shown = False  # metrics, which take more room than the agent
        self.places = Places()

    def start(self, names: Sequence[str], pins: BpfFileSystem | None, fresh: bool) -> None:
        """Load and attach. Each part has a folder of pins; what parts that are no longer named left is removed."""
        told = self.places.settled(_told(self._mesh))
        makers = {name: find(name) for name in names}
        if pins is not None:
            pins.only(tuple(makers))
        for name, make in makers.items():
            folder = pins.part(name) if pins is not None else None
            try:
                self._parts[name] = make(told, folder)
            except Stale:
                if pins is None or not fresh:
                    raise
                pins.forget(name)
                self._parts[name] = make(told, folder)

    @property
    def pause_s(self) -> float | None:
        """How long the parts may be left alone; None: for ever."""
        return min((p.pause_s for p in self._parts.values() if hasattr(p, "pause_s")), default=None)

    def ask(self, _number: int, _frame: FrameType | None) -> None:
        """A signal handler: have the mesh file read again, once nothing else is being done."""
        self._asked = True

    def tend(self) -> None:
        """Do what is due."""
        if self._asked:
            self._asked = False
            self._reload()
        if self._shown:
            self._shown = False
            ctypes.CDLL(None).malloc_trim(0)
        for part in self._parts.values():
            if hasattr(part, "tend"):
                part.tend()

    def pages(self) -> dict[str, Page]:
        """What it answers, by path."""
        return {
            "/ready": lambda _: ("text/plain", "ready\n"),
            "/count": lambda _: ("application/json", json.dumps(self._totals())),
            "/metrics": self._metrics,
        }

    def close(self) -> None:
        """Let go of everything. Idempotent."""
        while self._parts:
            self._parts.popitem()[1].close()

    def _reload(self) -> None:
        """Errors are said and counted, and change nothing that a part has not done yet."""
        try:
            told = self.places.settled(_told(self._mesh))
            for part in self._parts.values():
                if hasattr(part, "update"):
                    part.update(told)
            self._counts["reloads"] += 1
        except (LabError, OSError, KeyError, TypeError, ValueError) as error:
            self._counts["failed_reloads"] += 1
            print(f"agent: {self._mesh} could not be followed: {error!r}", file=sys.stderr, flush=True)

    def _metrics(self, accept: str) -> tuple[str, str]:
        self._shown = True
        kind = negotiated(accept)
        return kind, text(self._families(), kind)

    def _totals(self) -> dict[str, dict[str, int]]:
        return {name: part.totals() for name, part in self._parts.items()} | {"agent": dict(self._counts)}

    def _families(self) -> list[Family]:
        own = counters("mesh_agent", self._counts, _HELPS)
        return [*own, *(family for part in self._parts.values() for family in part.families())]


def _pins(stack: ExitStack, asked: argparse.Namespace) -> BpfFileSystem | None:
    if asked.pins is None:
        return None
    system = BpfFileSystem(asked.pins)
    stack.callback(system.remove if asked.remove else system.close)
    return system


def _stop(_number: int, _frame: FrameType | None) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # once is enough: detaching is not to be interrupted
    raise SystemExit(0)


def _told(path: Path) -> Told:
    try:
        told: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise Mistake(f"--mesh {path} is not JSON: {error}") from error
    return told


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m datapaths.bpf.agent", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--parts", required=True, help=f"comma-separated, of {', '.join(PARTS)}")
    parser.add_argument("--mesh", type=Path, required=True, help="JSON file: who is where, and what is wanted")
    parser.add_argument("--port", type=int, required=True, help="for /count, /metrics and /ready")
    parser.add_argument("--listen", metavar="ADDRESS", help="an address of the node beside 127.0.0.1")
    parser.add_argument("--pins", type=Path, metavar="FOLDER", help="where programs and counts outlive the agent")
    parser.add_argument("--fresh", action="store_true", help="begin with empty maps where the pinned ones do not fit")
    parser.add_argument("--remove", action="store_true", help="at the end, remove the pins and detach everything")
    return parser


if __name__ == "__main__":
    sys.exit(main())
