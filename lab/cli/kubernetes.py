"""The command that shows what would be applied to Kubernetes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lab.cli.common import app, errors
from lab.cluster import Layout
from lab.record import Mistake, Scenario


@app.command()
def manifests(
    scenario: Annotated[str | None, typer.Argument(help="A scenario, by name (see `mesh-lab scenarios`).")] = None,
    datapath: Annotated[str, typer.Option(help="The arm to show.")] = "none",
    profile: Annotated[str, typer.Option(help="How much: smoke, quick or full.")] = "smoke",
    out: Annotated[str, typer.Option(help="Folder for one file per object; -: all on standard output.")] = "-",
    check_server: Annotated[
        str | None, typer.Option(help="Let the cluster of this kubeconfig context judge them, keeping nothing.")
    ] = None,
    rights: Annotated[bool, typer.Option("--rights", help="Instead: the cluster role that running needs.")] = False,
) -> None:
    """Write everything that a run would apply to a Kubernetes cluster, as plain YAML.

    Example: mesh-lab manifests http_visibility --datapath sidecar | less
    """
    from lab import datapath as datapaths
    from lab.cluster.kubernetes import names, preview
    from lab.cluster.kubernetes.client import ApiClient
    from lab.cluster.kubernetes.rights import role

    if rights:
        print(preview.document(role(datapaths.find(datapath).rights)), end="")
        return
    if scenario is None:
        raise Mistake("no scenario was given; name one of `mesh-lab scenarios`, or ask for --rights")
    made, what = (
        preview.everything(deployment(scenario, datapath, profile), names.image()),
        f"scenario {scenario}, datapath {datapath}",
    )
    if out == "-":
        print(preview.text(made, what), end="")
    else:
        files = preview.write(made, what, Path(out))
        errors.print(f"{len(files)} files in {out}", highlight=False)
    if check_server is not None:
        client = ApiClient(check_server)
        count = preview.checked(made, client)
        errors.print(f"the API server of {client.context} takes all {count} of them", highlight=False)
        client.close()


def deployment(scenario: str, arm: str, profile: str) -> Layout:
    """The scenario's deployment with one arm alone."""
    from lab import plan as planning
    from lab import trial
    from lab.question import Study
    from lab.record import Arm, Trial

    question = planning.find_question(scenario)
    if not isinstance(question, Scenario):
        kind = "study" if isinstance(question, Study) else "journey"
        raise Mistake(f"{scenario} is a {kind}; those run on local: name a scenario")
    names = ("none",) if arm == "none" else ("none", arm)
    like = planning.plan([question], profile, seed=1, datapaths=names).trials[0]
    return trial.layout(Trial(like.name, scenario, 1, like.seed, (Arm(arm, arm),), (0,), like.placement, like.blocks))
