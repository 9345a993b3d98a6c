"""Words to calls: the command line. Every command is one call into the lab; errors become one line and an exit code.

0: done. 1: something the lab started failed, or a check found a problem. 2: what was asked cannot be done. 130: Ctrl-C.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer
import typer.core
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lab import codec
from lab.record import CannotRun, LabError, Mistake, Placement

screen = Console()
errors = Console(stderr=True)


class Commands(typer.core.TyperGroup):
    """All commands end the same way: a user's mistake is one line and a code, never a traceback."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _complain("interrupted; what was started has been removed, finished trials are kept", 130)
        except (Mistake, CannotRun) as error:
            _complain(str(error), 2)
        except LabError as error:
            _complain(str(error), 1)
        except BrokenPipeError:  # the reader of our output has gone, as with `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return None


def _complain(text: str, code: int) -> NoReturn:
    errors.print(f"mesh-lab: {escape(text)}", highlight=False, soft_wrap=True)
    sys.exit(code)


app = typer.Typer(
    name="mesh-lab",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Measures service-mesh datapaths against each other: eBPF in the kernel, a proxy per node, a sidecar per pod.",
    epilog="Try `mesh-lab doctor`, then `mesh-lab reproduce`. Each run is a folder below results/, with a report.",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")]
Results = Annotated[Path, typer.Option("--results", help="Folder that holds the runs.")]
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
    profile: Annotated[
        str, typer.Option(help="How much: smoke (about a minute), quick (minutes), full (hours).")
    ] = "quick",
    cluster: Annotated[str, typer.Option(help="Where: local.")] = "local",
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
    """
    from lab import plan as planning
    from lab import session

    if resume is not None:
        store = session.resume(resume, _say(json_))
    else:
        _known(cpus, ("shared", "per_node"), "--cpus")
        _known(cluster, ("local",), "--cluster")
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
            cluster=cluster,
            overlay=overlay,
            cpus=cpus,
            awake=session.on_virtual_machine() if awake is None else awake,
            command=" ".join(["mesh-lab", *sys.argv[1:]]),
        )
        asked = session.foretell(asked, calibration)
        store = session.start(asked, out or _folder(profile), _say(json_))
    _show(store.folder, json_)


@app.command()
def reproduce(
    profile: Annotated[str, typer.Option(help="How much: smoke, quick or full.")] = "quick",
    seed: Annotated[int, typer.Option(help="Decides every random choice.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Results folder to make.")] = None,
    json_: Json = False,
) -> None:
    """Measure every claim that this machine can measure, write the report, print the verdicts."""
    run(list(ALL), profile=profile, seed=seed, out=out, json_=json_)


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
def check(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A results folder.")],
    strict: Annotated[
        bool, typer.Option("--strict", help="Also recompute gates and summary; every file accounted for.")
    ] = False,
    json_: Json = False,
) -> None:
    """Verify that nothing in a results folder has changed since it was measured."""
    from lab import check as checking

    if not run_folder.is_dir():
        raise Mistake(f"no folder {run_folder}; published runs are folders below results/")
    from lab import forecast as forecasting

    judge = forecasting.check if forecasting.is_forecast(run_folder) else checking.check
    problems = judge(run_folder, strict=strict)
    if json_:
        screen.print_json(codec.dumps(problems))
    for problem in () if json_ else problems:
        screen.print(f"[red]{escape(problem.file)}[/]: {escape(problem.what)} ({escape(problem.means)})")
    if not problems and not json_:
        screen.print(f"{escape(str(run_folder))}: unchanged{', complete and recomputed' if strict else ''}")
    raise typer.Exit(1 if problems else 0)


@app.command()
def report(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A results folder.")], json_: Json = False
) -> None:
    """Build the report of a run again from its stored trials, and print the verdicts."""
    from lab import session
    from lab.store import Store

    session.report(Store.open(run_folder))
    _show(run_folder, json_)


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="A results folder.")],
    b: Annotated[Path, typer.Argument(help="Another one.")],
    force: Annotated[bool, typer.Option("--force", help="Compare even where cluster or features differ.")] = False,
    json_: Json = False,
) -> None:
    """Set two runs side by side: verdicts, ratios and whether their intervals overlap."""
    from lab.report import compare as comparing
    from lab.store import Store

    side_by_side = comparing.compare(Store.open(a), Store.open(b), force=force)
    if json_:
        screen.print_json(codec.dumps(side_by_side))
    else:
        comparing.show(side_by_side, screen)


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
    folder = out or _folder(forecast)
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


@app.command()
def scenarios(json_: Json = False) -> None:
    """List the questions the lab can ask."""
    from lab import plan as planning
    from lab.question import Study
    from lab.scenario import find_forecast, forecast_names

    found = [planning.find_question(name) for name in planning.scenario_names()]
    simulated = [(f.name, f.question, "simulated") for f in map(find_forecast, forecast_names())]
    rows = [(q.name, q.question, ",".join(q.subjects if isinstance(q, Study) else q.datapaths)) for q in found]
    _table(("scenario", "question", "datapaths"), [*rows, *simulated], json_)


@app.command()
def datapaths(json_: Json = False) -> None:
    """List the datapaths that can be swapped for each other."""
    from lab import datapath

    found = [(name, datapath.find(name)) for name in datapath.names()]
    rows = [
        (n, (type(d).__doc__ or "").splitlines()[0], str(d.connections), ", ".join(sorted(d.features)))
        for n, d in found
    ]
    _table(("datapath", "what it is", "connections", "features"), rows, json_)


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
    _table(("claim", "statement", "scenario", "verdict"), rows, json_)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], as_json: bool) -> None:
    if as_json:
        screen.print_json(json.dumps([dict(zip(head, row, strict=True)) for row in rows]))
        return
    table = Table(*head)
    for row in rows:
        table.add_row(*map(escape, row))
    screen.print(table)


def _show(folder: Path, as_json: bool) -> None:
    from lab import claims as ledger
    from lab.report import console
    from lab.store import Store

    summary = Store.open(folder).summary()
    verdicts = ledger.judge(summary)
    if as_json:
        screen.print_json(codec.dumps({"folder": str(folder), "verdicts": verdicts, "summary": summary}))
        return
    console.show(summary, verdicts, screen)
    screen.print(f"report: {escape(str(folder / 'report' / 'index.html'))}")


def _say(quiet: bool) -> Callable[[str], None]:
    """Progress between measurements goes to standard error, so that standard output stays clean."""
    return (lambda _: None) if quiet else (lambda text: errors.print(escape(text), highlight=False))


def _known(given: str, allowed: tuple[str, ...], option: str) -> None:
    if given not in allowed:
        raise Mistake(f"{option} {given!r} is unknown; allowed: {', '.join(allowed)}")


def _folder(profile: str) -> Path:
    return Path("results") / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{profile}"


def _terminated(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of `mesh-lab`."""
    signal.signal(signal.SIGTERM, _terminated)
    app()
