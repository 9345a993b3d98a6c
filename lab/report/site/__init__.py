"""The published site: everything in `results/` as pages that need no network, no script and no server."""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.compile import ROOT
from lab.record import Mistake

MARK = "style.css"  # a folder without it was not made here


def build(results: Path, out: Path, root: Path = ROOT) -> Path:
    """Write the site of everything below `results` into `out`; its first page.

    `root` is where the documents are. The same results make the same bytes. What was in `out` is replaced as a whole,
    unless it is no site: `Mistake`. `Mistake` also where a folder of results is not what was written.
    """
    from lab.report.site.pages import files  # noqa: PLC0415 - matplotlib takes a second to load

    if out.exists() and not (out / MARK).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise Mistake(f"{out} exists and is no site of this lab; choose another folder, or remove it")
    made = files(results, root)
    scratch = out.with_name(f".{out.name}.new")
    shutil.rmtree(scratch, ignore_errors=True)
    for name, raw in made.items():
        (scratch / name).parent.mkdir(parents=True, exist_ok=True)
        (scratch / name).write_bytes(raw)
    shutil.rmtree(out, ignore_errors=True)
    scratch.rename(out)
    return out / "index.html"
