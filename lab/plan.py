"""From questions to a fixed order of work: scenario → trials (deployments) → blocks → windows, all from one seed."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from lab import datapath
from lab.behaviour import Journey, Turn
from lab.foreign import Original
from lab.question import Prediction, Repeat, Study
from lab.record import Arm, Arrivals, Block, BlockKind, Load, Mistake, Placement, Profile, Scenario, Trial, Window
from lab.scenario import (
    OF_JOURNEYS,
    Options,
    find_amount,
    find_crowd,
    find_profile,
    find_question,
    find_scenario,
    narrow,
    scenario_names,
)

__all__ = ["Plan", "find_question", "find_scenario", "plan", "scenario_names"]

SCHEMA = 1
BASE = "none"
AGAIN = "none_again"  # the second arm of the datapath `none`: what differs between the two is noise
PROBES = frozenset({BlockKind.LADDER, BlockKind.COST, BlockKind.REFEREE})  # in the first `Profile.probed` deployments
DEPLOYMENT_S = 12.0  # allowance per trial: place pods, start proxies and agents, wait until ready, remove
WATCHED_GUARD_S = 0.5  # silence around windows at whose edges meters read much
CASE_S = 5.0  # allowance per case of a study
TURN_S = 10.0  # allowance per turn of a journey: place one arm, start Locust, let users finish
BLOCK_S = 1.5  # allowance per block: start the engines, open and warm connections, read meters


def twin(name: str) -> str:
    """The second arm of a datapath, which equals its first."""
    return f"{name}_again"


@dataclass(frozen=True)
class Plan:
    """One run, resolved to the last window. `scenarios` are as asked in their files, `asked` are the options given."""

    schema: int
    run: str
    created: str  # ISO 8601, UTC
    command: str
    profile: str
    cluster: str
    overlay: bool  # pods' traffic between nodes goes over VXLAN
    cpus: str  # `shared`: any core; `per_node`: each node has its own
    awake: bool  # cores are kept from halting while they are measured
    seed: int
    scenarios: tuple[Scenario, ...]
    trials: tuple[Trial, ...]
    asked: Mapping[str, str] = field(default_factory=dict)
    studies: tuple[Study, ...] = ()
    repeats: tuple[Repeat, ...] = ()  # of the studies
    predictions: tuple[Prediction, ...] = ()  # of their cases; made before anything is measured
    journeys: tuple[Journey, ...] = ()
    turns: tuple[Turn, ...] = ()  # of the journeys, in the order they are walked
    imports: tuple[Original, ...] = ()  # files of other load generators: nothing of them was measured here

    @property
    def seconds(self) -> float:
        """How long the run will take: blocks and turns, and the allowances DEPLOYMENT_S, BLOCK_S, CASE_S and TURN_S."""
        blocks = [block for trial in self.trials for block in trial.blocks]
        cases = sum(len(repeat.cases) for repeat in self.repeats)
        walked_s = sum(turn.seconds + TURN_S for turn in self.turns)
        return sum(b.duration_s + BLOCK_S for b in blocks) + DEPLOYMENT_S * len(self.trials) + CASE_S * cases + walked_s

    def trial(self, name: str) -> Trial:
        """The trial of that name."""
        found = [t for t in self.trials if t.name == name]
        if not found:
            raise Mistake(f"no trial {name!r} in run {self.run}; there are {', '.join(t.name for t in self.trials)}")
        return found[0]

    def repeat(self, name: str) -> Repeat:
        """The repeat of that name."""
        found = [r for r in self.repeats if r.name == name]
        if not found:
            raise Mistake(f"no repeat {name!r} in run {self.run}; there are {', '.join(r.name for r in self.repeats)}")
        return found[0]

    def turn(self, name: str) -> Turn:
        """The turn of a journey of that name."""
        found = [t for t in self.turns if t.name == name]
        if not found:
            raise Mistake(f"no turn {name!r} in run {self.run}; there are {', '.join(t.name for t in self.turns)}")
        return found[0]

    def original(self, name: str) -> Original:
        """The imported repetition of that name."""
        found = [o for o in self.imports if o.name == name]
        if not found:
            raise Mistake(f"no import {name!r} in run {self.run}; there are {', '.join(o.name for o in self.imports)}")
        return found[0]


def plan(
    questions: Sequence[Scenario | Study | Journey],
    profile: str,
    *,
    seed: int,
    run: str | None = None,
    created: str | None = None,
    command: str = "",
    cluster: str = "local",
    overlay: bool = False,
    cpus: str = "per_node",
    awake: bool = True,
    datapaths: Sequence[str] | None = None,
    rate: float | None = None,
    connections: int | None = None,
    placement: Placement | None = None,
    duration_s: float | None = None,
    deployments: int | None = None,
    users: int | None = None,
    processes: int | None = None,
    workers: int | None = None,
    web_ui: int | None = None,
    engines: int | None = None,
    again: Sequence[str] = (),
) -> Plan:
    """The plan of one run. Equal arguments give equal plans; `created` and `run` come from the clock when not given.

    `again` are datapaths that get a second arm in scenarios, as `none` has (see `twin`): two equal arms show noise.
    The options from `datapaths` on are those of `lab.scenario.Options`. `Mistake` for what is unknown or out of range.
    """
    created = created or datetime.now(UTC).isoformat(timespec="seconds")
    options = Options(
        datapaths, rate, connections, placement, duration_s, deployments, users, processes, workers, web_ui, engines
    )
    scenarios = [q for q in _distinct(questions) if isinstance(q, Scenario)]
    studies = [q for q in questions if isinstance(q, Study)]
    journeys = [q for q in questions if isinstance(q, Journey)]
    return Plan(
        schema=SCHEMA,
        run=run or f"{''.join(c for c in created[:19] if c.isdigit())}-{profile}",
        created=created,
        command=command,
        profile=profile,
        cluster=cluster,
        overlay=overlay,
        cpus=cpus,
        awake=awake,
        seed=seed,
        scenarios=tuple(scenarios),
        trials=tuple(t for s in scenarios for t in _trials(s, find_profile(s, profile), seed, options, again)),
        asked=options.given(),
        studies=tuple(studies),
        repeats=tuple(r for s in studies for r in _repeats(s, profile, seed, options)),
        journeys=tuple(journeys),
        turns=tuple(t for j in journeys for t in _turns(j, profile, seed, options)),
    )


def _repeats(study: Study, profile: str, seed: int, options: Options) -> Iterable[Repeat]:
    """Every case once in each repeat, in an order of its own."""
    amount = find_amount(study, profile)
    if others := options.given().keys() - {"deployments"}:
        raise Mistake(f"study {study.name} was given {', '.join(sorted(others))}; it can only be given deployments")
    for number in range(1, (options.deployments or amount.repeats) + 1):
        dice = _dice(seed, study.name, number)
        cases = tuple(dice.sample(amount.cases, len(amount.cases)))
        yield Repeat(f"{study.name}-r{number}", study.name, number, dice.getrandbits(31), cases)


def _turns(journey: Journey, profile: str, seed: int, options: Options) -> Iterable[Turn]:
    """Every arm once in each repeat, in an order of its own. With repeats there are two of `none`, as in scenarios."""
    crowd = find_crowd(journey, profile)
    if others := options.given().keys() & {"rate", "connections"}:
        raise Mistake(f"journey {journey.name} was given {', '.join(sorted(others))}; its users decide: give --users")
    if (options.processes or 1) > 1 and (journey.shaped or options.web_ui):
        raise Mistake(
            f"journey {journey.name} was given processes={options.processes}; what Locust forks loses users where a "
            "shape decides how many there are, and counts beside its pages (seen with 2.47): give --workers instead"
        )
    repeats = options.deployments or crowd.repeats
    names = _names(journey.datapaths, options.datapaths)
    again = (Arm(AGAIN, BASE),) if repeats > 1 and BASE in names else ()
    arms = (*(Arm(name, name) for name in names), *again)
    seconds, engines = options.duration_s or crowd.seconds, options.engines or 1
    for number in range(1, repeats + 1):
        dice = _dice(seed, journey.name, number)
        for arm in dice.sample(arms, len(arms)):
            yield Turn(
                name=f"{journey.name}-r{number}-{arm.name}",
                journey=journey.name,
                repeat=number,
                arm=arm,
                seed=dice.getrandbits(31),
                users=options.users or crowd.users,
                spawn_per_s=crowd.spawn_per_s,
                seconds=seconds,
                settle_s=min(crowd.settle_s, seconds / 2),
                placement=options.placement or journey.placement,
                processes=options.processes or 1,
                workers=options.workers or (engines if engines > 1 else 0),
                engines=engines,
            )


def _distinct(questions: Sequence[Scenario | Study | Journey]) -> Sequence[Scenario | Study | Journey]:
    names = [q.name for q in questions]
    if not names or len(set(names)) < len(names):
        raise Mistake(f"scenarios={','.join(names)}; name at least one, and each once")
    return questions


def _trials(
    scenario: Scenario, asked: Profile, seed: int, options: Options, again: Sequence[str] = ()
) -> Iterable[Trial]:
    if others := options.given().keys() & OF_JOURNEYS:
        raise Mistake(f"scenario {scenario.name} was given {', '.join(sorted(others))}, which are options of journeys")
    profile = narrow(asked, options)
    arms = _arms(scenario, profile, options.datapaths)
    arms += tuple(Arm(twin(name), name) for name in again if twin(name) not in {arm.name for arm in arms})
    start = _dice(seed, scenario.name).sample(range(len(arms)), len(arms))
    for deployment in range(1, profile.deployments + 1):
        dice = _dice(seed, scenario.name, deployment)
        probed = profile.probed is None or deployment <= profile.probed
        planned = [b for b in _blocks(profile, arms, dice, options) if probed or b.kind not in PROBES]
        for suffix, blocks in _apart(planned):
            yield Trial(
                name=f"{scenario.name}-d{deployment}{suffix}",
                scenario=scenario.name,
                deployment=deployment,
                seed=dice.getrandbits(31),
                arms=arms,
                pairs=tuple(start[(slot + deployment) % len(arms)] for slot in range(len(arms))),  # of a Latin square
                placement=options.placement or scenario.placement,
                blocks=blocks,
            )


def _dice(*seeds: object) -> random.Random:
    """Chance that anybody can roll again: the same seeds give the same numbers on every machine."""
    return random.Random("/".join(map(str, seeds)))  # noqa: S311 - an order of trials is no secret


def _apart(blocks: Sequence[Block]) -> Iterable[tuple[str, tuple[Block, ...]]]:
    """Blocks that count sockets get a deployment of their own: proxies keep those of an earlier block for a while."""
    together = tuple(b for b in blocks if b.kind is not BlockKind.HOLD)
    if together:
        yield "", together
    for block in blocks:
        if block.kind is BlockKind.HOLD:
            yield f"-{block.name}", (block,)


def _arms(scenario: Scenario, profile: Profile, datapaths: Sequence[str] | None) -> tuple[Arm, ...]:
    names = _names(scenario.datapaths, datapaths)
    if not profile.compare:
        return tuple(Arm(name, name) for name in names)
    if BASE not in names:
        raise Mistake(f"datapaths={','.join(names)}; scenario {scenario.name} compares with {BASE}: add it to the list")
    return (*(Arm(name, name) for name in names), Arm(AGAIN, BASE))


def _names(own: Sequence[str], asked: Sequence[str] | None) -> tuple[str, ...]:
    names = tuple(own if asked is None else map(_known, asked))
    if not names or len(set(names)) < len(names):
        raise Mistake(f"datapaths={','.join(names)}; name at least one, and each once")
    return names


def _known(name: str) -> str:
    datapath.find(name)
    return name


def _blocks(profile: Profile, arms: Sequence[Arm], dice: random.Random, options: Options) -> tuple[Block, ...]:
    """In the order they run: can arms keep up, is the engine right, how do arms compare, what do they cost and hold?"""
    base = next(iter((*profile.compare, *profile.cost, *profile.referee, *profile.hold)), Load(1))
    steps = [replace(base, rate_per_s=rate, service_time_s=0.0) for rate in sorted(set(profile.ladder))]
    once = [arm for arm in arms if arm.name != AGAIN]  # the second `none` is there for the slices' sake
    work = (
        (BlockKind.LADDER, steps, 1, profile.window_s, profile.guard_s),
        (BlockKind.REFEREE, profile.referee, 1, profile.window_s, WATCHED_GUARD_S),
        (BlockKind.SLICES, profile.compare, profile.rounds, profile.slice_s, profile.guard_s),
        (BlockKind.COST, profile.cost, 1, options.held_s or profile.window_s, WATCHED_GUARD_S),
        (BlockKind.HOLD, profile.hold, 1, options.duration_s or profile.window_s, WATCHED_GUARD_S),
    )
    return tuple(
        Block(
            name=name,
            kind=kind,
            load=load,
            windows=_windows(arms if kind is BlockKind.SLICES else once, rounds, each_s, guard_s, dice),
            drop_s=profile.drop_s,
            guard_s=guard_s,
        )
        for kind, loads, rounds, each_s, guard_s in work
        for name, load in _named(kind, loads)
    )


def _windows(
    arms: Sequence[Arm], rounds: int, each_s: float, guard_s: float, dice: random.Random
) -> tuple[Window, ...]:
    """Every arm once a round, in an order of its own each round; after each window the guard."""
    turns = [(number, arm) for number in range(rounds) for arm in dice.sample(arms, len(arms))]
    step_s = each_s + guard_s
    return tuple(
        Window(index, number, arm.name, round(index * step_s, 9), each_s) for index, (number, arm) in enumerate(turns)
    )


def _named(kind: BlockKind, loads: Sequence[Load]) -> list[tuple[str, Load]]:
    """Block names: the kind, then what tells its loads apart."""
    names = [_name(kind, load) for load in loads]
    full = [
        f"{name}-c{load.connections}" if names.count(name) > 1 else name
        for name, load in zip(names, loads, strict=True)
    ]
    if len(set(full)) < len(full):
        raise Mistake(f"{kind} loads {', '.join(full)} differ in nothing that their names show; make them different")
    return list(zip(full, loads, strict=True))


def _name(kind: BlockKind, load: Load) -> str:
    words = [f"c{load.connections}" if kind is BlockKind.HOLD else f"{load.rate_per_s:.12g}"]
    if load.service_time_s:
        words.append(f"sleep{load.service_time_s * 1000:.12g}ms")
    if load.response_bytes != Load(1).response_bytes:
        words.append(f"{load.response_bytes}bytes")
    if load.arrivals is not Arrivals.POISSON:
        words.append(load.arrivals)
    return "-".join([kind, *words])
