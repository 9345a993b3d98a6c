"""Commands about this machine."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.markup import escape

from lab import codec
from lab.cli.common import Json, app, screen


@app.command()
def doctor(
    cluster: Annotated[
        str,
        typer.Option(help="local: this machine. kube:CONTEXT: what a Kubernetes cluster is and which meshes it has."),
    ] = "local",
    json_: Json = False,
) -> None:
    """Say what this machine can and cannot run, by trying, and what mends what it cannot.

    Example: mesh-lab doctor --cluster kube:kind-mesh-lab
    """
    from lab import doctor as examination

    if cluster != "local":
        facts, meshes = _elsewhere(cluster)
        if json_:
            screen.print_json(codec.dumps({"cluster": facts, "meshes": meshes}))
            return
        for words in (*(f"{k} {v}" for k, v in facts.items()), *(f"{k}: {v}" for k, v in meshes.items())):
            screen.print(escape(words), highlight=False, soft_wrap=True)
        return
    health = examination.examine()
    if json_:
        screen.print_json(codec.dumps(health))
    else:
        examination.show(health, screen)
    raise typer.Exit(0 if health.ready else 1)


def _elsewhere(word: str) -> tuple[dict[str, str], dict[str, str]]:
    """Facts of a cluster; and of each datapath that must be there already what was found, or what installs it."""
    from lab import datapath
    from lab.cluster import choice
    from lab.record import CannotRun, Mistake

    settled = choice.settled(word)
    if not settled.startswith("kube:"):
        raise Mistake(f"--cluster {word!r}; a cluster that is there is examined by its context: kube:CONTEXT")
    meshes = {}
    with choice.opened(settled, "doctor", overlay=False, cpus="shared") as cluster:
        for name, found in ((name, datapath.find(name)) for name in datapath.names()):
            if found.install:
                try:
                    meshes[name] = ", ".join(f"{what} {value}" for what, value in found.found(cluster).items())
                except CannotRun as lacks:
                    meshes[name] = f"does not run: {lacks}"
        return dict(cluster.facts()), meshes


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
