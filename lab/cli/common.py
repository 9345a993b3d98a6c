"""What all commands share: the application, its screens and options, and how a command ends.

0: done. 1: something the lab started failed, or a check found a problem. 2: what was asked cannot be done. 130: Ctrl-C.
"""

from __future__ import annotations

import json
import os
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
from lab.record import CannotRun, LabError, Mistake

screen = Console()
errors = Console(stderr=True)


class Commands(typer.core.TyperGroup):
    """All commands end the same way: a user's mistake is one line and a code, never a traceback."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            complain("interrupted; what was started has been removed, finished trials are kept", 130)
        except (Mistake, CannotRun) as error:
            complain(str(error), 2)
        except LabError as error:
            complain(str(error), 1)
        except BrokenPipeError:  # the reader of our output has gone, as with `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return None


def complain(text: str, code: int) -> NoReturn:
    """One line on standard error, and the end."""
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


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], as_json: bool) -> None:
    """Rows as a table for people, or as JSON for programs."""
    if as_json:
        screen.print_json(json.dumps([dict(zip(head, row, strict=True)) for row in rows]))
        return
    grid = Table(*head)
    for row in rows:
        grid.add_row(*map(escape, row))
    screen.print(grid)


def show(folder: Path, as_json: bool) -> None:
    """A finished run: verdicts and tables, and where its report is."""
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


def say(quiet: bool) -> Callable[[str], None]:
    """Progress between measurements goes to standard error, so that standard output stays clean."""
    return (lambda _: None) if quiet else (lambda text: errors.print(escape(text), highlight=False))


def known(given: str, allowed: tuple[str, ...], option: str) -> None:
    """`Mistake` unless an option was given one of the words it allows."""
    if given not in allowed:
        raise Mistake(f"{option} {given!r} is unknown; allowed: {', '.join(allowed)}")


def new_folder(name: str) -> Path:
    """Where a run is written when nothing else was asked."""
    return Path("results") / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{name}"
