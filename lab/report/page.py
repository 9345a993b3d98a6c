"""One run as one page: everything in it, nothing fetched, no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from markupsafe import Markup

from lab import claims
from lab.behaviour import Journey
from lab.check import check
from lab.question import Study
from lab.record import Mistake, Scenario, Verdict
from lab.report import facts, foreign, glance, journeys, looks, proofs, selection, studies, swatch, tables, text
from lab.report.figures import connections, cost, ecdf, growth, ladder, memory, ratios, rounds
from lab.report.figures import journeys as walked
from lab.report.frame import ALONE, Frame, environment
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
    page = of_store(store, verdicts)
    store.report({PAGE: page.encode(), SUMMARY: text.markdown(store.summary(), verdicts).encode()})
    return store.folder / "report" / PAGE


def of_store(store: Store, verdicts: Sequence[Verdict], frame: Frame = ALONE) -> str:
    """The page of a stored run as HTML text. `Mistake` for a changed folder."""
    problems = check(store.folder)
    if problems:
        first = "; ".join(f"{p.file}: {p.what}" for p in problems[:FIRST_PROBLEMS])
        raise Mistake(
            f"{store.folder} has {len(problems)} problems, so no report is built: {first}; "
            f"see `mesh-lab check {store.folder}`"
        )
    return render(
        store.summary(),
        verdicts,
        responses=selection.responses(store),
        run=facts.of_run(store),
        system=facts.flat(store.system),
        scenarios=(*store.plan.scenarios, *store.plan.studies, *store.plan.journeys),
        ledger=claims.CLAIMS,
        frame=frame,
    )


def render(
    summary: Summary,
    verdicts: Sequence[Verdict],
    *,
    responses: ecdf.Responses,
    run: facts.Run,
    system: Sequence[tuple[str, str]],
    scenarios: Sequence[Scenario | Study | Journey] = (),
    ledger: Sequence[Claim] = (),
    frame: Frame = ALONE,
) -> str:
    """The page as HTML text."""
    look = looks.looks(summary)
    template = environment(frame).get_template("page.html.j2")
    return template.render(
        summary=summary,
        verdicts=[_judged(v, ledger, summary) for v in text.judged(verdicts)],
        unmeasured=[_judged(v, ledger, summary) for v in verdicts if v not in text.judged(verdicts)],
        run=run,
        sample=_sample(run),
        system=system,
        scenarios=scenarios,
        arms=[(arm, Markup(swatch.draw(one))) for arm, one in look.items()],  # noqa: S704 - drawn here, from numbers
        base=next(iter({c.base for c in summary.contrasts}), next(iter(look), "")),
        saturations=[c for c in summary.capacities if c.saturated_per_s is not None],
        tables=_tables(summary),
        score=studies.score(summary.foretold),
        apart=journeys.APART,
        apart_imported=foreign.APART,
        figures={name: [_safe(d) for d in found] for name, found in _figures(summary, responses).items()},
    )


def _sample(run: facts.Run) -> str:
    """How often everything was placed anew, by scenario and study."""
    kinds = ((run.deployments, "deployment"), (run.repeats, "repeat"), (run.turns, "turn"), (run.imports, "import"))
    parts = [f"{name} {n} {word}{'s' * (n != 1)}" for counts, word in kinds for name, n in counts.items()]
    return ", ".join(parts) or "no deployment stored"


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
                journeys.steps,
                journeys.contrasts,
                journeys.counts,
                foreign.imported,
                foreign.files,
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
        "journeys": walked.panels(summary),
    }


def _safe(drawing: Any) -> Markup:
    return Markup(drawing.svg)  # noqa: S704 - matplotlib escapes every text it writes into SVG
