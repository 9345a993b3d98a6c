"""Questions about users who behave: journeys, which Locust walks. Data only, beside the questions of `lab.question`.

A journey is a closed loop: a user asks, waits for the answer, thinks, asks the next. A slow arm is asked less often, so
its times are not those of an open loop: they are kept, shown and compared apart from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lab.record import Arm, Feature, Finding, Mistake, Placement, RequestCount

LOOP = "closed"  # how every journey is marked, wherever its numbers are shown

COLUMNS = (
    ("step", "<u2"),  # position in the walk's steps
    ("worker", "<u2"),  # Locust's process
    ("user", "<i4"),  # of that process, in order of appearance
    ("connection", "<i4"),  # of that process, in the order they were opened; -1: none, or not known
    ("start_ns", "<i8"),  # since the test began
    ("duration_ns", "<i8"),  # as the request event says, rounded by nobody; -1: it does not say
    ("bytes", "<i8"),  # of the answer's body
    ("status", "<i2"),  # 0: no answer
    ("sends", "<u1"),  # times it went on the wire: Locust's client asks again where a connection was closed
    ("failed", "<u1"),  # 1: Locust counts it as a failure
    ("outcome", "<i1"),  # position in lab.record.OUTCOMES; `ok` is a complete answer, whatever its status
)
"""One request event of Locust: column and its type (numpy's words, packed)."""


@dataclass(frozen=True)
class Crowd:
    """How much of a journey is run: `smoke`, `quick` or `full`.

    `users` is the most there are at once; a locustfile with a shape decides how they come and go within `seconds`.
    What starts in the first `settle_s` is kept and not judged.
    """

    repeats: int
    users: int
    seconds: float
    spawn_per_s: float = 10.0
    settle_s: float = 1.0

    def __post_init__(self) -> None:
        if self.repeats < 1 or self.users < 1 or not self.spawn_per_s > 0:
            raise Mistake(f"repeats={self.repeats}, users={self.users}, spawn_per_s={self.spawn_per_s}; give 1 or more")
        if not 0 <= self.settle_s < self.seconds < float("inf"):
            raise Mistake(f"seconds={self.seconds}, settle_s={self.settle_s}; users must stay longer than they settle")


@dataclass(frozen=True)
class Journey:
    """One question about users, as data. `locustfile` is a file of `scenarios/journeys/locustfiles`.

    `sizes`, `sleeps` and `closes` say which targets of the server it asks for (`lab.workload.server`).
    """

    name: str
    question: str
    datapaths: tuple[str, ...]
    claims: tuple[str, ...]
    locustfile: str
    profiles: Mapping[str, Crowd]
    sizes: tuple[int, ...] = (128,)
    sleeps: bool = False
    closes: bool = False
    shaped: bool = False  # its locustfile has a LoadTestShape, which says how many users there are
    placement: Placement = Placement.TWO_NODES
    parity: frozenset[Feature] = frozenset()  # features every arm but `none` must have for a fair comparison


@dataclass(frozen=True)
class Turn:
    """One arm's go at a journey in one repeat: a whole trial, alone on the machine.

    `processes` above 1 are forked by Locust itself; `workers` above 0 are started beside a master, each on its own.
    Several `engines` are client pods, in the first of which the master is; they take the workers in turn.
    """

    name: str
    journey: str
    repeat: int
    arm: Arm
    seed: int
    users: int
    spawn_per_s: float
    seconds: float
    settle_s: float
    placement: Placement
    processes: int = 1
    workers: int = 0
    engines: int = 1

    def __post_init__(self) -> None:
        if self.processes < 1 or self.workers < 0 or (self.processes > 1 and self.workers):
            raise Mistake(
                f"processes={self.processes}, workers={self.workers}; give processes that Locust forks, or workers"
            )
        if self.engines < 1 or (self.engines > 1 and self.workers < self.engines):
            raise Mistake(
                f"engines={self.engines}, workers={self.workers}; each client pod has at least one of Locust's workers:"
                " ask for as many workers, or more"
            )

    @property
    def recorders(self) -> int:
        """How many of Locust's processes have users."""
        return self.workers or self.processes


@dataclass(frozen=True)
class Tally:
    """What Locust itself says of one step when it has stopped; `step` is method and name."""

    step: str
    requests: int
    failures: int


@dataclass(frozen=True)
class Walk:
    """What was seen in one turn; its requests are a table beside it, with the columns COLUMNS.

    `lasted_s` is how long the users were let stay; `seen` are the datapath's own counts meanwhile; `connections` is how
    many Locust opened; `cpu_share` is the busiest of its processes, in cores; `errors` are tasks of users that broke
    off by an exception of their own.
    """

    turn: str
    journey: str
    repeat: int
    arm: str
    datapath: str
    features: tuple[Feature, ...]
    steps: tuple[str, ...]
    tallies: tuple[Tally, ...]
    seen: tuple[RequestCount, ...]
    lasted_s: float
    connections: int
    cpu_share: float
    errors: int
    findings: tuple[Finding, ...] = ()
    origin: str = "measured"
    facts: Mapping[str, str] = field(default_factory=dict)
