"""Commands that say what there is."""

from __future__ import annotations

from lab.cli.common import Json, app, table


@app.command()
def scenarios(json_: Json = False) -> None:
    """List the questions the lab can ask."""
    from lab import plan as planning
    from lab.question import Study
    from lab.scenario import find_forecast, forecast_names

    found = [planning.find_question(name) for name in planning.scenario_names()]
    simulated = [(f.name, f.question, "simulated") for f in map(find_forecast, forecast_names())]
    rows = [(q.name, q.question, ",".join(q.subjects if isinstance(q, Study) else q.datapaths)) for q in found]
    table(("scenario", "question", "datapaths"), [*rows, *simulated], json_)


@app.command()
def datapaths(json_: Json = False) -> None:
    """List the datapaths that can be swapped for each other."""
    from lab import datapath

    found = [(name, datapath.find(name)) for name in datapath.names()]
    rows = [
        (
            n,
            (type(d).__doc__ or "").splitlines()[0],
            "pooled" if d.connections is None else str(d.connections),
            ", ".join(sorted(d.features)),
            d.install,
        )
        for n, d in found
    ]
    table(("datapath", "what it is", "connections", "features", "the cluster must have, by"), rows, json_)
