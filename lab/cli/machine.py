"""Commands about this machine."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.markup import escape

from lab import codec
from lab.cli.common import Json, app, screen


@app.command()
def doctor(json_: Json = False) -> None:
    """Say what this machine can and cannot run, by trying, and what mends what it cannot."""
    from lab import doctor as examination

    health = examination.examine()
    if json_:
        screen.print_json(codec.dumps(health))
    else:
        examination.show(health, screen)
    raise typer.Exit(0 if health.ready else 1)


@app.command()
def clean(
    force: Annotated[bool, typer.Option("--force", help="Also end a run that is still going on.")] = False,
    json_: Json = False,
) -> None:
    """Remove whatever a killed run has left behind: processes, cgroups, folders, mounts."""
    from lab.cluster import local

    removed = local.clean(force=force)
    if json_:
        screen.print_json(json.dumps(list(removed)))
        return
    for line in removed or ("nothing was left behind",):
        screen.print(escape(line))
