"""How a gate comes to its runs: opens what is stored, measures what is asked, refuses what cannot be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import session
from lab.cluster import choice
from lab.plan import BASE, Plan
from lab.record import Mistake
from lab.regression import Limits, Ruling, Sides, alike, anew, judge
from lab.regression.anew import Amount
from lab.store import Store
from lab.trial import Say

SCENARIO = "http_visibility"


@dataclass(frozen=True)
class Asked:
    """What both ways of a gate are asked."""

    limits: Limits
    amount: Amount
    seed: int = 1
    looks: int = 1
    force: bool = False
    command: str = ""

    def __post_init__(self) -> None:
        if self.looks < 1:
            raise Mistake(f"--looks {self.looks}; it must be 1 or more")


@dataclass(frozen=True)
class Case:
    """What is held against what. `plan` makes the plan of a run from its seed."""

    asked: Asked
    sides: Sides
    plan: Callable[[int], Plan]
    baseline: Store | None = None


def side_by_side(
    asked: Asked, scenario: str | None, candidate: str | None, against: str | None, datapath: str | None
) -> Case:
    """Two datapaths in one run."""
    if candidate is None or against is None or datapath is not None:
        raise Mistake("give --candidate NEW --against OLD, or --baseline RUN with or without --datapath NAME")
    sides = anew.sides_of(scenario or SCENARIO, candidate, against, asked.amount.rate)

    def plan(seed: int) -> Plan:
        return anew.side_by_side(
            sides.scenario,
            candidate,
            against,
            asked.limits,
            asked.amount,
            seed=seed,
            cluster=choice.settled(asked.amount.cluster or "local"),
            awake=session.on_virtual_machine(),
            force=asked.force,
            command=asked.command,
        )

    return Case(asked, sides, plan)


def stored(
    asked: Asked,
    folder: Path,
    scenario: str | None,
    candidate: str | None,
    against: str | None,
    datapath: str | None,
) -> Case:
    """A datapath against what a stored run says of it, or of another."""
    if against is not None:
        raise Mistake(f"--against {against} with --baseline; name the stored run's datapath by --datapath {against}")
    base = alike.whole(Store.open(folder))
    question = anew.scenario_of(base.plan, scenario)
    names = [a.datapath for t in base.plan.trials if t.scenario == question.name for a in t.arms]
    old = _only(folder, list(dict.fromkeys(name for name in names if name != BASE)), datapath)
    new = candidate or old
    sides = Sides(question.name, new, old, asked.amount.rate)

    def plan(seed: int) -> Plan:
        return anew.once_more(
            base.plan, question, new, old, asked.limits, asked.amount, seed=seed, command=asked.command
        )

    return Case(asked, sides, plan, base)


def _only(folder: Path, names: Sequence[str], asked: str | None) -> str:
    if asked in names:
        return str(asked)
    if asked is not None or len(names) != 1:
        said = f"--datapath {asked!r} is not in {folder}" if asked else f"{folder} has {len(names)} datapaths"
        raise Mistake(f"{said}; choose by --datapath one of {', '.join(names) or 'none: it only has the baseline arm'}")
    return names[0]


def judged(case: Case, folders: Sequence[Path]) -> Ruling:
    """What runs that are stored already say; `Mistake` where they cannot be compared, unless forced."""
    return _ruled(case, [alike.whole(Store.open(folder)) for folder in folders])


def measured(case: Case, out: Path, say: Say) -> Ruling:
    """Measure, look, and measure again while nothing is sure and looks are left."""
    runs: list[Store] = []
    while True:
        plan = case.plan(case.asked.seed + len(runs))
        _refuse(case, _before(case, plan, session.system(), runs))
        folder = out if not runs else out.with_name(f"{out.name}-{len(runs) + 1}")
        runs.append(session.start(plan, folder, say))
        ruling = _ruled(case, runs)
        if not ruling.open or len(runs) == case.asked.looks:
            return ruling
        say(f"look {len(runs)} of {case.asked.looks}: {ruling.word}: {ruling.because}")


def _ruled(case: Case, runs: Sequence[Store]) -> Ruling:
    grave = [line for number, run in enumerate(runs) for line in _before(case, run.plan, run.system, runs[:number])]
    for run in runs:
        grave += alike.features(run, case.sides.candidate, case.baseline or run, case.sides.against)
    _refuse(case, grave)
    known = alike.notes(runs[0].system, case.baseline.system) if case.baseline else ()
    return judge(
        runs,
        case.sides,
        case.asked.limits,
        baseline=case.baseline,
        looks=case.asked.looks,
        unlike=tuple(dict.fromkeys((*grave, *known))),
    )


def _before(case: Case, plan: Plan, system: alike.System, runs: Sequence[Store]) -> list[str]:
    """What makes a run unlike those that it will be held against."""
    others = [*([case.baseline] if case.baseline else []), *runs[:1]]
    return [x for other in others for x in alike.unlike((plan, system), (other.plan, other.system), case.sides)]


def _refuse(case: Case, grave: Sequence[str]) -> None:
    if grave and not case.asked.force:
        raise Mistake(f"these runs are different experiments: {'; '.join(grave)}; add --force to judge nevertheless")
