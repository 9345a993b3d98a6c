"""Plans of a gate: two versions side by side in one run; or what a stored run measured, once more."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lab import datapath
from lab import plan as planning
from lab.plan import BASE, Plan, twin
from lab.record import Mistake, Placement, Profile, Scenario
from lab.regression.ruling import Limits, Sides
from lab.scenario import Options, find_profile, find_scenario, narrow

PROFILE = "gate"  # the name of the narrowed profile in stored plans
FROM, DEPLOYMENTS, ROUNDS = "quick", 10, 20  # where nothing is asked


@dataclass(frozen=True)
class Amount:
    """How much is measured, and where; None: as usual, or as the stored run did."""

    profile: str | None = None
    rate: float | None = None
    connections: int | None = None
    deployments: int | None = None
    rounds: int | None = None
    cluster: str | None = None

    def __post_init__(self) -> None:
        for name in ("deployments", "rounds"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise Mistake(f"--{name} {value}; it must be 1 or more")


def sides_of(scenario: str, candidate: str, against: str, rate_per_s: float | None = None) -> Sides:
    """Two datapaths side by side; one against itself is its second, equal arm against the first."""
    return Sides(scenario, twin(candidate) if candidate == against else candidate, against, rate_per_s)


def side_by_side(
    scenario: str,
    candidate: str,
    against: str,
    limits: Limits,
    amount: Amount,
    *,
    seed: int,
    cluster: str = "local",
    awake: bool = True,
    force: bool = False,
    command: str = "",
) -> Plan:
    """Both versions in every round, beside `none` and its twin, which show the noise; at one rate.

    The rate is the scenario's first where none is given. `Mistake` for unknown names, and, unless forced, where the
    two do not do the same to a request.
    """
    new, old = datapath.find(candidate).features, datapath.find(against).features
    if new != old and not force:
        odd = ", ".join(sorted(new ^ old))
        raise Mistake(f"features of {candidate} and {against} differ in {odd}; compare equals, or add --force")
    found = find_scenario(scenario)
    whole = find_profile(found, amount.profile or FROM)
    asked = narrow(whole, Options(rate=amount.rate, connections=amount.connections))
    if not asked.compare:
        raise Mistake(f"scenario {scenario} compares nothing in slices; take http_visibility")
    one = replace(asked, compare=asked.compare[:1], cost=(), ladder=whole.ladder)
    measured = replace(
        _only(one, limits),
        deployments=amount.deployments or DEPLOYMENTS,
        rounds=amount.rounds or ROUNDS,
    )
    parity = found.parity if found.parity <= old else found.parity & new & old
    return planning.plan(
        [replace(found, profiles={PROFILE: measured}, parity=parity)],
        PROFILE,
        seed=seed,
        datapaths=tuple(dict.fromkeys((BASE, against, candidate))),
        again=(against,) if candidate == against else (),
        cluster=cluster,
        awake=awake,
        command=command,
    )


def scenario_of(base: Plan, name: str | None) -> Scenario:
    """The scenario of a stored run that a gate can judge; `Mistake` where it has none, or several and none is named."""
    compared = [s for s in base.scenarios if find_profile(s, base.profile).compare]
    found = [s for s in compared if name in (None, s.name)]
    if len(found) != 1:
        known = ", ".join(s.name for s in compared) or "none"
        raise Mistake(f"run {base.run} has these scenarios that compare in slices: {known}; name one with --scenario")
    return found[0]


def once_more(
    base: Plan,
    scenario: Scenario,
    candidate: str,
    against: str,
    limits: Limits,
    amount: Amount,
    *,
    seed: int,
    command: str = "",
) -> Plan:
    """The plan of a stored run again, with `candidate` where `against` was; what is not judged is left out."""
    for name in ("profile", "connections", "rounds", "cluster"):
        if getattr(amount, name) is not None:
            raise Mistake(f"--{name} with --baseline; the stored run decides it: leave it out")
    trials = [t for t in base.trials if t.scenario == scenario.name]
    arms = trials[0].arms
    asked = narrow(find_profile(scenario, base.profile), options(base))
    held = len({t.deployment for t in trials})
    again = [a.datapath for a in arms if a.name == twin(a.datapath) and a.datapath != BASE]
    names = dict.fromkeys(a.datapath for a in arms)
    return planning.plan(
        [
            replace(
                scenario, profiles={base.profile: replace(_only(asked, limits), deployments=amount.deployments or held)}
            )
        ],
        base.profile,
        seed=seed,
        datapaths=tuple(candidate if name == against else name for name in names),
        again=tuple(candidate if name == against else name for name in again),
        placement=trials[0].placement,
        cluster=base.cluster,
        overlay=base.overlay,
        cpus=base.cpus,
        awake=base.awake,
        command=command,
    )


def options(base: Plan) -> Options:
    """What was asked of a stored run beside its scenario."""
    asked = base.asked
    return Options(
        rate=float(asked["rate"]) if "rate" in asked else None,
        connections=int(asked["connections"]) if "connections" in asked else None,
        duration_s=float(asked["duration_s"]) if "duration_s" in asked else None,
        deployments=int(asked["deployments"]) if "deployments" in asked else None,
        placement=Placement(asked["placement"]) if "placement" in asked else None,
    )


def _only(asked: Profile, limits: Limits) -> Profile:
    """Without what no threshold asks for, and with the rest in every deployment."""
    cost = (asked.cost or asked.compare) if limits.costs else ()
    ladder = asked.ladder if limits.loss is not None else ()  # one stall on it would keep an arm from all slices
    return replace(asked, ladder=ladder, cost=cost, referee=(), hold=(), probed=None)
