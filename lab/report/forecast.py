"""A forecast as one page and as tables on a terminal. Every table and figure says its origin."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from lab.claims import footprint
from lab.report import studies, units
from lab.report.figures import fleet
from lab.report.frame import ALONE, Frame, environment
from lab.report.table import Table
from lab.sim.answer import Answer, Point
from lab.sim.validation import Outcome
from lab.summary import Estimate

SIMULATED, PUBLISHED = "simulated", "published by others"


def render(
    answer: Answer,
    name: str,
    points: Sequence[Point] = (),
    holdout: Outcome | None = None,
    frame: Frame = ALONE,
) -> str:
    """The page as HTML text; `holdout` is how predictions from the same kind of calibration came true."""
    return (
        environment(frame)
        .get_template("forecast.html.j2")
        .render(
            answer=answer,
            name=name,
            tables=[
                (f"The post's claims beside the forecast ({SIMULATED})", _claims(answer)),
                *tables(answer, points),
                *_held(holdout),
            ],
            figures=[(Markup(d.svg), d.label) for d in fleet.panels(answer)],  # noqa: S704 - matplotlib escapes what it writes
            arithmetic=footprint.arithmetic(),
        )
    )


def tables(answer: Answer, points: Sequence[Point] = ()) -> list[tuple[str, Table]]:
    """Title with origin, and table."""
    found = [
        (f"Memory and processors of the whole fleet ({SIMULATED})", _fleet(answer)),
        (f"Latency of requests from outside ({SIMULATED})", _latency(answer)),
        (f"Footprints, multiplied ({PUBLISHED}; other machines, loads and tables)", _published(answer)),
        (f"What the control plane sends ({SIMULATED}; its own speed is assumed)", _pushes(answer)),
        (f"A proxy fails or is replaced, 10 nodes of 30 pods ({SIMULATED})", _troubles(answer.failures)),
        (f"Quiet tenants beside a noisy one ({SIMULATED})", _troubles(answer.neighbours)),
        (f"Sobol indices of memory ({SIMULATED})", _indices(answer)),
    ]
    return [*found, (f"Sweep, memory ({SIMULATED})", _sweep(points))] if points else found


def _held(holdout: Outcome | None) -> list[tuple[str, Table]]:
    if holdout is None:
        return []
    title = f"Foretold and measured, {holdout.run} (measured): {studies.score(holdout.foretold)}"
    return [(title, studies.outcomes(holdout.foretold))]


def _claims(answer: Answer) -> Table:
    """C7 and C8 with intervals: what sidecars and node proxies hold, and what smaller tables save."""
    proxies = [m for m in answer.memories if m.arm in ("sidecar", "pernode")]
    told = [("C7", "1.5 TB in sidecars, 34 GB in node proxies", m.arm, m.full) for m in proxies]
    told += [("C8", "partial tables help", f"{m.arm}, scoped", m.scoped) for m in proxies]
    rows = [(*words, units.size(bytes_.value), _interval(bytes_)) for *words, bytes_ in told]
    return _table("claims", ("claim", "the post says", "architecture", "forecast", "95 %"), rows, 3)


def _interval(one: Estimate) -> str:
    return f"{units.size(one.low)} to {units.size(one.high)}"


def _fleet(answer: Answer) -> Table:
    work = {w.arm: w for w in answer.work}
    rows = [
        (
            m.arm,
            units.size(m.full.value),
            _interval(m.full),
            units.size(m.scoped.value),
            _interval(m.scoped),
            units.ratio(m.full.value / m.scoped.value),
            f"{units.number(work[m.arm].cores.value)}",
            f"{units.number(work[m.arm].cores.low)} to {units.number(work[m.arm].cores.high)}",
            units.time(work[m.arm].per_call_s.value),
        )
        for m in answer.memories
    ]
    head = ("architecture", "full tables", "95 %", "scoped tables", "95 %", "full / scoped", "cores", "95 %", "a call")
    return _table("fleet", head, rows)


def _latency(answer: Answer) -> Table:
    rows = [
        (one.arm, one.engine, *(units.time(t) for t in (one.mean_s, one.p50_s, one.p99_s, one.p999_s)),
         units.count(one.requests))
        for one in answer.latencies
    ]  # fmt: skip
    return _table("latency", ("architecture", "engine", "mean", "p50", "p99", "p99.9", "requests"), rows, 2)


def _published(answer: Answer) -> Table:
    rows = [
        (p.name, f"{p.conditions}; {p.source}, {p.date}", p.per, units.size(p.each_bytes), units.size(p.memory_bytes),
         units.number(p.cores))
        for p in answer.published
    ]  # fmt: skip
    return _table("published", ("what", "where from", "one per", "each", "fleet", "cores"), rows, 3)


def _pushes(answer: Answer) -> Table:
    rows = [
        (p.arm, p.visibility, p.event, units.count(round(p.receivers)), units.size(p.sent_bytes),
         units.time(p.cpu_s), units.time(p.converged_s))
        for p in answer.pushes
    ]  # fmt: skip
    head = ("architecture", "tables", "event", "receivers", "sent", "CPU of receivers", "all know after")
    return _table("pushes", head, rows, 3)


def _troubles(found: Sequence[object]) -> Table:
    rows = [
        (t.arm, t.name, units.percent(t.failed), *(units.time(x) for x in (t.p50_s, t.p99_s, t.p999_s)))  # type: ignore[attr-defined]
        for t in found
    ]
    return _table("troubles", ("architecture", "what happens", "failed meanwhile", "p50", "p99", "p99.9"), rows, 2)


def _indices(answer: Answer) -> Table:
    rows = [
        (arm, i.name, f"{i.first:.2f}", f"{i.total:.2f}", f"±{i.width:.2f}")
        for arm, found in answer.indices.items()
        for i in found
        if i.total > 0.01
    ]
    return _table("indices", ("architecture", "input", "alone", "with others", "95 %"), rows, 2)


def _sweep(points: Sequence[Point]) -> Table:
    arms = list(points[0].memory_bytes)
    rows = [
        (f"{p.name}={p.value:g}", *(f"{units.size(p.memory_bytes[a][0])}" for a in arms)) for p in points
    ]  # fmt: skip
    return _table("sweep", ("fleet", *arms), rows, 1)


def _table(name: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], words: int = 1) -> Table:
    return Table(name=name, columns=columns, rows=tuple(rows), words=words)
