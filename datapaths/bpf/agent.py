"""The process that a node runs for an eBPF datapath: `python -m datapaths.bpf.agent http|redirect …`.

It loads and attaches the programs, prints `ready`, and serves its counts on 127.0.0.1 until SIGTERM. Nothing is pinned:
however it ends, the kernel detaches the programs and drops the maps with it.

`--mesh` is a JSON file: `cgroups` (the pods' cgroup v2 folders), `identities` (names by address) for `http`, `services`
(pairs of address and port) for `redirect`.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from datapaths.bpf import redirect
from datapaths.bpf.http import SIDES, HttpWatch
from datapaths.bpf.prometheus import text
from datapaths.bpf.redirect import Redirect
from datapaths.bpf.server import Page, Server
from lab.record import LabError, Mistake


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. Exit code 0; 1 with one line of why where it could not start."""
    asked = _parser().parse_args(argv)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    try:
        _watch(asked) if asked.job == "http" else _redirect(asked)
    except (LabError, OSError) as error:
        print(f"agent: {error}", file=sys.stderr)
        return 1
    return 0


def _watch(asked: argparse.Namespace) -> None:
    mesh = _mesh(asked.mesh)
    with HttpWatch(_cgroups(mesh), mesh["identities"], asked.side, asked.keys, asked.routes) as watch:

        def count() -> dict[str, int]:
            totals = watch.totals()
            return {"requests": totals["requests"], "not_understood": watch.not_understood()} | totals

        _serve(asked.port, {"/count": _json(count), "/metrics": lambda: _plain(text(watch.series(), watch.totals()))})


def _redirect(asked: argparse.Namespace) -> None:
    mesh = _mesh(asked.mesh)
    services = [(address, int(port)) for address, port in mesh["services"]]
    with Redirect(_cgroups(mesh), services, _place(asked.proxy), asked.proxy_cgroup or _siblings()) as redirection:

        def count() -> dict[str, int]:
            return redirection.totals() | {"open": redirection.open_connections()}

        _serve(asked.port, {"/count": _json(count), "/metrics": lambda: _plain(text((), redirection.totals()))})


def _serve(port: int, pages: dict[str, Page]) -> None:
    server = Server(port, {**pages, "/ready": lambda: _plain("ready\n")})
    print("ready", flush=True)
    try:
        server.serve()
    except SystemExit:
        return  # asked to stop: whoever called detaches
    finally:
        server.close()


def _stop(_number: int, _frame: FrameType | None) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # once is enough: detaching is not to be interrupted
    raise SystemExit(0)


def _siblings() -> Path:
    """The node's folder: the parent of this process's cgroup, where the node's proxy has its own."""
    proc = Path("/proc/self")
    return redirect.own_place((proc / "mountinfo").read_text(), (proc / "cgroup").read_text()).parent


def _mesh(path: Path) -> dict[str, Any]:
    try:
        mesh: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise Mistake(f"--mesh {path} is not JSON: {error}") from error
    return mesh


def _cgroups(mesh: dict[str, Any]) -> list[Path]:
    return [Path(cgroup) for cgroup in mesh["cgroups"]]


def _place(given: str) -> redirect.Place:
    address, _, port = given.rpartition(":")
    return address, int(port)


def _json(count: Any) -> Page:
    return lambda: ("application/json", json.dumps(count()))


def _plain(words: str) -> tuple[str, str]:
    return "text/plain; version=0.0.4", words


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m datapaths.bpf.agent", description=(__doc__ or "").split("\n")[0])
    jobs = parser.add_subparsers(dest="job", required=True)
    watch = jobs.add_parser("http", help="count HTTP/1.x requests of the pods")
    watch.add_argument("--side", choices=SIDES, default="server", help="whose packets are read (default: the server's)")
    watch.add_argument("--keys", type=int, default=512, help="room for source, destination, route and status together")
    watch.add_argument("--routes", type=int, default=1024, help="room for methods and paths")
    redirection = jobs.add_parser("redirect", help="bring the pods' connections to the node's proxy")
    redirection.add_argument("--proxy", required=True, metavar="ADDRESS:PORT")
    redirection.add_argument("--proxy-cgroup", type=Path, help="default: the parent of the agent's own cgroup")
    for job in (watch, redirection):
        job.add_argument("--port", type=int, required=True, help="of 127.0.0.1, for /count, /metrics and /ready")
        job.add_argument("--mesh", type=Path, required=True, help="JSON file: who is where")
    return parser


if __name__ == "__main__":
    sys.exit(main())
