"""The command for CI: is this version of a datapath slower than that one?

Its exit code says it: 0 passed, 1 slower, 2 it could not judge. Nothing else ends with 1 here: what breaks ends with 2.
"""

from __future__ import annotations

import shlex
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lab import codec
from lab.cli.common import Json, app, complain, errors, new_folder, say, screen
from lab.record import LabError, Mistake

if TYPE_CHECKING:
    from lab.regression import Limits, Ruling

OF_ONE_RUN = ("--deployments", "--out", "--run")  # left out of the advised command, which has its own


@app.command()
def gate(
    max_slowdown: Annotated[str, typer.Option(help="How much slower is allowed: 3% or 0.03.")],
    candidate: Annotated[str | None, typer.Option(help="The datapath that is judged.")] = None,
    against: Annotated[str | None, typer.Option(help="The one it is held against, side by side in one run.")] = None,
    baseline: Annotated[Path | None, typer.Option(help="A stored run to hold it against, instead.")] = None,
    datapath: Annotated[str | None, typer.Option(help="Which of the stored run's; default: its only one.")] = None,
    run: Annotated[
        list[Path] | None, typer.Option(help="Judge this run and measure nothing; several: each is a look.")
    ] = None,
    metrics: Annotated[str, typer.Option(help="What --max-slowdown holds for, of p50, mean, p99.")] = "p50,mean",
    max_p99: Annotated[str | None, typer.Option(help="Judge the p99 too, by a threshold of its own.")] = None,
    max_cpu: Annotated[str | None, typer.Option(help="Judge processor time per request, all parts.")] = None,
    max_pss: Annotated[str | None, typer.Option(help="Judge the memory (PSS) of the datapath's processes.")] = None,
    max_bpf: Annotated[str | None, typer.Option(help="Judge the memory of its BPF maps and programs.")] = None,
    max_loss: Annotated[str | None, typer.Option(help="Judge the highest rate kept: how much less is allowed.")] = None,
    scenario: Annotated[
        str | None, typer.Option(help="Default: http_visibility, or the one that the stored run compares.")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="Whose loads and ladder; default: quick.")] = None,
    rate: Annotated[float | None, typer.Option(help="Only this rate, in requests/s.")] = None,
    connections: Annotated[int | None, typer.Option(help="Connections of each client.")] = None,
    deployments: Annotated[int | None, typer.Option(help="How often everything is placed anew; default: 10.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds of slices in each; default: 20.")] = None,
    looks: Annotated[int, typer.Option(help="Measure up to this many runs, until one word is sure.")] = 1,
    cluster: Annotated[str | None, typer.Option(help="Where: local (default), kind[:NAME], or kube:CONTEXT.")] = None,
    seed: Annotated[int, typer.Option(help="Decides every random choice.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Results folder to make; a second look makes OUT-2.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Judge even where machine, cluster or load differ.")] = False,
    markdown: Annotated[Path | None, typer.Option(help="Append a summary, e.g. to $GITHUB_STEP_SUMMARY.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML.")] = None,
    json_: Json = False,
) -> None:
    """Say whether a datapath is slower than another, or than it was: exit code 0 passed, 1 slower, 2 cannot judge.

    Example: mesh-lab gate --candidate mesh_new --against mesh_old --max-slowdown 3%

    Example: mesh-lab gate --baseline results/main --datapath mesh --max-slowdown 5%
    """
    from lab.cli import looks as looking
    from lab.regression.anew import Amount

    start = time.monotonic()
    with _never_one():
        limits = _limits(max_slowdown, metrics, max_p99, max_cpu, max_pss, max_bpf, max_loss)
        amount = Amount(profile, rate, connections, deployments, rounds, cluster)
        asked = looking.Asked(limits, amount, seed, looks, force, " ".join(["mesh-lab", *sys.argv[1:]]))
        if baseline is not None:
            case = looking.stored(asked, baseline, scenario, candidate, against, datapath)
        else:
            case = looking.side_by_side(asked, scenario, candidate, against, datapath)
        ruling = looking.judged(case, run) if run else looking.measured(case, out or new_folder("gate"), say(json_))
        ruling = replace(ruling, command=_command(ruling, sys.argv[1:]))
        _write(ruling, markdown, junit, time.monotonic() - start, as_json=json_)
    if ruling.exit == 2:
        complain(": ".join(filter(None, (f"gate {ruling.word}", ruling.because, ruling.advice, ruling.command))), 2)
    raise typer.Exit(ruling.exit)


@contextmanager
def _never_one() -> Iterator[None]:
    """1 means slower: what fails or breaks on the way ends with 2."""
    try:
        yield
    except LabError as error:
        complain(str(error), 2)
    except Exception:  # noqa: BLE001 - Python would end with 1
        traceback.print_exc()
        complain("the gate broke (see above); that says nothing of any datapath", 2)


def _limits(slowdown: str, metrics: str, *others: str | None) -> Limits:
    from lab.regression import Limits
    from lab.regression.ruling import LATENCY
    from lab.regression.share import share

    names = tuple(name.strip() for name in metrics.split(","))
    if not set(names) <= set(LATENCY) or len(set(names)) < len(names):
        raise Mistake(f"--metrics {metrics!r}; give some of {','.join(LATENCY)}, each once")
    options = ("--max-p99", "--max-cpu", "--max-pss", "--max-bpf", "--max-loss")
    p99, cpu, pss, bpf, loss = (
        None if text is None else share(option, text, zero=option == "--max-loss")
        for option, text in zip(options, others, strict=True)
    )
    return Limits(share("--max-slowdown", slowdown), names, p99, cpu, pss, bpf, loss)


def _command(ruling: Ruling, words: Sequence[str]) -> str:
    """What was typed, with the number of deployments that it would take; empty where that is not known to help."""
    wanted = [j.wanted for j in ruling.judgements if j.wanted]
    if not ruling.open or any(j.wanted_baseline for j in ruling.judgements):
        return ""
    kept, skip = [], False
    for word in words:
        option, assigned, _ = word.partition("=")
        if not skip and option not in OF_ONE_RUN:
            kept.append(word)
        skip = not skip and option in OF_ONE_RUN and not assigned
    return shlex.join(["mesh-lab", *kept, "--deployments", str(max(wanted))])


def _write(ruling: Ruling, markdown: Path | None, junit: Path | None, took_s: float, *, as_json: bool) -> None:
    """Every output, from the one record."""
    from lab.report import junit as xml
    from lab.report import ruling as rulings

    if as_json:
        screen.print_json(codec.dumps({**codec.plain(ruling), "exit": ruling.exit}))
    else:
        rulings.show(ruling, screen)
    if markdown is not None:
        with markdown.open("a", encoding="utf-8") as file:
            file.write(rulings.markdown(ruling))
    if junit is not None:
        junit.write_bytes(xml.junit(ruling, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"), took_s))
    if not as_json and junit is not None:
        errors.print(f"JUnit: {junit}", highlight=False)
