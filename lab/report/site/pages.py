"""Every file of the site, by its path below it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from lab import claims
from lab.report import page
from lab.report.frame import environment
from lab.report.ledger import Entry, entries, machines
from lab.report.listing import why_open
from lab.report.published import FORECAST, Published, published, runs
from lab.report.site import forecasts, pictures, ways
from lab.report.site.documents import Documents
from lab.report.site.ways import SiteFrame
from lab.report.stored import verified

STYLE = "style.css"


def files(results: Path, root: Path) -> dict[str, bytes]:
    """All pages, their style, and what they show; `Mistake` where a folder is not what was written."""
    site = Site(published(results), Documents(root))
    made = {
        STYLE: environment().get_template("style.css.j2").render().encode(),
        **dict(_pages(site)),
        **{f"docs/{name}": raw for name, raw in site.documents.beside.items()},
    }
    return dict(sorted(made.items()))


@dataclass(frozen=True)
class Site:
    """What the site is made from, the oldest first, and the documents around it."""

    found: tuple[Published, ...]
    documents: Documents

    @cached_property
    def ledger(self) -> tuple[Entry, ...]:
        """Every claim with its verdicts."""
        return entries(self.found)

    @cached_property
    def addresses(self) -> Mapping[str, str]:
        """Where the page of each folder is, from the first page; empty: it has none."""
        return {one.name: ways.address(ways.of(one)) for one in self.found}

    def newest(self, *kinds: str, but: Sequence[str] = ()) -> list[Published]:
        """Those of these kinds (all where none is named), the newest first."""
        return [one for one in reversed(self.found) if (not kinds or one.kind in kinds) and one.kind not in but]

    def frame(self, here: str, root: str = "", exactly: bool = False) -> SiteFrame:
        """Around a page of one part of the site."""
        return SiteFrame(
            root=root,
            here=here,
            exactly=exactly,
            terms=self.documents.terms,
            claims=frozenset(c.id for c in claims.CLAIMS),
        )


def quick(site: Site) -> Iterator[tuple[str, bytes]]:
    """The pages that need no raw data: the first, and those of the claims."""
    yield "index.html", _index(site)
    yield "claims/index.html", _ledger(site)
    for number in range(len(site.ledger)):
        yield ways.claim(site.ledger[number].claim.id), _claim(site, number)


def _pages(site: Site) -> Iterator[tuple[str, bytes]]:
    yield from quick(site)
    for run in runs(site.found):
        if run.store:
            frame = replace(site.frame("runs", "../"), heading=f"Run {run.name}")
            yield ways.of(run), page.of_store(run.store, run.verdicts, frame).encode()
    yield "forecasts/index.html", _forecasts(site)
    for one in site.newest(FORECAST):
        yield ways.of(one), forecasts.render(one.folder, site.frame("forecasts", "../")).encode()
    for one in site.newest(but=("run", FORECAST)):
        if one.report:
            yield from ((f"other/{one.name}/{name}", raw) for name, raw in verified(one.folder, "report").items())
    yield from site.documents.pages(site.frame)


def _index(site: Site) -> bytes:
    forecast = site.newest(FORECAST)
    shown, picture = pictures.first(runs(site.found))
    return _render(
        "index",
        site.frame("runs", exactly=True),
        ledger=site.ledger,
        shown=shown,
        picture=picture,
        runs=[*reversed(runs(site.found))],
        letters=_letters(site),
        forecasts=forecast,
        questions={one.name: forecasts.question(one.folder) for one in forecast},
        others=site.newest(but=("run", FORECAST)),
        address=lambda name: site.addresses[name],
    )


def _letters(site: Site) -> Mapping[Any, str]:
    """A letter for each class of machine: those that verdicts come from first."""
    known = machines(site.ledger)
    more = dict.fromkeys(run.machine for run in reversed(runs(site.found)) if run.machine and run.machine not in known)
    return {**known, **{machine: chr(ord("A") + len(known) + n) for n, machine in enumerate(more)}}


def _ledger(site: Site) -> bytes:
    words = {e.claim.id: {j.run: j.verdict.word for j in e.judgements} for e in site.ledger}
    judges = [run for run in reversed(runs(site.found)) if any(run.name in said for said in words.values())]
    return _render(
        "ledger",
        site.frame("claims", "../", exactly=True),
        ledger=site.ledger,
        words=words,
        judges=judges,
        why=why_open,
        letters=machines(site.ledger),
        address=lambda name: site.addresses[name],
    )


def _claim(site: Site, number: int) -> bytes:
    entry = site.ledger[number]
    latest = next((run for run in site.found if entry.latest and run.name == entry.latest.run), None)
    drawings, caption = pictures.of(latest, entry.claim.scenario) if latest else ([], "")
    return _render(
        "claim",
        site.frame("claims", "../"),
        entry=entry,
        question=next((q for run in site.found for name, q in run.asked if name == entry.claim.scenario), ""),
        figures=drawings,
        caption=caption,
        letters=machines([entry]),
        before=site.ledger[number - 1].claim.id if number else "",
        after=site.ledger[number + 1].claim.id if number + 1 < len(site.ledger) else "",
        address=lambda name: site.addresses[name],
    )


def _forecasts(site: Site) -> bytes:
    items = [
        (one.name, f"{ways.address(one.name)}.html", forecasts.question(one.folder)) for one in site.newest(FORECAST)
    ]
    lead = (
        "Simulated from what was measured, for clusters that nobody here can run. Each says what it was answered from."
    )
    return _render("list", site.frame("forecasts", "../", exactly=True), title="Forecasts", lead=lead, items=items)


def _render(template: str, frame: SiteFrame, **given: Any) -> bytes:
    made = environment(frame).get_template(f"site/{template}.html.j2")
    return made.render(post=claims.POST, **given).encode()
