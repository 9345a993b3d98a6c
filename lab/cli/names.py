"""Commands that say what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
        (n, (type(d).__doc__ or "").splitlines()[0], str(d.connections), ", ".join(sorted(d.features)))
        for n, d in found
    ]
    table(("datapath", "what it is", "connections", "features"), rows, json_)


@app.command()
def claims(
    run_folder: Annotated[Path | None, typer.Argument(metavar="[RUN]", help="Judge by this run.")] = None,
    json_: Json = False,
) -> None:
    """List the claims under test, with the verdicts of a run if one is given."""
    from lab import claims as ledger
    from lab.store import Store

    verdicts = {v.claim: v for v in ledger.judge(Store.open(run_folder).summary())} if run_folder else {}
    rows = [
        (c.id, c.statement, c.scenario or "-", str(verdicts[c.id].word) if c.id in verdicts else "-")
        for c in ledger.CLAIMS
    ]
    table(("claim", "statement", "scenario", "verdict"), rows, json_)
