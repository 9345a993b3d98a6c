"""May these runs be held against each other? Everything but the datapath must be as it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lab.check import check
from lab.plan import Plan
from lab.record import BlockKind, Mistake
from lab.regression.ruling import Sides
from lab.sim.calibrate import machine_class
from lab.store import Store

SETTINGS = ("overlay", "cpus", "awake")  # of a plan
LOAD = ("rate_per_s", "connections", "arrivals", "response_bytes", "service_time_s", "timeout_s", "spin")

System = Mapping[str, object]


def unlike(one: tuple[Plan, System], other: tuple[Plan, System], sides: Sides) -> tuple[str, ...]:
    """What makes two runs different experiments, before a byte of either is measured; in words."""
    return (*_machines(one[1], other[1]), *_places(one[0], other[0], sides), *_loads(one[0], other[0], sides))


def features(new: Store, candidate: str, old: Store, against: str) -> tuple[str, ...]:
    """How what two arms do to a request differs. An arm that is not there differs in nothing."""
    here, there = (
        [set(run.features) for run in store.runs() if run.arm == arm]
        for store, arm in ((new, candidate), (old, against))
    )
    odd = sorted(set().union(*here) ^ set().union(*there)) if here and there else []
    return (f"features of {candidate} and {against} differ in {', '.join(odd)}",) if odd else ()


def notes(one: System, other: System) -> tuple[str, ...]:
    """What else differs and should be known: a kernel, a library."""
    found = (
        [f"kernel {one.get('kernel')} against {other.get('kernel')}"]
        if one.get("kernel") != other.get("kernel")
        else []
    )
    a, b = one.get("versions"), other.get("versions")
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        found += [f"{name} {a[name]} against {b[name]}" for name in sorted(a.keys() & b.keys()) if a[name] != b[name]]
    return tuple(found)


def whole(store: Store) -> Store:
    """The run, if it was measured to its end and nothing in it has changed since; else `Mistake`."""
    if store.missing():
        raise Mistake(f"{store.folder} is not finished; finish it with: mesh-lab run … --resume {store.folder}")
    if origins := sorted({run.origin for run in store.runs()} - {"measured"}):
        raise Mistake(f"{store.folder} is {', '.join(origins)}; a gate judges what was measured")
    if problems := check(store.folder):
        raise Mistake(f"{store.folder}: {problems[0].file} {problems[0].what}; see: mesh-lab check {store.folder}")
    return store


def _machines(one: System, other: System) -> Iterator[str]:
    if machine_class(one) != machine_class(other):
        yield f"machine {machine_class(one)} against {machine_class(other)}"
    if one.get("cores") != other.get("cores"):
        yield f"{one.get('cores')} cores against {other.get('cores')}"


def _places(one: Plan, other: Plan, sides: Sides) -> Iterator[str]:
    if one.schema != other.schema:
        yield f"schema {one.schema} against {other.schema}"
    kinds = [plan.cluster.partition(":")[0] for plan in (one, other)]
    if kinds[0] != kinds[1]:
        yield f"cluster {kinds[0]} against {kinds[1]}"
    for name in SETTINGS:
        if getattr(one, name) != getattr(other, name):
            yield f"{name} {getattr(one, name)} against {getattr(other, name)}"
    placements, arms = _of_trials(one, sides), _of_trials(other, sides)
    if placements[0] != arms[0]:
        yield f"placement {', '.join(placements[0])} against {', '.join(arms[0])}"
    if placements[1] != arms[1]:
        yield f"{placements[1]} arms side by side against {arms[1]}"


def _of_trials(plan: Plan, sides: Sides) -> tuple[Sequence[str], int]:
    """Placements, and how many arms shared the machine."""
    trials = [t for t in plan.trials if t.scenario == sides.scenario]
    return sorted({str(t.placement) for t in trials}), max((len(t.arms) for t in trials), default=0)


def _loads(one: Plan, other: Plan, sides: Sides) -> Iterator[str]:
    """Loads that are compared must be offered in the same way in both; loads of one run only are not compared."""
    a, b = _offered(one, sides), _offered(other, sides)
    if not a.keys() & b.keys():
        yield f"loads {', '.join(a) or 'none'} against {', '.join(b) or 'none'}"
    for load in sorted(a.keys() & b.keys()):
        for (name, here), (_, there) in zip(a[load], b[load], strict=True):
            if here != there:
                yield f"{name} of {load} {here} against {there}"


def _offered(plan: Plan, sides: Sides) -> dict[str, tuple[tuple[str, object], ...]]:
    """Load -> everything that may change what is measured under it."""
    found = {}
    for block in (b for t in plan.trials if t.scenario == sides.scenario for b in t.blocks):
        if block.kind is BlockKind.SLICES and sides.rate_per_s in (None, block.load.rate_per_s):
            slices = (("slice_s", block.windows[0].duration_s), ("drop_s", block.drop_s), ("guard_s", block.guard_s))
            found[block.name] = (*((name, getattr(block.load, name)) for name in LOAD), *slices)
    return found
