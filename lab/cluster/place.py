"""Where things are in the image, and how a specification made on this machine is carried there.

A specification holds paths of the machine that made it: its Python, the project's folder, compiled objects, packages,
programs. `portable` puts symbols in their place; the guest (`lab.cluster.guest`) puts the image's paths there.
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from lab.cluster import ProcessSpec
from lab.compile import ROOT, cache

PROJECT = "/opt/mesh-datapath-lab"  # of the image, as its Dockerfile has it; the guest and tests rely on it
PYTHON = f"{PROJECT}/.venv/bin/python"
USER = 65534  # whom load engines run as there


def portable(spec: ProcessSpec) -> ProcessSpec:
    """The specification without a path of this machine: symbols for the lab's own, names for programs."""
    table = _table()
    return replace(
        spec,
        argv=tuple(_program(_symbols(word, table)) for word in spec.argv),
        files={name: _symbols(text, table) for name, text in spec.files.items()},
        env={name: _symbols(text, table) for name, text in spec.env.items()},
    )


def _table() -> tuple[tuple[str, str], ...]:
    """Longest first: packages and objects may lie inside the project's folder."""
    known = {
        str(ROOT): "{lab:project}",
        str(cache()): "{lab:build}",
        sys.executable: "{lab:python}",
        **{sysconfig.get_path(which): "{lab:packages}" for which in ("purelib", "platlib")},
    }
    return tuple(sorted(known.items(), key=lambda pair: -len(pair[0])))


def _symbols(text: str, table: Iterable[tuple[str, str]]) -> str:
    """Paths are replaced where they stand alone or begin a longer one, never inside a name."""
    for path, symbol in table:
        text = re.sub(rf"(?<![\w.-]){re.escape(path)}(?![\w.-])", symbol, text)
    return text


def _program(word: str) -> str:
    """A program of this machine by its name: in the image it is wherever PATH says."""
    path = Path(word)
    return path.name if path.is_absolute() and path.is_file() and os.access(path, os.X_OK) else word
