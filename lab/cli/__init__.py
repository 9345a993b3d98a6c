"""Words to calls: the command line. Every command is one call into the lab; errors become one line and an exit code.

One file a family of commands; importing it registers them, in the order that `--help` lists them.
"""

from __future__ import annotations

import signal

from lab.cli.common import app

# isort: off
# importing registers; `--help` lists them in this order
from lab.cli import measure  # noqa: F401
from lab.cli import gate  # noqa: F401
from lab.cli import simulate  # noqa: F401
from lab.cli import read  # noqa: F401
from lab.cli import names  # noqa: F401
from lab.cli import claims  # noqa: F401
from lab.cli import exchange  # noqa: F401
from lab.cli import publish  # noqa: F401
from lab.cli import machine  # noqa: F401
from lab.cli import kubernetes  # noqa: F401
# isort: on

__all__ = ["app", "main"]


def _terminated(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of `mesh-lab`."""
    signal.signal(signal.SIGTERM, _terminated)
    app()
