"""Runs the notebooks: `python -m lab.notebooks [--out FOLDER] [NAME…]` executes each from start to end in a kernel.

`--run FOLDER` reads another run than the published one: a notebook that can has a cell tagged `parameters` with RUN in
it, and another is put below it (the convention of papermill). With `--out` each is kept as a page and as .ipynb.

Notebooks are Python scripts in percent format (jupytext); what they print and draw is not kept in git. The kernel is
the Python that runs this, whatever kernels a user has installed. The first error ends it, with the cell that caused it.
A warning from the lab's own modules is an error.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import jupytext  # type: ignore[import-untyped, unused-ignore]
import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from lab.record import CannotRun, Failed, LabError, Mistake
from lab.report.executed import page

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"
CELL_S = 300  # the longest that one cell may take
WARNINGS = "error:::lab"
PARAMETERS = "parameters"  # the tag of a cell that says what is read


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


def prepared(name: str, run: Path | None) -> nbformat.NotebookNode:
    """A notebook, on another run where one is given. `Mistake` where it can read no other, or there is no such run."""
    notebook = read(name)
    if run is None:
        return notebook
    if not run.is_dir():
        raise Mistake(f"no folder {run}; runs are folders below results/")
    place = next((n for n, cell in enumerate(notebook.cells) if PARAMETERS in cell.metadata.get("tags", ())), None)
    if place is None:
        raise Mistake(f"notebook {name} reads published runs only; those with --run: {', '.join(free())}")
    cell = nbformat.v4.new_code_cell(f"RUN = {str(run.resolve())!r}")  # type: ignore[no-untyped-call, unused-ignore]
    notebook.cells.insert(place + 1, cell)
    return notebook


def free() -> tuple[str, ...]:
    """The notebooks that can read a run of one's own."""
    return tuple(n for n in names() if any(PARAMETERS in c.metadata.get("tags", ()) for c in read(n).cells))


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
    """Write the executed notebook as a page, and as a notebook for Jupyter."""
    out.mkdir(parents=True, exist_ok=True)
    made = {"html": page(notebook, name), "ipynb": jupytext.writes(notebook, fmt="ipynb")}
    for ending, text in made.items():
        (out / f"{name}.{ending}").write_text(text, encoding="utf-8")
    return tuple(out / f"{name}.{ending}" for ending in made)


def chosen(asked: Sequence[str], run: Path | None) -> tuple[str, ...]:
    """Those that were asked for, by name or by the beginning of one; where none was, all that can read that run."""
    whole = {word: [name for name in names() if name.startswith(word)] for word in asked}
    return tuple(found[0] if len(found) == 1 else word for word, found in whole.items()) or (free() if run else names())


def keep(name: str, run: Path | None, out: Path | None, *, quiet: bool = False) -> tuple[Path, ...]:
    """Execute a notebook and keep it where a folder is given; says how long it took, and what was kept."""
    begun = time.monotonic()
    done = execute(prepared(name, run), name)
    kept = save(done, name, out) if out else ()
    for line in () if quiet else (f"{name}: {time.monotonic() - begun:.1f} s", *(f"  {file}" for file in kept)):
        print(line, flush=True)
    return kept


def open_in_jupyter(asked: Sequence[str], run: Path | None, out: Path, port: int) -> NoReturn:
    """Become JupyterLab on 127.0.0.1 with copies of these notebooks in `out`; a copy that is there stays as it is.

    `CannotRun` where JupyterLab is not installed.
    """
    if importlib.util.find_spec("jupyterlab") is None:
        raise CannotRun(
            f"JupyterLab is not installed: {sys.executable} -m pip install jupyterlab; or open notebooks/*.py in an"
            " editor that knows percent scripts, or leave --jupyter out"
        )
    out.mkdir(parents=True, exist_ok=True)
    for name in asked:
        copy = out / f"{name}.ipynb"
        if not copy.exists():
            copy.write_text(jupytext.writes(prepared(name, run), fmt="ipynb"), encoding="utf-8")
    words = ("--ip=127.0.0.1", f"--port={port}", "--no-browser", f"--ServerApp.root_dir={out.resolve()}")
    root = ("--allow-root",) if os.geteuid() == 0 else ()  # measuring needs it
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    argv = [sys.executable, "-m", "jupyterlab", *words, *root]
    os.execve(sys.executable, argv, {**os.environ, "PYTHONPATH": paths})  # noqa: S606 - no shell is wanted


def main(words: Sequence[str] | None = None) -> int:
    """Execute the notebooks that are named, or all; the process's exit code."""
    parser = argparse.ArgumentParser(prog="python -m lab.notebooks", description="Execute the notebooks.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which, by name; default: {', '.join(names())}")
    parser.add_argument("--run", type=Path, help=f"read this run instead of the published one ({', '.join(free())})")
    parser.add_argument("--out", type=Path, help="keep the executed notebooks in this folder")
    asked = parser.parse_args(words)
    try:
        for name in chosen(asked.names, asked.run):
            keep(name, asked.run, asked.out)
    except LabError as wrong:
        print(wrong, file=sys.stderr)
        return 2 if isinstance(wrong, Mistake) else 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
