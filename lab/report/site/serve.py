"""Shows a folder of pages on this machine's loopback, to nobody else."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from lab.record import Mistake

LOOPBACK = "127.0.0.1"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """A page that was read is no news."""


def show(folder: Path, port: int, say: Callable[[str], object]) -> None:
    """Serve `folder` until interrupted; `say` gets the address once it answers. `Mistake` where the port is taken."""
    try:
        server = ThreadingHTTPServer((LOOPBACK, port), partial(_Quiet, directory=str(folder)))
    except (OSError, OverflowError) as error:
        raise Mistake(f"--serve {port}: {getattr(error, 'strerror', None) or error}; give another port") from None
    with server:
        say(f"http://{LOOPBACK}:{server.server_port}/")
        server.serve_forever()
