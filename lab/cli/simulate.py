"""The command that forecasts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from lab import codec
from lab.cli.common import Json, app, new_folder, screen


@app.command()
def simulate(
    forecast: Annotated[str, typer.Argument(help="The forecast to answer, by name.")] = "fleet_15k",
    graph: Annotated[Path | None, typer.Option(help="Service graph of your own, TOML or YAML.")] = None,
    nodes: Annotated[int | None, typer.Option(help="Nodes of the cluster.")] = None,
    pods_per_node: Annotated[int | None, typer.Option(help="Pods on each.")] = None,
    services: Annotated[int | None, typer.Option(help="Services of the graph that is generated.")] = None,
    rate: Annotated[float | None, typer.Option(help="Requests/s from outside, in the whole cluster.")] = None,
    visibility: Annotated[str | None, typer.Option(help="Tables of proxies: full or scoped.")] = None,
    calibration: Annotated[Path | None, typer.Option(help="What to calculate from; default: the shipped one.")] = None,
    machine_class: Annotated[
        str | None, typer.Option(help="Refuse a calibration of any other class of machine.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides every random choice.")] = 1,
    sweep: Annotated[str | None, typer.Option(help="Memory at several sizes, e.g. nodes=100,500,5000.")] = None,
    backend: Annotated[str, typer.Option(help="Who shares a sweep's work: loky, dask, ray.")] = "loky",
    out: Annotated[Path | None, typer.Option(help="Results folder to make.")] = None,
    json_: Json = False,
) -> None:
    """Forecast a cluster that nobody here can run, from what was measured. Needs no root.

    Example: mesh-lab simulate fleet_15k --nodes 5000 --pods-per-node 30
    """
    from dataclasses import replace

    from lab import forecast as forecasting
    from lab.report import console
    from lab.report.forecast import tables
    from lab.scenario import find_forecast
    from lab.sim.calibration import SHIPPED
    from lab.sim.graph import read

    given = {"nodes": nodes, "pods_per_node": pods_per_node, "services": services}
    given |= {"rate_per_s": rate, "visibility": visibility}  # type: ignore[dict-item]
    asked = replace(find_forecast(forecast), **{k: v for k, v in given.items() if v is not None})  # type: ignore[arg-type]
    folder = out or new_folder(forecast)
    folder.parent.mkdir(parents=True, exist_ok=True)
    answer = forecasting.run(
        asked,
        folder,
        calibration=calibration or SHIPPED,
        graph=read(graph) if graph else None,
        seed=seed,
        sweep=forecasting.sweep_of(sweep) if sweep else None,
        backend=backend,
        machine=machine_class,
    )
    if json_:
        screen.print_json(codec.dumps({"folder": str(folder), "answer": answer}))
        return
    for title, table in tables(answer):
        screen.print(console.grid(table, title))
    for line in (*answer.words, *answer.notes):
        screen.print(escape(line), highlight=False)
    screen.print(f"report: {escape(str(folder / 'report' / 'index.html'))}")
