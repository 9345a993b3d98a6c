"""What was asked and what was seen: frozen data, nothing but the standard library.

Times are seconds as float unless a name ends in `_ns` (CLOCK_MONOTONIC nanoseconds); sizes are bytes as int.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class LabError(Exception):
    """Everything the lab raises on purpose. Its text is one line a user can act on."""


class Mistake(LabError):
    """What was asked cannot be done as asked; says what was given, what is allowed and what to do. Exit code 2."""


class CannotRun(LabError):
    """What was asked is fine, but this machine cannot do it; says what is missing and what mends it. Exit code 2."""


class Failed(LabError):
    """Something the lab started did not do its job; carries its last words. Exit code 1."""


class Feature(StrEnum):
    """What a datapath does to a request. Arms are comparable only where the features that are asked for are equal."""

    HTTP_PARSE = "http_parse"
    HTTP_METRICS = "http_metrics"  # request counts by source, destination, method, path or route, and status
    LATENCY_HISTOGRAM = "latency_histogram"
    LOAD_BALANCING = "load_balancing"
    L4_POLICY = "l4_policy"  # connections are allowed or refused by the identities of both ends
    L7_POLICY = "l7_policy"  # requests are allowed or refused by identity, method and route
    TRACING = "tracing"  # spans of sampled requests, from their traceparent
    TLS_VISIBILITY = "tls_visibility"  # HTTP is read inside TLS, at the library's own calls
    MUTUAL_TLS = "mutual_tls"  # both ends prove who they are, and what is between them is encrypted
    SAME_NODE_SPLICE = "same_node_splice"  # bytes between pods of one node go from socket to socket


class Need(StrEnum):
    """What a machine must offer before a datapath or a scenario can run. `lab.doctor` probes each by trying it."""

    ROOT = "root"
    NETWORK_NAMESPACES = "network_namespaces"
    CGROUP2 = "cgroup2"
    NFTABLES = "nftables"
    NAT_REDIRECT = "nat_redirect"
    NGINX = "nginx"
    NGINX_LUA = "nginx_lua"
    ENVOY = "envoy"
    ENVOY_API = "envoy_api"  # its messages and gRPC, to speak xDS
    HAPROXY = "haproxy"
    CLANG = "clang"
    LIBBPF = "libbpf"
    BCC = "bcc"
    BPF_CGROUP_SKB = "bpf_cgroup_skb"
    BPF_SOCK_OPS = "bpf_sock_ops"
    BPF_CGROUP_CONNECT = "bpf_cgroup_connect"
    BPF_CGROUP_SOCKOPT = "bpf_cgroup_sockopt"
    BPF_SK_STORAGE = "bpf_sk_storage"
    BPF_TRACEPOINT = "bpf_tracepoint"
    BPF_SK_MSG = "bpf_sk_msg"
    BPF_RINGBUF = "bpf_ringbuf"
    BPF_FS = "bpf_fs"
    BPF_UPROBE = "bpf_uprobe"
    INSTALLED_MESH = "installed_mesh"  # on a Kubernetes cluster; `Datapath.found` looks there


class Arrivals(StrEnum):
    """How send times are spread over a window."""

    UNIFORM = "uniform"
    POISSON = "poisson"


class Placement(StrEnum):
    """Where client and server live."""

    TWO_NODES = "two_nodes"
    SAME_NODE = "same_node"


class BlockKind(StrEnum):
    """Why a block of windows is run; it decides what the meters watch."""

    LADDER = "ladder"  # one whole window per arm at one rate: can the arm keep up?
    SLICES = "slices"  # every arm in turn, 100-500 ms each, many rounds: latency is compared here
    COST = "cost"  # one whole window per arm: CPU per request by part, BPF run time, memory
    HOLD = "hold"  # one whole window per arm, many connections: sockets and their memory on every hop
    REFEREE = "referee"  # one whole window per arm with the kernel's own clock beside the engine's


class Outcome(StrEnum):
    """How a request ended. The integer in raw tables is the position in this list."""

    OK = "ok"  # a complete answer; the status tells which
    TIMEOUT = "timeout"
    RESET = "reset"  # connection closed or reset before the answer was complete
    REFUSED = "refused"  # connection could not be opened
    NOT_SENT = "not_sent"  # no connection was free before its window closed
    MALFORMED = "malformed"  # the answer is not HTTP/1.1 as asked


OUTCOMES: tuple[Outcome, ...] = tuple(Outcome)


@dataclass(frozen=True)
class Load:
    """What one client offers while it is its turn: an open-loop schedule over fixed connections.

    `service_time_s` is slept by the server inside each request; `response_bytes` is the answer's body. Several
    `engines`, each in a pod of its own, share the one schedule and its connections (`lab.load.schedule.owners`).
    """

    rate_per_s: float
    connections: int = 100
    arrivals: Arrivals = Arrivals.POISSON
    response_bytes: int = 128
    service_time_s: float = 0.0
    timeout_s: float = 2.0
    spin: bool = False  # the engine may burn its core between sends
    engines: int = 1

    def __post_init__(self) -> None:
        _positive("rate_per_s", self.rate_per_s)
        _positive("timeout_s", self.timeout_s)
        if not 1 <= self.connections <= MOST_CONNECTIONS:
            raise Mistake(
                f"connections={self.connections}; a client has ports for 1 to {MOST_CONNECTIONS}; ask for fewer"
            )
        if not 0 <= self.response_bytes <= MOST_RESPONSE_BYTES:
            raise Mistake(f"response_bytes={self.response_bytes}; allowed are 0 to {MOST_RESPONSE_BYTES}")
        if not 0 <= self.service_time_s <= self.timeout_s:
            raise Mistake(f"service_time_s={self.service_time_s}; allowed are 0 to timeout_s={self.timeout_s}")
        if not 1 <= self.engines <= self.connections:
            raise Mistake(
                f"engines={self.engines}; each needs a connection of its own: allowed are 1 to {self.connections},"
                " or ask for more connections"
            )

    @property
    def shares(self) -> tuple[int, ...]:
        """Connections of each engine. Raw tables number them through: the first engine's, then the second's."""
        each, over = divmod(self.connections, self.engines)
        return tuple(each + (engine < over) for engine in range(self.engines))

    @property
    def path(self) -> str:
        """The request target that makes the lab's server answer as this load asks."""
        if self.service_time_s:
            return f"/sleep/{round(self.service_time_s * 1000)}/bytes/{self.response_bytes}"
        return f"/bytes/{self.response_bytes}"


MOST_CONNECTIONS = 20_000  # below the 28,232 ephemeral ports that Linux gives one address pair
MOST_RESPONSE_BYTES = 1 << 24


def _positive(name: str, value: float) -> None:
    if not (value > 0 and value < float("inf")):
        raise Mistake(f"{name}={value}; it must be a finite number above 0")


@dataclass(frozen=True)
class Arm:
    """One datapath under test with pods of its own. `none` has two arms, so that the lab can tell noise from effect."""

    name: str
    datapath: str


@dataclass(frozen=True)
class Window:
    """A span of time that belongs to one arm, relative to its block's epoch."""

    index: int
    round: int
    arm: str
    start_s: float
    duration_s: float


@dataclass(frozen=True)
class Block:
    """Windows that share one load. Windows never overlap: no two arms run at the same instant."""

    name: str
    kind: BlockKind
    load: Load
    windows: tuple[Window, ...]
    drop_s: float = 0.0  # the first part of each window is sent but not judged
    guard_s: float = 0.05  # silence after each window, to drain

    @property
    def duration_s(self) -> float:
        return max((w.start_s + w.duration_s for w in self.windows), default=0.0) + self.guard_s

    def only(self, arm: str) -> tuple[Window, ...]:
        return tuple(w for w in self.windows if w.arm == arm)


@dataclass(frozen=True)
class Trial:
    """One deployment, measured from start to end: every arm placed side by side, its blocks run in order.

    `pairs` says which pod pair (so which addresses, which start order) carries which arm; it rotates between trials.
    """

    name: str
    scenario: str
    deployment: int
    seed: int
    arms: tuple[Arm, ...]
    pairs: tuple[int, ...]
    placement: Placement
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Profile:
    """How much of a scenario is run: `smoke`, `quick` or `full`. All rates are requests/s of one client."""

    deployments: int
    rounds: int
    slice_s: float
    ladder: tuple[float, ...]  # rates of the capacity probe, rising
    compare: tuple[Load, ...]  # loads at which arms are compared in slices
    cost: tuple[Load, ...] = ()
    hold: tuple[Load, ...] = ()
    referee: tuple[Load, ...] = ()
    window_s: float = 1.5  # of whole windows: ladder, cost, hold, referee
    drop_s: float = 0.02
    guard_s: float = 0.05
    probed: int | None = None  # only this many deployments climb the ladder, weigh cost and ask the referee; None: all


@dataclass(frozen=True)
class Scenario:
    """One question, as data."""

    name: str
    question: str
    datapaths: tuple[str, ...]
    claims: tuple[str, ...]
    profiles: Mapping[str, Profile]
    placement: Placement = Placement.TWO_NODES
    parity: frozenset[Feature] = frozenset()  # features every arm but `none` must have for a fair comparison


@dataclass(frozen=True)
class RequestCount:
    """How many requests one observer of a datapath says it carried since it started."""

    observer: str
    requests: int
    not_understood: int = 0


@dataclass(frozen=True)
class Reading:
    """One number that one meter saw. `window` is the index within the block, -1 where it covers the whole block.

    `part` is one of app, datapath, load, kernel, host; `metric` names its unit (`cpu_user_s`, `pss_bytes`).
    """

    meter: str
    block: str
    window: int
    arm: str
    part: str
    subject: str
    metric: str
    value: float


@dataclass(frozen=True)
class Finding:
    """What a gate says of one block of one arm. Gated data is kept, labelled, and left out of comparisons."""

    gate: str
    block: str
    passed: bool
    detail: str
    value: float | None = None
    limit: float | None = None


@dataclass(frozen=True)
class Run:
    """What one arm did in one trial. `requests_file` is a Parquet table beside it (see `lab.store`)."""

    scenario: str
    trial: str
    deployment: int
    arm: str
    datapath: str
    features: tuple[Feature, ...]
    requests_file: str
    readings: tuple[Reading, ...]
    findings: tuple[Finding, ...]
    saturated_at: float | None  # the lowest rate of the ladder that it could not keep; None: kept them all
    kept: float | None  # the highest rate of the ladder that it kept
    origin: str = "measured"
    facts: Mapping[str, str] = field(default_factory=dict)  # versions, placement, hashes of configurations and programs


class Word(StrEnum):
    """The only words a verdict uses."""

    HOLDS = "holds"
    HOLDS_IF = "holds if"
    DOES_NOT_HOLD = "does not hold"
    UNDECIDED = "undecided"
    NOT_MEASURABLE = "not measurable here"


@dataclass(frozen=True)
class Verdict:
    """What the stored runs say of one claim.

    `evidence` are the sentences and numbers it stands on; `conditions` come with the most important first.
    """

    claim: str
    word: Word
    because: str
    evidence: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    measured: bool = True  # False: the run holds nothing that the rule could judge
