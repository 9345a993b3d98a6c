"""What was foretold beside what was measured: error, gate, and whether the interval held the truth."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lab.store import Store
from lab.summary.results import Foretold


def foretold(store: Store) -> Iterator[Foretold]:
    """Every prediction of the plan whose case was measured; observed is the median over repeats."""
    seen: dict[tuple[str, str], list[float]] = {}
    for repeat in store.repeats():
        for o in store.observations(repeat.name):
            seen.setdefault((o.case, o.metric), []).append(o.value)
    for said in store.plan.predictions:
        values = seen.get((said.case, said.metric))
        if values:
            observed = float(np.median(values))
            error = said.value / observed - 1 if observed else float("inf")
            yield Foretold(
                case=said.case,
                metric=said.metric,
                predicted=said.value,
                low=said.low,
                high=said.high,
                observed=observed,
                least=min(values),
                most=max(values),
                repeats=len(values),
                error=error,
                tolerance=said.tolerance,
                passed=abs(error) <= said.tolerance,
                covered=said.low <= observed <= said.high,
            )
