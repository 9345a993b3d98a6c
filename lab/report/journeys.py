"""What users met on their journeys, as tables of their own: a closed loop is never set beside an open one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from lab.record import Outcome
from lab.report import units
from lab.report.table import Table
from lab.summary import Estimate, Step, StepContrast, Summary, WalkCount

APART = (
    "closed loop: a user waits for each answer before the next step, so a slow arm is asked less often. These times "
    "are no open-loop response times: they are not comparable with those of scenarios, and nothing here ranks the two "
    "together"
)
BASE_FIRST = ("none", "none_again")


class _Walked(Protocol):
    @property
    def journey(self) -> str: ...
    @property
    def arm(self) -> str: ...


Item = TypeVar("Item", bound=_Walked)


def steps(summary: Summary) -> Table:
    """Every step of every journey on every arm."""
    rows = tuple(_step(x) for x in sorted(in_order(summary.steps), key=lambda x: (x.journey, x.step)))
    columns = (
        "journey",
        "step",
        "arm",
        "loop",
        "users",
        "repeats valid / void",
        "requests",
        "failures",
        "without answer",
    )
    times = ("answers /s", "p50 ms", "mean ms", "p90 ms", "p99 ms")
    hints = (
        ("loop", APART),
        ("p50 … p99", "from raw request events, of complete answers, whatever their status"),
        ("failures", "as Locust counts them; errors that the server answers are among them"),
    )
    return Table("steps", columns + times, rows, 4, hints)


def _step(x: Step) -> tuple[str, ...]:
    lost = {name: n for name, n in x.outcomes.items() if name != Outcome.OK and n}
    times = (x.time_p50_s, x.time_mean_s, x.time_p90_s, x.time_p99_s)
    return (
        x.journey,
        x.step,
        x.arm,
        x.loop,
        units.count(x.users),
        f"{x.repeats} / {x.repeats_void}",
        units.count(x.requests),
        units.count(x.failures),
        ", ".join(f"{n:,} {name}" for name, n in lost.items()) or "none",
        units.number(x.throughput_per_s),
        *map(units.ms, times),
    )


def contrasts(summary: Summary) -> Table:
    """Every step of every arm against the baseline."""
    metrics = {"p50": 0, "mean": 1, "p99": 2, "throughput": 3}
    ordered = sorted(in_order(summary.step_contrasts), key=lambda c: (c.journey, c.step, metrics.get(c.metric, 9)))
    rows = tuple(_contrast(c) for c in ordered)
    head = ("journey", "step", "metric", "arm", "verdict", "loop")
    figures = (
        "ratio",
        "95 % interval",
        "difference",
        "95 % interval of it",
        "A/A noise",
        "detectable",
        "Holm p",
        "repeats / parts",
    )
    hints = (
        ("loop", APART),
        (
            "ratio",
            "arm / baseline in the same part of the same repeat; of throughput (answers/s), less is slower",
        ),
        ("A/A noise", "half width of the interval between two arms that are the same"),
    )
    return Table("step_contrasts", head + figures, rows, 6, hints)


def _contrast(c: StepContrast) -> tuple[str, ...]:
    rate = c.metric == "throughput"
    spread = units.difference_interval(c.difference)
    return (
        c.journey,
        c.step,
        c.metric,
        c.arm,
        c.verdict,
        c.loop,
        units.ratio(c.ratio.value),
        units.interval(c.ratio),
        f"{c.difference.value:+.3g}/s" if rate else f"{units.difference_ms(c.difference.value)} ms",
        _rates(c.difference) if rate else spread,
        _within(c.noise_floor),
        _within(c.detectable),
        units.p_value(c.holm_p),
        f"{c.repeats} / {c.parts}",
    )


def _rates(spread: Estimate) -> str:
    return f"{spread.low:+.3g} to {spread.high:+.3g}"


def _within(share: float) -> str:
    return f"±{units.percent(share)}" if share == share else units.NOTHING  # noqa: PLR0124 - nan where unknown


def counts(summary: Summary) -> Table:
    """None lost: the raw events, Locust's own count, the wire and the datapath."""
    rows = tuple(_count(x) for x in in_order(summary.walk_counts))
    columns = (
        "journey",
        "arm",
        "observer",
        "proof",
        "walks valid / void",
        "events recorded",
        "Locust counted",
        "sent",
        "seen",
    )
    hints = (
        ("proof", "recorded = counted by Locust, and sent = seen by the datapath"),
        ("sent", "times a request went on the wire: Locust's client repeats what a closed connection may have lost"),
    )
    return Table("walk_counts", (*columns, "connections"), rows, 4, hints)


def _count(x: WalkCount) -> tuple[str, ...]:
    proven = x.recorded == x.counted and x.seen in (None, x.sent)
    return (
        x.journey,
        x.arm,
        x.observer or "none: it sees no requests",
        "proven" if proven else "NOT PROVEN",
        f"{x.walks - x.walks_void} / {x.walks_void}",
        *(units.count(n) for n in (x.recorded, x.counted, x.sent)),
        units.count(x.seen),
        units.count(x.connections),
    )


def markdown(summary: Summary) -> str:
    """All of it as Markdown; empty where no journey was walked."""
    if not summary.walk_counts:
        return ""
    parts = ["## Journeys (closed loop)", f"A {APART}.", steps(summary).markdown()]
    if summary.step_contrasts:
        parts += ["### Steps against the baseline (closed loop)", contrasts(summary).markdown()]
    return "\n\n".join([*parts, "### None lost", counts(summary).markdown()])


def briefly(summary: Summary) -> tuple[Table, ...]:
    """For a terminal: what users waited, and the verdicts on the steps' medians."""
    return tuple(_only(table, names) for table, names in ((steps(summary), SHORT), (_medians(summary), VERDICTS)))


SHORT = ("journey", "step", "arm", "loop", "requests", "failures", "answers /s", "p50 ms", "p99 ms")
VERDICTS = ("journey", "step", "arm", "verdict", "loop", "ratio", "95 % interval", "repeats / parts")


def _medians(summary: Summary) -> Table:
    whole = contrasts(summary)
    return Table(whole.name, whole.columns, tuple(r for r in whole.rows if r[2] == "p50"), whole.words, whole.hints)


def _only(table: Table, names: Sequence[str]) -> Table:
    kept = [i for i, name in enumerate(table.columns) if name in names]
    rows = tuple(tuple(row[i] for i in kept) for row in table.rows)
    return Table(table.name, tuple(table.columns[i] for i in kept), rows, sum(i < table.words for i in kept))


def in_order(items: Iterable[Item]) -> list[Item]:
    """Anything of arms: by journey, the baseline first, then its twin, then the others as they come."""
    found = list(items)
    arms = list(dict.fromkeys((*BASE_FIRST, *(sorted({one.arm for one in found})))))
    return sorted(found, key=lambda one: (one.journey, arms.index(one.arm)))
