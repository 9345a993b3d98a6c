"""One run as one page: everything in it, nothing fetched, no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lab import claims
from lab.check import check
from lab.question import Study
from lab.record import Mistake, Scenario, Verdict, Word
from lab.report import facts, glance, looks, proofs, selection, studies, swatch, tables, text, units
from lab.report.figures import connections, cost, ecdf, growth, ladder, memory, ratios, rounds
from lab.store import Store
from lab.summary import Summary

PAGE, SUMMARY = "index.html", "summary.md"
FIRST_PROBLEMS = 3


class Claim(Protocol):
    """An entry of the ledger (`lab.claims`), as far as the page prints it."""

    @property
    def id(self) -> str: ...
    @property
    def statement(self) -> str: ...
    @property
    def scenario(self) -> str | None: ...


def build(store: Store, verdicts: Sequence[Verdict]) -> Path:
    """Write the page and its Markdown; the page's path. `Mistake` unless the folder passes its check."""
    problems = check(store.folder)
    if problems:
        first = "; ".join(f"{p.file}: {p.what}" for p in problems[:FIRST_PROBLEMS])
        raise Mistake(
            f"{store.folder} has {len(problems)} problems, so no report is built: {first}; "
            f"see `mesh-lab check {store.folder}`"
        )
    summary = store.summary()
    page = render(
        summary,
        verdicts,
        responses=selection.responses(store),
        run=facts.of_run(store),
        system=facts.flat(store.system),
        scenarios=(*store.plan.scenarios, *store.plan.studies),
        ledger=claims.CLAIMS,
    )
    store.report({PAGE: page.encode(), SUMMARY: text.markdown(summary, verdicts).encode()})
    return store.folder / "report" / PAGE


def render(
    summary: Summary,
    verdicts: Sequence[Verdict],
    *,
    responses: ecdf.Responses,
    run: facts.Run,
    system: Sequence[tuple[str, str]],
    scenarios: Sequence[Scenario | Study] = (),
    ledger: Sequence[Claim] = (),
) -> str:
    """The page as HTML text."""
    environment = Environment(
        loader=PackageLoader("lab.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"units": units, "tone": _tone}
    look = looks.looks(summary)
    return environment.get_template("page.html.j2").render(
        summary=summary,
        verdicts=[_judged(v, ledger, summary) for v in text.judged(verdicts)],
        unmeasured=[_judged(v, ledger, summary) for v in verdicts if v.word is Word.NOT_MEASURABLE],
        run=run,
        system=system,
        scenarios=scenarios,
        arms=[(arm, Markup(swatch.draw(one))) for arm, one in look.items()],  # noqa: S704 - drawn here, from numbers
        base=next(iter({c.base for c in summary.contrasts}), next(iter(look), "")),
        colours=looks.DARK,
        saturations=[c for c in summary.capacities if c.saturated_per_s is not None],
        tables=_tables(summary),
        score=studies.score(summary.foretold),
        figures={name: [_safe(d) for d in found] for name, found in _figures(summary, responses).items()},
    )


def _judged(verdict: Verdict, ledger: Sequence[Claim], summary: Summary) -> tuple[Verdict, str, str]:
    """A verdict, its claim's statement, and the section that shows what its scenario measured."""
    claim = next((c for c in ledger if c.id == verdict.claim), None)
    if claim is None:
        return verdict, "", "machine"
    shown = {
        "contrasts": {x.scenario for x in summary.contrasts},
        "connections": {x.scenario for x in summary.sockets},
        "memory": {x.scenario for x in summary.memories},
    }
    section = next((name for name, scenarios in shown.items() if claim.scenario in scenarios), "machine")
    return verdict, claim.statement, section


def _tables(summary: Summary) -> dict[str, Any]:
    made = [
        glance.table(summary),
        *(
            make(summary)
            for make in (
                tables.latency,
                tables.contrasts,
                tables.capacity,
                tables.cost,
                tables.memory,
                tables.sockets,
                proofs.accounting,
                proofs.gates,
                proofs.referee,
                proofs.host,
                studies.coefficients,
                studies.sizes,
                studies.foretold,
            )
        ),
    ]
    return {table.name: table for table in made}


def _figures(summary: Summary, responses: ecdf.Responses) -> Mapping[str, Sequence[Any]]:
    first = ratios.embedded(summary)
    return {
        "headline": [first] if first else [],
        "ecdf": ecdf.panels(summary, responses),
        "ladder": ladder.panels(summary),
        "rounds": rounds.panels(summary),
        "cost": cost.panels(summary),
        "memory": memory.panels(summary),
        "sockets": connections.panels(summary),
        "growth": growth.panels(summary),
    }


def _safe(drawing: Any) -> Markup:
    return Markup(drawing.svg)  # noqa: S704 - matplotlib escapes every text it writes into SVG


TONES = {  # fixed words of verdicts, contrasts and proofs
    "good": ("holds", "holds if", "faster", "proven"),
    "bad": ("does not hold", "slower", "saturated", "NOT PROVEN"),
    "open": ("undecided", "not measurable here", "not comparable"),
}


def _tone(cell: str) -> str:
    """A class for a fixed word, empty for any other cell."""
    if cell.startswith("equivalent within"):
        return "good"
    if cell.startswith("SATURATED"):
        return "bad"
    return next((tone for tone, words in TONES.items() if cell in words), "")
