"""Stored runs in the formats of other tools: one module a format, each gives files by name. Nothing is measured here.

What gates left out is left out here, too; times are of complete answers after the dropped first part of each window.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.exchange.export.asked import Asked
from lab.record import Mistake
from lab.store import Store

FORMATS = ("hlog", "fortio", "smp", "openmetrics", "csv")
ONE_FILE = {"hlog": "hlog", "openmetrics": "txt"}  # formats that are one file: its ending
STANDARD_OUTPUT = "-"


@dataclass(frozen=True)
class Export:
    """Files by name. `alone` is the ending where the format is one file."""

    files: Mapping[str, bytes]
    alone: str = ""


def export(store: Store, format: str, asked: Asked) -> Export:
    """The files of one format. `Mistake` for an unknown format, or where the run has nothing of what was asked."""
    if format not in FORMATS:
        raise Mistake(f"--format {format!r} is unknown; allowed: {', '.join(FORMATS)}")
    asked.suits(format)
    return Export(_maker(format)(store, asked), ONE_FILE.get(format, ""))


def place(store: Store, format: str) -> Path:
    """Where an export goes when nothing else was asked: beside no results, which are never changed."""
    ending = ONE_FILE.get(format)
    return Path("exports") / (f"{store.folder.name}.{ending}" if ending else f"{store.folder.name}-{format}")


def write(made: Export, out: Path, *, force: bool = False) -> tuple[Path, ...]:
    """Put the files at `out`: the file itself, or a folder of them. `Mistake` where something is there already."""
    paths = {(out if made.alone else out / name): raw for name, raw in made.files.items()}
    there = [path for path in (out, *paths) if path.exists()]
    if there and not force:
        raise Mistake(f"{there[0]} exists; choose another place with --out, or replace it with --force")
    try:
        for path, raw in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(raw)
    except OSError as wrong:
        raise Mistake(f"{out} cannot be written: {wrong.strerror}; choose another place with --out") from None
    return tuple(paths)


def only(made: Export) -> bytes:
    """The one file, for standard output. `Mistake` where there are several."""
    if len(made.files) != 1:
        raise Mistake(
            f"--out - takes one file, and these are {len(made.files)}: {', '.join(made.files)[:120]}; narrow it down "
            "with --scenario, --block, --arm or --frame, or name a folder"
        )
    return next(iter(made.files.values()))


def _maker(format: str) -> Callable[[Store, Asked], Mapping[str, bytes]]:
    """Formats load what they need, and only that."""
    from lab.exchange.export import fortio, frames, hlog, openmetrics, smp  # noqa: PLC0415 - pandas, protobuf

    makers = {
        "hlog": hlog.files,
        "fortio": fortio.files,
        "smp": smp.files,
        "openmetrics": openmetrics.files,
        "csv": frames.files,
    }
    return makers[format]
