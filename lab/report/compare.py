"""Two runs side by side: the same claims, the same contrasts, and whether their intervals overlap."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite

from rich.console import Console
from rich.markup import escape

from lab import claims
from lab.foreign import Imported
from lab.record import Mistake, Verdict, Word
from lab.report import foreign, units
from lab.report.console import grid
from lab.report.table import Table
from lab.store import Store
from lab.summary import Contrast, Estimate, StepContrast, Summary


@dataclass(frozen=True)
class ClaimPair:
    """One claim as both runs judge it; None where a run does not."""

    claim: str
    a: str | None
    b: str | None
    same: bool


@dataclass(frozen=True)
class ContrastPair:
    """One contrast in both runs. `overlap`: do the intervals of the ratios share a value? None where one has none."""

    scenario: str
    load: str
    arm: str
    metric: str
    a: Estimate | None
    b: Estimate | None
    a_verdict: str
    b_verdict: str
    overlap: bool | None


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side. `unlike` says what makes them different experiments, in words."""

    a: str
    b: str
    unlike: tuple[str, ...]
    claims: tuple[ClaimPair, ...]
    contrasts: tuple[ContrastPair, ...]
    imported: tuple[tuple[str, Imported], ...] = ()  # (run, repetition) of both: shown, never paired

    @property
    def text(self) -> str:
        """As Markdown."""
        parts = [f"# {self.a} (A) beside {self.b} (B)", *(f"Not alike: {u}" for u in self.unlike)]
        for title, table in (("Claims", _claims(self)), ("Against the baseline", _contrasts(self))):
            parts += [f"## {title}", table.markdown() if table.rows else "Neither run has any."]
        if self.imported:
            parts += ["## Imported", foreign.APART, foreign.beside(self.imported).markdown()]
        return "\n\n".join(parts) + "\n"


def compare(a: Store, b: Store, *, force: bool = False) -> Comparison:
    """Set two runs side by side. `Mistake` where clusters or features differ, unless forced, and where loops do."""
    _one_loop(a, b)
    grave = (*_clusters(a, b), *_features(a, b))
    if grave and not force:
        raise Mistake(f"these runs are different experiments: {'; '.join(grave)}; add --force to set them side by side")
    one, other = a.summary(), b.summary()
    return Comparison(
        a=a.plan.run,
        b=b.plan.run,
        unlike=(*grave, *_settings(a, b)),
        claims=_claim_pairs(claims.judge(one), claims.judge(other)),
        contrasts=_contrast_pairs(one, other),
        imported=tuple((store.plan.run, x) for store, said in ((a, one), (b, other)) for x in said.imported),
    )


def show(side_by_side: Comparison, screen: Console | None = None) -> None:
    """Print it on a terminal."""
    out = screen or Console()
    out.print(f"A [bold]{escape(side_by_side.a)}[/]  B [bold]{escape(side_by_side.b)}[/]", highlight=False)
    for words in side_by_side.unlike:
        out.print(f"[yellow]![/] not alike: {escape(words)}", highlight=False)
    for table in (_claims(side_by_side), _contrasts(side_by_side), foreign.beside(side_by_side.imported)):
        if table.rows:
            out.print(grid(table))


def _one_loop(a: Store, b: Store) -> None:
    """Users who wait are no schedule: there is nothing that would make the two comparable, so force does not help."""
    kinds = [{kind for kind, there in (("closed", s.plan.turns), ("open", s.plan.trials)) if there} for s in (a, b)]
    if all(kinds) and not kinds[0] & kinds[1]:
        closed = next(s.plan.run for s in (a, b) if s.plan.turns)
        raise Mistake(
            f"{closed} is a closed loop (journeys) and the other run an open one: their times are not comparable;"
            " compare journeys with journeys"
        )


NETWORK = ("cni", "kube_proxy")  # facts that make another cluster of one that bears the same name
VERSIONS = ("kubernetes", "image", "node0_kernelVersion", "node1_kernelVersion")


def _clusters(a: Store, b: Store) -> Iterable[str]:
    if a.plan.cluster != b.plan.cluster:
        yield f"cluster {a.plan.cluster} against {b.plan.cluster}"
    yield from _facts(a, b, NETWORK)
    origins = {a.summary().origin, b.summary().origin}
    if len(origins) > 1:
        yield f"origin {a.summary().origin} against {b.summary().origin}"


def _features(a: Store, b: Store) -> Iterable[str]:
    """Arms of both runs whose datapath had other features on."""
    here, there = _by_arm(a), _by_arm(b)
    for arm in sorted(here.keys() & there.keys()):
        odd = sorted(here[arm] ^ there[arm])
        if odd:
            yield f"features of arm {arm} differ in {', '.join(odd)}"


def _by_arm(store: Store) -> dict[str, frozenset[str]]:
    kept: dict[str, frozenset[str]] = {}
    had = [(run.arm, run.features) for run in store.runs()] + [(w.arm, w.features) for _, w in store.turns()]
    for arm, features in had:
        kept[arm] = kept.get(arm, frozenset()) | frozenset(map(str, features))
    return kept


def _settings(a: Store, b: Store) -> Iterable[str]:
    """What differs and is worth knowing, without making the runs incomparable."""
    for name in ("profile", "overlay", "cpus"):
        one, other = getattr(a.plan, name), getattr(b.plan, name)
        if one != other:
            yield f"{name} {one} against {other}"
    one, other = (store.plan.asked.get("engines", "1") for store in (a, b))
    if one != other:
        yield f"engines {one} against {other}"
    yield from _facts(a, b, VERSIONS)


def _facts(a: Store, b: Store, names: Iterable[str]) -> Iterable[str]:
    """What both runs say of their clusters, where it differs."""
    here, there = _told(a), _told(b)
    for name in names:
        if name in here and name in there and here[name] != there[name]:
            yield f"{name} {', '.join(sorted(here[name]))} against {', '.join(sorted(there[name]))}"


def _told(store: Store) -> dict[str, frozenset[str]]:
    """Every fact of a run's arms and turns, and all that was said of it."""
    said: dict[str, frozenset[str]] = {}
    for facts in (*(run.facts for run in store.runs()), *(walk.facts for _, walk in store.turns())):
        said |= {name: said.get(name, frozenset()) | {value} for name, value in facts.items()}
    return said


def _claim_pairs(one: Iterable[Verdict], other: Iterable[Verdict]) -> tuple[ClaimPair, ...]:
    a, b = ({v.claim: str(v.word) for v in verdicts} for verdicts in (one, other))
    return tuple(ClaimPair(c, a.get(c), b.get(c), a.get(c) == b.get(c)) for c in dict.fromkeys([*a, *b]))


def _contrast_pairs(one: Summary, other: Summary) -> tuple[ContrastPair, ...]:
    a, b = map(_keyed, (one, other))
    return tuple(_pair(key, a.get(key), b.get(key)) for key in dict.fromkeys([*a, *b]))


Key = tuple[str, str, str, str]


def _keyed(summary: Summary) -> dict[Key, Contrast | StepContrast]:
    """Scenarios by load, journeys by step: the two never meet."""
    walked = {(c.journey, f"{c.step} ({c.loop} loop)", c.arm, c.metric): c for c in summary.step_contrasts}
    return {**{(c.scenario, c.load, c.arm, c.metric): c for c in summary.contrasts}, **walked}


def _pair(key: Key, a: Contrast | StepContrast | None, b: Contrast | StepContrast | None) -> ContrastPair:
    one, other = (c.ratio if c and isfinite(c.ratio.value) else None for c in (a, b))
    overlap = one.low <= other.high and other.low <= one.high if one and other else None
    return ContrastPair(*key, one, other, a.verdict if a else "", b.verdict if b else "", overlap)


def _claims(pairs: Comparison) -> Table:
    """Claims that one run at least says something of."""
    told = [p for p in pairs.claims if {p.a, p.b} - {None, str(Word.NOT_MEASURABLE)}]
    rows = tuple((p.claim, p.a or "–", p.b or "–", "same" if p.same else "DIFFERENT") for p in told)
    return Table("claims", ("claim", "A", "B", "same"), rows, 4)


def _contrasts(pairs: Comparison) -> Table:
    rows = tuple(
        (
            p.load,
            p.arm,
            p.metric,
            _said(p.a, p.a_verdict),
            _said(p.b, p.b_verdict),
            "–" if p.overlap is None else "yes" if p.overlap else "NO",
        )
        for p in pairs.contrasts
    )
    return Table("contrasts", ("load", "arm", "metric", "A", "B", "overlap"), rows, 6)


def _said(ratio: Estimate | None, verdict: str) -> str:
    return verdict or "–" if ratio is None else f"{units.ratio(ratio.value)} [{units.interval(ratio)}] {verdict}"
