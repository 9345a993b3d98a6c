"""Commands that make pages of what is stored: the site, and notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from lab.cli.common import Json, Results, app, screen


@app.command()
def site(
    results: Results = Path("results"),
    out: Annotated[Path, typer.Option(help="Folder to make; a site that is there is replaced.")] = Path("site"),
    serve: Annotated[int | None, typer.Option(metavar="PORT", help="Show it on this port of 127.0.0.1.")] = None,
    json_: Json = False,
) -> None:
    """Build the pages of all published runs, claims and forecasts. They need no network, no script and no server.

    Example: mesh-lab site --serve 8000
    """
    from lab.record import Mistake
    from lab.report import site as pages
    from lab.report.site.serve import show

    if not results.is_dir():
        raise Mistake(f"no folder {results}; name the one that holds the runs with --results")
    index = pages.build(results, out)
    if json_:
        screen.print_json(data={"index": str(index)})
    else:
        screen.print(escape(str(index)))
    if serve is not None:
        show(out, serve, lambda address: screen.print(f"{address} (Ctrl-C ends it)"))


@app.command()
def notebook(
    names: Annotated[list[str] | None, typer.Argument(help="Notebooks by name; default: all.")] = None,
    run: Annotated[Path | None, typer.Option(help="Read this run instead of the published one.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for pages and notebooks.")] = Path("results/notebooks"),
    jupyter: Annotated[
        int | None, typer.Option(metavar="PORT", help="Do not execute: open them in JupyterLab on 127.0.0.1:PORT.")
    ] = None,
    json_: Json = False,
) -> None:
    """Execute notebooks and keep each as a page to read and as .ipynb to go on with.

    Example: mesh-lab notebook 01_read_a_run --run results/20261123-quick
    """
    from lab import notebooks

    chosen = notebooks.chosen(names or (), run)
    if jupyter is not None:
        notebooks.open_in_jupyter(chosen, run, out, jupyter)
    kept = [file for name in chosen for file in notebooks.keep(name, run, out, quiet=json_)]
    if json_:
        screen.print_json(data=[str(file) for file in kept])
