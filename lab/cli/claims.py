"""The command that reads the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lab import codec
from lab.cli.common import Json, Results, app, screen
from lab.record import Mistake


@app.command()
def claims(
    asked: Annotated[
        list[str] | None,
        typer.Argument(metavar="CLAIM|RUN", help="Claims by number (C7), runs by folder; default: all of both."),
    ] = None,
    results: Results = Path("results"),
    json_: Json = False,
) -> None:
    """List the claims under test: statement, source, rule, and what each run says of them.

    The verdict shown first is that of the newest run that could judge the claim.

    Example: mesh-lab claims C7
    """
    from lab import claims as ledger
    from lab.report import listing
    from lab.report.ledger import entries
    from lab.report.published import of_run, published
    from lab.store import Store

    known = {claim.id for claim in ledger.CLAIMS}
    wanted = {word.upper() for word in asked or () if word.upper() in known}
    folders = [Path(word) for word in asked or () if word.upper() not in known]
    if strange := next((f for f in folders if not f.is_dir()), None):
        raise Mistake(f"{strange} is no claim and no folder; claims are {', '.join(c.id for c in ledger.CLAIMS)}")
    found = [of_run(Store.open(folder)) for folder in folders] or published(results)
    shown = [entry for entry in entries(found) if not wanted or entry.claim.id in wanted]
    if json_:
        screen.print_json(codec.dumps([entry.data() for entry in shown]))
    elif wanted:
        for entry in shown:
            listing.detail(entry, screen)
    else:
        listing.show(shown, screen)
