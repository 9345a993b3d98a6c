"""Commands that read stored runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from lab import codec
from lab.cli.common import Json, app, screen, show
from lab.record import Mistake


@app.command()
def check(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A results folder.")],
    strict: Annotated[
        bool, typer.Option("--strict", help="Also recompute gates and summary; every file accounted for.")
    ] = False,
    json_: Json = False,
) -> None:
    """Verify that nothing in a results folder has changed since it was measured."""
    from lab import check as checking

    if not run_folder.is_dir():
        raise Mistake(f"no folder {run_folder}; published runs are folders below results/")
    from lab import forecast as forecasting

    judge = forecasting.check if forecasting.is_forecast(run_folder) else checking.check
    problems = judge(run_folder, strict=strict)
    if json_:
        screen.print_json(codec.dumps(problems))
    for problem in () if json_ else problems:
        screen.print(f"[red]{escape(problem.file)}[/]: {escape(problem.what)} ({escape(problem.means)})")
    if not problems and not json_:
        screen.print(f"{escape(str(run_folder))}: unchanged{', complete and recomputed' if strict else ''}")
    raise typer.Exit(1 if problems else 0)


@app.command()
def report(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A results folder.")], json_: Json = False
) -> None:
    """Build the report of a run again from its stored trials, and print the verdicts."""
    from lab import session
    from lab.store import Store

    session.report(Store.open(run_folder))
    show(run_folder, json_)


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="A results folder.")],
    b: Annotated[Path, typer.Argument(help="Another one.")],
    force: Annotated[bool, typer.Option("--force", help="Compare even where cluster or features differ.")] = False,
    json_: Json = False,
) -> None:
    """Set two runs side by side: verdicts, ratios and whether their intervals overlap."""
    from lab.report import compare as comparing
    from lab.store import Store

    side_by_side = comparing.compare(Store.open(a), Store.open(b), force=force)
    if json_:
        screen.print_json(codec.dumps(side_by_side))
    else:
        comparing.show(side_by_side, screen)
