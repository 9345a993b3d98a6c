"""What studies measured, as frames: observations, the coefficients of their laws, predictions beside what came."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd

from lab.report.frames.naming import framed
from lab.store import Store


def observations(run: Store) -> pd.DataFrame:
    """One row a number that was seen of a case in one repeat. Every parameter of the cases is one more column.

    Columns:
        study, repeat, number: which study, the name of the repeat and its number
        case: what was measured alone
        kind, subject: how it was measured, and what
        metric: names its unit: `_s` seconds, `_bytes` bytes
        value: what was seen, in the metric's unit
    """
    rows, parameters = [], []
    for repeat in run.repeats():
        cases = {case.name: case for case in repeat.cases}
        for one in run.observations(repeat.name):
            case = cases[one.case]
            head = {"study": repeat.study, "repeat": repeat.name, "number": repeat.number}
            rows.append({**head, "kind": case.kind, "subject": case.subject, **asdict(one)})
            parameters.append(dict(case.parameters))
    frame = framed(observations, rows)
    return frame.join(pd.DataFrame(parameters, index=frame.index).add_prefix("parameter_"))


def coefficients(run: Store) -> pd.DataFrame:
    """One row a coefficient of a law, with the 95 % interval of a wild bootstrap over cases.

    Columns:
        study, law, subject: which study, which law, of what
        metric: what the law is about
        term, product: the coefficient's name, and the parameters it is multiplied by; `1`: what is there without any
        value, low, high: the coefficient and its 95 % interval, in `unit` per what the term counts
        unit: of the metric
        n: observations behind the law
    """
    rows = [asdict(one) for one in run.summary().coefficients]
    for row in rows:
        del row["draws"]
    return framed(coefficients, rows)


def sizes(run: Store) -> pd.DataFrame:
    """One row a case of a law: measured, and what the law says.

    Columns:
        study, law, case, metric: which study and law, which case, and what of it
        value, least, most: mean over the repeats, the least and the most of them, in the metric's unit
        n: repeats
        fitted: what the law says, in the metric's unit
    """
    rows = [asdict(one) for one in run.summary().sizes]
    for row in rows:
        del row["parameters"]
    return framed(sizes, rows)


def holdout(run: Store) -> pd.DataFrame:
    """One row a prediction that was in the plan before anything was measured, beside what was measured.

    Columns:
        case, metric: of what; the metric names its unit
        predicted, low, high: by the simulator, with its 95 % interval, in the metric's unit
        observed, least, most: median of the repeats, the least and the most of them, in the metric's unit
        repeats: how often it was measured
        error: predicted / observed - 1
        tolerance: the error that the gate lets pass
        passed, covered: the error is within the tolerance; the interval holds what was measured
    """
    return framed(holdout, map(asdict, run.summary().foretold))
