"""Commands between the lab and other tools: what they measured comes in and is audited, what was measured goes out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from lab import codec
from lab.cli.common import Json, app, errors, new_folder, screen, show
from lab.foreign import Concern, Severity
from lab.record import Mistake

if TYPE_CHECKING:
    from lab.store import Store

Files = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE…", help="What a load generator wrote; one FILE a repetition. Two files of one run: a.txt+a.tsv."
    ),
]
Format = Annotated[
    str, typer.Option("--format", help="auto, fortio, wrk2, wrk, nighthawk, h2load or locust; auto refuses to guess.")
]
Baseline = Annotated[
    list[str] | None,
    typer.Option(help="A FILE of the same load without the datapath; give the option once for each repetition."),
]
Rate = Annotated[
    float | None,
    typer.Option(help="The rate asked, in requests/s, where the file does not tell it (wrk2, h2load)."),
]
ArmName = Annotated[str, typer.Option(help="What the FILEs are of.")]


@app.command()
def export(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A results folder.")],
    format_: Annotated[
        str, typer.Option("--format", help="hlog, fortio, smp, openmetrics or csv; what each holds is said above.")
    ],
    out: Annotated[
        str | None,
        typer.Option(help="File (hlog, openmetrics) or folder to make; -: one file on standard output."),
    ] = None,
    scenario: Annotated[str, typer.Option(help="Only this scenario.")] = "",
    block: Annotated[str, typer.Option(help="Only this block of windows, e.g. slices-5000.")] = "",
    arm: Annotated[str, typer.Option(help="Only this arm.")] = "",
    times: Annotated[str, typer.Option(help="hlog, fortio: response (from schedule), service (from send), both.")] = "",
    unit: Annotated[str, typer.Option(help="hlog: ns or us.")] = "",
    frame: Annotated[str, typer.Option(help="csv: one frame, or requests (with --arm and --block).")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace what is at --out.")] = False,
) -> None:
    """Write a stored run in a format that other tools read. The run is checked first and never changed.

    hlog: an HdrHistogram log, one tagged line a window of each arm, from raw requests.
    fortio: Fortio's JSON, a file an arm and block.
    smp: Service Mesh Performance, protobuf and JSON, four files an arm and block.
    openmetrics: the whole run as one OpenMetrics text.
    csv: every frame of lab.report as a tidy file, and columns.csv that says what columns mean.

    Default place: exports/<run>.hlog, exports/<run>-fortio/, and so on.

    Example: mesh-lab export results/20261123-quick --format hlog --block slices-5000 --out -

    Example: mesh-lab export results/20261123-quick --format csv --frame latencies --out -
    """
    from lab import check as checking
    from lab.exchange import export as exporting
    from lab.exchange.export.asked import Asked

    store = _stored(run_folder)
    if problems := checking.check(run_folder):
        raise Mistake(
            f"{run_folder} has {len(problems)} problems, so nothing is exported; see `mesh-lab check {run_folder}`"
        )
    made = exporting.export(store, format_, Asked(scenario, block, arm, times, unit, frame))
    if out == exporting.STANDARD_OUTPUT:
        sys.stdout.buffer.write(exporting.only(made))
        sys.stdout.buffer.flush()
        return
    paths = exporting.write(made, Path(out) if out else exporting.place(store, format_), force=force)
    for path in paths:
        errors.print(escape(str(path)), highlight=False, soft_wrap=True)


@app.command("import")
def import_(
    files: Files,
    format_: Format = "auto",
    arm: ArmName = "imported",
    baseline: Baseline = None,
    rate: Rate = None,
    out: Annotated[Path | None, typer.Option(help="Results folder to make; default: results/<time>-import.")] = None,
    json_: Json = False,
) -> None:
    """Keep what other load generators measured as a run of origin `imported`, with an audit of its methods.

    The files are kept byte for byte. Such a run is shown in reports and comparisons, marked; it judges no claim.

    Example: mesh-lab import mesh-*.json --arm mesh --baseline plain-1.json --baseline plain-2.json

    Example: mesh-lab import run.txt+run.tsv --format h2load --rate 5000
    """
    from lab import session
    from lab.exchange.given import repetitions
    from lab.exchange.keep import keep

    found = repetitions(files, baseline or (), format=format_, arm=arm, stated_per_s=rate)
    store = keep(out or new_folder("import"), found, command=" ".join(["mesh-lab", *sys.argv[1:]]))
    session.report(store)
    show(store.folder, json_)


@app.command()
def audit(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE…|RUN", help="What a load generator wrote, or one results folder.")
    ],
    format_: Format = "auto",
    arm: ArmName = "imported",
    baseline: Baseline = None,
    rate: Rate = None,
    json_: Json = False,
) -> None:
    """Say what the way of measuring takes from a result: closed loops, omitted requests, single runs, and more.

    Exit code 0: nothing serious; 1: something serious; 2: the file cannot be read.

    Example: mesh-lab audit wrk2.txt --rate 2000

    Example: mesh-lab audit results/20261123-quick
    """
    from lab.exchange.audit import audit as judge
    from lab.exchange.audit import grave, samples
    from lab.exchange.given import repetitions
    from lab.exchange.own import audit_run, of_run

    folders = [Path(name) for name in files if Path(name).is_dir()]
    if folders and (len(files) > 1 or baseline):
        raise Mistake(f"{folders[0]} is a results folder; audit one folder alone, or files")
    if folders:
        store = _stored(folders[0])
        found, concerns = of_run(store), audit_run(store)
    else:
        given = repetitions(files, baseline or (), format=format_, arm=arm, stated_per_s=rate)
        found = samples(one.imported for one in given)
        concerns = judge(found)
    if json_:
        screen.print_json(codec.dumps({"samples": found, "concerns": concerns, "serious": grave(concerns)}))
    else:
        _print(len(found), concerns)
    raise typer.Exit(1 if grave(concerns) else 0)


def _stored(folder: Path) -> Store:
    """A run; `Mistake` for a forecast, which holds nothing that was measured."""
    from lab import forecast as forecasting
    from lab.store import Store

    if forecasting.is_forecast(folder):
        raise Mistake(f"{folder} is a forecast, not a run: nothing in it was measured; name a run")
    return Store.open(folder)


def _print(count: int, concerns: Sequence[Concern]) -> None:
    """One paragraph a concern, the gravest first."""
    colours = {Severity.SERIOUS: "red", Severity.LIMIT: "yellow", Severity.NOTE: "dim"}
    for concern in concerns:
        head = f"[{colours[concern.severity]}]{concern.severity}[/] [bold]{concern.rule}[/] of {escape(concern.sample)}"
        screen.print(f"{head}: {escape(concern.because)}", highlight=False)
        screen.print(f"    {escape('; '.join(concern.evidence))}\n    {escape(concern.source)}", highlight=False)
    if not concerns:
        screen.print(f"no rule had anything to say of {count} {'sample' if count == 1 else 'samples'}")
