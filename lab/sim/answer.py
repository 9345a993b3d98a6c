"""What the simulator answers to a forecast: numbers only, each architecture by itself, all from one calibration."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lab.question import Forecast
from lab.record import Mistake
from lab.sim import coefficients, crossover, failures, latency, memory, push, uncertainty
from lab.sim.calibration import Calibration
from lab.sim.failures import Trouble
from lab.sim.fleet import MOST_NODES, MOST_PODS, Fleet, Visibility
from lab.sim.graph import Graph
from lab.sim.memory import ARMS, Habits
from lab.sim.priors import PRIORS
from lab.sim.shape import generate
from lab.summary import Estimate

ORIGIN = "simulated"
SWUNG = ("pernode", "sidecar")  # whose memory is taken apart by inputs
ALIKE = 0.02  # the engines agree where their means differ by less


@dataclass(frozen=True)
class Memory:
    """Bytes of one architecture in the whole fleet, with full and with scoped tables; `parts` as the forecast asked."""

    arm: str
    full: Estimate
    scoped: Estimate
    parts: dict[str, float]


@dataclass(frozen=True)
class Work:
    """Mean time of one call without queueing, s, and processors that the datapath keeps busy in the whole fleet."""

    arm: str
    per_call_s: Estimate
    cores: Estimate


@dataclass(frozen=True)
class Published:
    """A footprint that others have published, multiplied. `cores`: at the forecast's calls; None: not published."""

    name: str
    per: str
    each_bytes: int
    memory_bytes: int
    cores: float | None
    conditions: str
    source: str
    date: str


@dataclass(frozen=True)
class Point:
    """One point of a sweep: the value that was set, and the bytes of every architecture."""

    name: str
    value: float
    memory_bytes: dict[str, tuple[float, float, float]]  # value, low, high


@dataclass(frozen=True)
class Answer:
    """Everything that a report of a forecast shows. `machine` and `runs` are those of the calibration."""

    origin: str
    asked: Forecast
    machine: dict[str, str]
    runs: tuple[str, ...]
    nodes: int
    pods: int
    services: int
    calls_per_s: float
    memories: tuple[Memory, ...]
    work: tuple[Work, ...]
    latencies: tuple[latency.Latency, ...]
    published: tuple[Published, ...]
    pushes: tuple[push.Push, ...]
    failures: tuple[Trouble, ...]
    neighbours: tuple[Trouble, ...]
    swings: dict[str, tuple[uncertainty.Swing, ...]]
    indices: dict[str, tuple[uncertainty.Index, ...]]
    maps: tuple[crossover.Map, ...]
    words: tuple[str, ...]
    notes: tuple[str, ...]


def answer(asked: Forecast, calibration: Calibration, graph: Graph | None = None, seed: int = 1) -> Answer:
    """Everything about one fleet. `Mistake` where a station is overloaded, or something was not measured."""
    calibration = coefficients.adopt(calibration)
    fleet = make(asked, graph, seed)
    habits = Habits(visibility(asked.visibility), asked.connections_per_callee)
    calls = fleet.graph.calls_per_request() * asked.rate_per_s
    times = tuple(
        one
        for arm in ARMS
        for one in (
            latency.closed(arm, fleet, calibration, habits, asked.rate_per_s),
            latency.simulated(arm, fleet, calibration, habits, asked.rate_per_s, seed),
        )
    )
    per_node = max(1, round(fleet.pods / fleet.nodes))
    return Answer(
        origin=ORIGIN,
        asked=asked,
        machine=dict(calibration.machine),
        runs=calibration.runs,
        nodes=fleet.nodes,
        pods=fleet.pods,
        services=len(fleet.graph.services),
        calls_per_s=calls,
        memories=memories(fleet, habits, calibration),
        work=tuple(
            Work(arm, latency.per_call(arm, calibration), latency.cores(arm, calibration, calls)) for arm in ARMS
        ),
        latencies=times,
        published=_published(fleet, calls),
        pushes=push.pushes(fleet, calibration),
        failures=failures.failures(calibration, seed),
        neighbours=failures.neighbours(calibration, seed),
        swings={arm: uncertainty.tornado(arm, fleet, calibration, habits) for arm in SWUNG},
        indices={arm: uncertainty.sobol(arm, fleet, calibration, habits, seed) for arm in SWUNG},
        maps=crossover.maps(calibration, habits),
        words=tuple(crossover.words(fleet.nodes, per_node, len(fleet.graph.services), calibration, habits)),
        notes=tuple(_notes(times)),
    )


def visibility(name: str) -> Visibility:
    """`full` or `scoped`."""
    if name not in tuple(Visibility):
        raise Mistake(f"visibility {name!r} is unknown; allowed: {', '.join(Visibility)}")
    return Visibility(name)


def make(asked: Forecast, graph: Graph | None, seed: int) -> Fleet:
    """The fleet that is asked for; a graph of one's own brings its own pods."""
    pods = asked.nodes * asked.pods_per_node
    if graph is None:
        if not (1 <= asked.nodes <= MOST_NODES and pods <= MOST_PODS):
            raise Mistake(
                f"nodes={asked.nodes} with {asked.pods_per_node} pods each; allowed are 1 to {MOST_NODES} nodes and"
                f" up to {MOST_PODS} pods in all"
            )
        graph = generate(asked.services, pods, asked.graph_seed)
    return Fleet(asked.nodes, graph, seed)


def memories(fleet: Fleet, habits: Habits, calibration: Calibration) -> tuple[Memory, ...]:
    """Of every architecture."""

    def by(arm: str, kind: Visibility) -> Estimate:
        return memory.total(ARMS[arm](fleet, replace(habits, visibility=kind)), calibration)

    return tuple(
        Memory(
            arm,
            by(arm, Visibility.FULL),
            by(arm, Visibility.SCOPED),
            memory.parts(ARMS[arm](fleet, habits), calibration),
        )
        for arm in ARMS
    )


def _published(fleet: Fleet, calls_per_s: float) -> tuple[Published, ...]:
    """A call passes two proxies where every pod has one, else those of both nodes."""
    return tuple(
        Published(
            p.name,
            p.per,
            p.memory_bytes,
            p.memory(fleet),
            None if p.cores_per_1000 is None else p.cores_per_1000 * 2 * calls_per_s / 1000,
            p.conditions,
            p.source,
            p.date,
        )
        for p in PRIORS
    )


def _notes(times: tuple[latency.Latency, ...]) -> list[str]:
    """What a reader must know before believing the numbers."""
    found = [
        f"{one.arm}: the engines' means differ by {abs(one.mean_s / other.mean_s - 1):.1%}; requests count"
        for one, other in zip(times[::2], times[1::2], strict=True)
        if abs(one.mean_s / other.mean_s - 1) > ALIKE
    ]
    least = min(one.covered for one in times)
    return [
        *found,
        f"paths make {least:.1%} of the graph's calls: those rarer than one in a thousand requests are left out",
        "costs of a pass are those at the lowest rate that was measured; queueing is the model's",
        "the control plane's own speed, the spread of CPU time per pass and the service times are assumptions",
    ]
