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
    cluster: Annotated[
        str, typer.Option(help="Where: local, kind[:NAME], or kube:CONTEXT of your kubeconfig.")
    ] = "local",
    run: Annotated[str | None, typer.Option(help="On Kubernetes: only what this run made.")] = None,
    json_: Json = False,
) -> None:
    """Remove whatever a killed run has left behind: processes, cgroups, folders, mounts; or its namespaces.

    Example: mesh-lab clean --cluster kube:kind-mesh-lab
    """
    from lab.cluster import choice, local
    from lab.record import Mistake

    if not choice.here(choice.settled(cluster)):
        if force:
            raise Mistake("--force has no meaning on Kubernetes: what is there is removed, in use or not; leave it out")
        removed = choice.clean(cluster, run)
    elif run is not None:
        raise Mistake(f"--run {run!r} narrows what is removed from Kubernetes; add --cluster, or leave it out")
    else:
        removed = local.clean(force=force)
    if json_:
        screen.print_json(json.dumps(list(removed)))
        return
    for line in removed or ("nothing was left behind",):
        screen.print(escape(line))
