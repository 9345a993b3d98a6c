"""Runs the notebooks: `python -m lab.notebooks [--out FOLDER] [NAME…]` executes each from start to end in a kernel.

Notebooks are Python scripts in percent format (jupytext); what they print and draw is not kept in git. The kernel is
the Python that runs this, whatever kernels a user has installed. The first error ends it, with the cell that caused it.
A warning from the lab's own modules is an error.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jupytext  # type: ignore[import-untyped, unused-ignore]
import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from lab.record import Failed, LabError, Mistake

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"
CELL_S = 300  # the longest that one cell may take
WARNINGS = "error:::lab"


class Kernel(AsyncKernelManager):
    """The running Python as a kernel, without a kernelspec in anybody's home."""

    @property
    def kernel_spec(self) -> KernelSpec:
        """How it is started."""
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


def names() -> tuple[str, ...]:
    """Every notebook there is, in the order to read them."""
    return tuple(sorted(file.stem for file in FOLDER.glob("[0-9]*.py")))


def read(name: str) -> nbformat.NotebookNode:
    """A notebook by its name. `Mistake` where there is none of that name."""
    if name not in names():
        raise Mistake(f"no notebook {name!r}; there are {', '.join(names())}")
    notebook: nbformat.NotebookNode = jupytext.read(FOLDER / f"{name}.py")
    return notebook


def execute(
    notebook: nbformat.NotebookNode, name: str, environment: Mapping[str, str] | None = None
) -> nbformat.NotebookNode:
    """The notebook with all outputs. `Failed` with the cell's text and its error where one fails; no kernel is left.

    `environment` is that of the kernel, the caller's by default; what cells make in the temporary folder is removed.
    """
    with tempfile.TemporaryDirectory(prefix="mesh-lab-notebook-") as scratch:
        place = Path(scratch)
        place.chmod(0o711)  # servers that a cell starts run as other users
        kernel = Kernel(transport="ipc", connection_file=str(place / "kernel.json"))
        client = NotebookClient(notebook, timeout=CELL_S, km=kernel, resources={"metadata": {"path": str(ROOT)}})
        try:
            with client.setup_kernel(env=_environment(place, environment), cleanup_kc=True):
                for index, cell in enumerate(notebook.cells):
                    client.execute_cell(cell, index)
        except CellExecutionError as wrong:
            raise Failed(f"notebook {name}: this cell failed:\n{wrong}") from None
    return notebook


def _environment(place: Path, given: Mapping[str, str] | None) -> dict[str, str]:
    """The kernel imports the lab from here, and keeps nothing of its own in anybody's home."""
    around = dict(os.environ if given is None else given)
    paths = [str(ROOT), *filter(None, [around.get("PYTHONPATH")])]
    own = dict.fromkeys(("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "TMPDIR"), str(place))
    return {**around, **own, "PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": WARNINGS}


def save(notebook: nbformat.NotebookNode, name: str, out: Path) -> tuple[Path, ...]:
    """Write the executed notebook, and a page of it where nbconvert is installed."""
    out.mkdir(parents=True, exist_ok=True)
    kept = [out / f"{name}.ipynb"]
    kept[0].write_text(jupytext.writes(notebook, fmt="ipynb"), encoding="utf-8")
    try:
        from nbconvert import HTMLExporter  # noqa: PLC0415 - not needed, and not among our dependencies
    except ImportError:
        return tuple(kept)
    kept.append(out / f"{name}.html")
    exporter: Any = HTMLExporter
    kept[1].write_text(exporter().from_notebook_node(notebook)[0], encoding="utf-8")
    return tuple(kept)


def main(words: Sequence[str] | None = None) -> int:
    """Execute the notebooks that are named, or all; the process's exit code."""
    parser = argparse.ArgumentParser(prog="python -m lab.notebooks", description="Execute the notebooks.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which, by name; default: {', '.join(names())}")
    parser.add_argument("--out", type=Path, help="keep the executed notebooks in this folder")
    asked = parser.parse_args(words)
    try:
        for name in asked.names or names():
            begun = time.monotonic()
            done = execute(read(name), name)
            print(f"{name}: {time.monotonic() - begun:.1f} s")
            for file in save(done, name, asked.out) if asked.out else ():
                print(f"  {file}")
    except LabError as wrong:
        print(wrong, file=sys.stderr)
        return 2 if isinstance(wrong, Mistake) else 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
