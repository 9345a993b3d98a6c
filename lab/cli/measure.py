"""Commands that measure."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from lab.cli.common import Json, app, known, new_folder, say, screen, show
from lab.record import Placement

ALL = ("http_visibility", "connections", "proxies_15k")


@app.command()
def run(
    scenarios: Annotated[list[str], typer.Argument(help="Questions to ask, by name (see `mesh-lab scenarios`).")],
    datapaths: Annotated[
        str | None, typer.Option(help="Arms to compare, comma-separated; default: the scenario's own.")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Only this rate, in requests/s of one client.")] = None,
    connections: Annotated[int | None, typer.Option(help="Connections of each client.")] = None,
    duration: Annotated[float | None, typer.Option(help="Length of each arm's whole window, in seconds.")] = None,
    deployments: Annotated[int | None, typer.Option(help="How often everything is placed anew.")] = None,
    placement: Annotated[Placement | None, typer.Option(help="Where client and server live.")] = None,
    users: Annotated[int | None, typer.Option(help="Journeys: the most users at once.")] = None,
    processes: Annotated[int | None, typer.Option(help="Journeys: worker processes that Locust forks.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Journeys: Locust workers, each started on its own, beside a master.")
    ] = None,
    engines: Annotated[
        int | None,
        typer.Option(help="Client pods that share each load by one schedule; journeys: that share Locust's workers."),
    ] = None,
    web_ui: Annotated[
        int | None, typer.Option(help="Journeys: show Locust's pages on this port of 127.0.0.1 while it runs.")
    ] = None,
    profile: Annotated[
        str, typer.Option(help="How much: smoke (about a minute), quick (minutes), full (hours).")
    ] = "quick",
    cluster: Annotated[
        str, typer.Option(help="Where: local, kind[:NAME], or kube:CONTEXT of your kubeconfig.")
    ] = "local",
    overlay: Annotated[bool, typer.Option("--overlay", help="Carry pod traffic between nodes over VXLAN.")] = False,
    cpus: Annotated[str, typer.Option(help="per_node: each node has its own cores; shared: any core.")] = "per_node",
    awake: Annotated[
        bool | None,
        typer.Option(help="Keep idle cores from halting (spins at the lowest priority); default: on virtual machines."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides every random choice: order, schedule, rotation.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Results folder to make; default: results/<time>-<profile>.")] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="What predictions are made from (scenario holdout); default: the shipped one.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with a run that was interrupted.")] = None,
    json_: Json = False,
) -> None:
    """Measure one or more scenarios and write a report.

    Example: mesh-lab run http_visibility --datapaths none,ebpf --rate 10000

    Example: mesh-lab run journeys_browse --users 100 --web-ui 8089

    Example: mesh-lab run http_visibility --datapaths none,ebpf --rate 40000 --engines 4 --cluster kube
    """
    from lab import plan as planning
    from lab import session
    from lab.cluster import choice

    if resume is not None:
        store = session.resume(resume, say(json_))
    else:
        known(cpus, ("shared", "per_node"), "--cpus")
        asked = planning.plan(
            [planning.find_question(s) for s in scenarios],
            profile,
            seed=seed,
            datapaths=tuple(datapaths.split(",")) if datapaths else None,
            rate=rate,
            connections=connections,
            duration_s=duration,
            placement=placement,
            deployments=deployments,
            users=users,
            processes=processes,
            workers=workers,
            web_ui=web_ui,
            engines=engines,
            cluster=choice.settled(cluster),
            overlay=overlay,
            cpus=cpus,
            awake=session.on_virtual_machine() if awake is None else awake,
            command=" ".join(["mesh-lab", *sys.argv[1:]]),
        )
        asked = session.foretell(asked, calibration)
        store = session.start(asked, out or new_folder(profile), say(json_))
    show(store.folder, json_)


@app.command()
def reproduce(
    profile: Annotated[str, typer.Option(help="How much: smoke, quick or full.")] = "quick",
    seed: Annotated[int, typer.Option(help="Decides every random choice.")] = 1,
    cluster: Annotated[
        str, typer.Option(help="Where: local, kind[:NAME], or kube:CONTEXT of your kubeconfig.")
    ] = "local",
    out: Annotated[Path | None, typer.Option(help="Results folder to make.")] = None,
    json_: Json = False,
) -> None:
    """Measure every claim that this machine can measure, write the report, print the verdicts.

    Example: mesh-lab reproduce --cluster kind
    """
    run(list(ALL), profile=profile, seed=seed, cluster=cluster, out=out, json_=json_)


@app.command()
def calibrate(
    runs: Annotated[list[Path], typer.Argument(help="Results folders of the studies proxy_memory, socket_memory, …")],
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("calibration.json"),
    json_: Json = False,
) -> None:
    """Make what the simulator needs from stored runs: memory by size, time and processor time by rate.

    Example: mesh-lab calibrate results/20261123-proxy-memory results/20261123-hop-costs
    """
    from lab.sim.calibrate import calibrate as made
    from lab.store import Store

    found = made([Store.open(folder) for folder in runs])
    found.save(out)
    if json_:
        print(json.dumps({"file": str(out), "runs": found.runs, "quantities": len(found.quantities)}))
    else:
        screen.print(f"{out}: {len(found.quantities)} quantities, {len(found.tables)} tables, {', '.join(found.runs)}")
