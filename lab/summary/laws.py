"""What the cases of studies say: the coefficients of every law, with intervals, and how far the law is from each case.

Least squares on relative residuals: a law is judged by percent, so a table of 15,000 endpoints does not outweigh one of
none. Interval: wild bootstrap by case (Cameron, Gelbach & Miller 2008, "Bootstrap-based improvements for inference with
clustered errors"): the residuals of all repeats of a case change their sign together. So it holds what repeats differ
by and what the law does not explain; and no draw loses the cases that tell two coefficients apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lab.question import Case, Law
from lab.record import Mistake
from lab.store import Store
from lab.summary.results import Coefficient, Size

Floats = npt.NDArray[np.float64]
DRAWS, KEPT = 1000, 200  # draws of the bootstrap; those that are stored, for whoever calculates on
SEED = 20211208
LOW, HIGH = 0.025, 0.975
SMALL = 0.02  # residuals are relative to the value, or to this share of the largest where that is more


@dataclass(frozen=True)
class Fit:
    """One law on the cases of one run."""

    study: str
    law: Law
    cases: tuple[Case, ...]
    seen: Mapping[str, Floats]  # case -> one value a repeat
    values: Floats  # the coefficients, in the order of the law's terms
    draws: Floats  # shape (DRAWS, terms)


def fits(store: Store) -> tuple[Fit, ...]:
    """Every law of the run's studies that has more cases than terms; the same repeats always give the same."""
    return tuple(fit for study in store.plan.studies for law in study.laws if (fit := _fit(store, study.name, law)))


def _fit(store: Store, study: str, law: Law) -> Fit | None:
    seen: dict[str, list[float]] = {}
    cases: dict[str, Case] = {}
    for repeat in (r for r in store.repeats() if r.study == study):
        about = {case.name: case for case in repeat.cases if law.holds(case)}
        for o in store.observations(repeat.name):
            if o.case in about and o.metric == law.metric:
                seen.setdefault(o.case, []).append(o.value)
                cases[o.case] = about[o.case]
    ordered = tuple(cases[name] for name in sorted(cases))
    terms = _varied(law, ordered)
    design = np.array([[product(case, words) for words in terms.values()] for case in ordered])
    if len(ordered) <= 1 or np.linalg.matrix_rank(design) < len(terms):
        return None
    values = {case.name: np.array(seen[case.name]) for case in ordered}
    found, draws = solve(np.repeat(design, [len(v) for v in values.values()], axis=0), list(values.values()))
    return Fit(study, replace(law, terms=terms), ordered, values, found, draws)


def _varied(law: Law, cases: Sequence[Case]) -> dict[str, str]:
    """The terms that the cases can say something of: not those that are the same in all, or the same as another."""
    columns = {term: tuple(product(case, words) for case in cases) for term, words in law.terms.items()}
    told: dict[tuple[float, ...], str] = {}
    for term, column in columns.items():
        if law.terms[term] == "1" or len(set(column)) > 1:
            told.setdefault(column, term)
    return {term: law.terms[term] for term in law.terms if term in told.values()}


def product(case: Case, words: str) -> float:
    """`1`, or the product of the case's parameters that `words` names, such as `workers*clusters`."""
    return math.prod(float(case.number(name)) for name in words.split("*") if name != "1")


def solve(design: Floats, cases: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Coefficients, and DRAWS of them. `design` has one row an observation, in the order of `cases`."""
    seen = np.concatenate(cases)
    weights = 1 / np.maximum(np.abs(seen), max(SMALL * float(np.abs(seen).max()), 1e-12))
    weighted = design * weights[:, None]
    inverse = np.linalg.pinv(weighted)
    found = inverse @ (seen * weights)
    fitted = design @ found
    signs = np.random.default_rng(SEED).choice([-1.0, 1.0], (DRAWS, len(cases)))
    swapped = np.repeat(signs, [len(c) for c in cases], axis=1) * _inflated(seen - fitted, design.shape[1], len(cases))
    return found, ((fitted + swapped) * weights) @ inverse.T


def _inflated(residuals: Floats, terms: int, cases: int) -> Floats:
    """Residuals of a fit are smaller than the errors: as many degrees of freedom went into its terms."""
    return residuals * math.sqrt(cases / (cases - terms)) if cases > terms else residuals


def coefficients(found: Sequence[Fit]) -> Iterator[Coefficient]:
    """Every coefficient of every law."""
    for fit in found:
        n = sum(map(len, fit.seen.values()))
        for column, (term, words) in enumerate(fit.law.terms.items()):
            low, high = np.quantile(fit.draws[:, column], (LOW, HIGH))
            yield Coefficient(
                study=fit.study,
                law=fit.law.name,
                subject=fit.law.subject,
                metric=fit.law.metric,
                term=term,
                product=words,
                value=float(fit.values[column]),
                low=float(low),
                high=float(high),
                unit=fit.law.unit,
                n=n,
                draws=tuple(float(f"{d:.6g}") for d in fit.draws[:KEPT, column]),
            )


def sizes(found: Sequence[Fit]) -> Iterator[Size]:
    """Every case of every law, beside what the law says of it."""
    for fit in found:
        for case in fit.cases:
            values = fit.seen[case.name]
            terms = [product(case, words) for words in fit.law.terms.values()]
            yield Size(
                study=fit.study,
                law=fit.law.name,
                case=case.name,
                parameters=dict(case.parameters),
                metric=fit.law.metric,
                value=float(values.mean()),
                least=float(values.min()),
                most=float(values.max()),
                n=len(values),
                fitted=float(np.dot(terms, fit.values)),
            )


def coefficient(found: Sequence[Coefficient], law: str, term: str) -> Coefficient:
    """One of them by name. `Mistake` names what there is."""
    for one in found:
        if (one.law, one.term) == (law, term):
            return one
    there = ", ".join(f"{c.law}.{c.term}" for c in found) or "none"
    raise Mistake(f"no coefficient {law}.{term}; there are {there}; run the study that has it")
