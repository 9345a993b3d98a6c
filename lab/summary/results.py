"""What the stored trials of one run say: numbers only, computed from the trials and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from lab.foreign import Concern, Imported


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Latency:
    """One arm under one load, all its valid windows pooled. `response_*` from schedule, `service_*` from send."""

    scenario: str
    load: str  # name of the block, e.g. `slices-5000`
    rate_per_s: float
    connections: int
    service_time_s: float
    arm: str
    datapath: str
    deployments: int
    windows: int
    windows_void: int  # left out by a gate
    requests: int
    achieved: float  # answered in time / offered
    outcomes: dict[str, int]
    response_p50_s: float
    response_mean_s: float
    response_p90_s: float
    response_p99_s: float
    response_p999_s: float | None  # None below 100,000 requests
    service_p50_s: float
    lag_p50_s: float
    lag_p99_s: float


@dataclass(frozen=True)
class Contrast:
    """One arm against the baseline `none` under one load. `verdict` is one of the fixed words of `lab.stats`."""

    scenario: str
    load: str
    rate_per_s: float
    service_time_s: float
    arm: str
    base: str
    metric: str  # p50, mean, p99
    ratio: Estimate  # arm / base, Hodges-Lehmann of per-round log-ratios
    geometric_ratio: Estimate
    difference_s: Estimate  # arm - base
    deployments: int
    rounds: int
    wilcoxon_p: float
    holm_p: float
    noise_floor: float  # half width of the A/A interval for the same load and metric, as a ratio - 1
    detectable: float  # minimum detectable effect, as a ratio - 1
    verdict: str
    because: str
    rounds_ratio: tuple[tuple[int, int, float], ...]  # (deployment, round, ratio): every round, for pictures


@dataclass(frozen=True)
class Capacity:
    """How far one arm got up the ladder."""

    scenario: str
    arm: str
    datapath: str
    kept_per_s: float | None  # highest rate kept in every deployment
    saturated_per_s: float | None  # lowest rate not kept; None: kept all
    steps: tuple[tuple[float, float, float, float, bool], ...]  # (rate, achieved/offered, response p50 s, p99 s, kept)


@dataclass(frozen=True)
class Cost:
    """CPU seconds per request of one arm under one load, by part (app, datapath, load, kernel) and kind."""

    scenario: str
    load: str
    rate_per_s: float
    arm: str
    requests: int
    per_request_s: dict[str, Estimate]  # keys `app.user`, `app.system`, `datapath.user`, …, `kernel`, `bpf`, `total`


@dataclass(frozen=True)
class Memory:
    """Bytes held by one arm, by part, mean over deployments; processes in `processes`."""

    scenario: str
    load: str
    arm: str
    part: str
    processes: int
    pss_bytes: float
    private_bytes: float
    rss_bytes: float
    bpf_bytes: float
    places: int = 1  # pods or nodes that these processes are in


@dataclass(frozen=True)
class Sockets:
    """Sockets on the path of one arm: what was counted in every namespace against the arm's formula."""

    scenario: str
    load: str
    arm: str
    datapath: str
    connections: int  # of the application
    hops: dict[str, float]  # `place/process` -> sockets
    observed_per_connection: float  # TCP connections on the path / connections of the application
    expected_per_connection: int
    memory_bytes_per_connection: float  # structures and buffers on all hops / connections of the application
    traced_per_connection: float | None  # the BPF tracepoint's own count, where it ran


@dataclass(frozen=True)
class Accounting:
    """The accounting proof: what an observer counted, what the engine put on the wire, over all blocks."""

    scenario: str
    arm: str
    observer: str
    sent: int
    seen: int
    not_understood: int


@dataclass(frozen=True)
class Coefficient:
    """One coefficient of a law, by least squares on relative residuals over all its cases and repeats.

    The interval is that of a wild bootstrap over cases; `n` are the observations behind it. `unit` is that of the
    metric per what the term counts.
    """

    study: str
    law: str
    subject: str
    metric: str
    term: str
    product: str  # of parameters; `1`: what is there without any
    value: float
    low: float
    high: float
    unit: str
    n: int
    draws: tuple[float, ...]  # of the bootstrap; those of one law belong together by position


@dataclass(frozen=True)
class Size:
    """What one case came to: the mean over repeats of one metric, its least and most, and what the law says."""

    study: str
    law: str
    case: str
    parameters: dict[str, int | str]
    metric: str
    value: float
    least: float
    most: float
    n: int
    fitted: float


@dataclass(frozen=True)
class Foretold:
    """A prediction that was in the plan, beside what was measured: the median over repeats, its least and most."""

    case: str
    metric: str
    predicted: float
    low: float
    high: float
    observed: float
    least: float
    most: float
    repeats: int
    error: float  # predicted / observed - 1
    tolerance: float
    passed: bool
    covered: bool  # the interval holds the observed


@dataclass(frozen=True)
class Step:
    """One step of a journey on one arm, valid repeats pooled. A closed loop: `time_*` are no open-loop response times.

    Times are of complete answers, whatever their status; `failures` is Locust's word.
    """

    journey: str
    step: str  # method and name, or all of them together
    arm: str
    datapath: str
    loop: str  # `closed`
    users: int
    repeats: int
    repeats_void: int  # left out by a gate
    requests: int
    failures: int
    outcomes: dict[str, int]
    throughput_per_s: float  # complete answers
    time_p50_s: float
    time_mean_s: float
    time_p90_s: float
    time_p99_s: float


@dataclass(frozen=True)
class StepContrast:
    """One step of a journey on one arm against the baseline, part by part. Of throughput, less is slower."""

    journey: str
    step: str
    arm: str
    base: str
    loop: str  # `closed`
    metric: str  # p50, mean, p99, throughput
    ratio: Estimate  # arm / base
    difference: Estimate  # arm - base, in seconds, or requests/s
    repeats: int
    parts: int  # of all repeats together
    wilcoxon_p: float
    holm_p: float
    noise_floor: float  # half width of the A/A interval of the same step and metric, as a ratio - 1
    detectable: float
    verdict: str
    because: str
    parts_ratio: tuple[tuple[int, int, float], ...]  # (repeat, part, ratio)


@dataclass(frozen=True)
class WalkCount:
    """None lost: raw events, Locust's own count, requests on the wire, and what an observer of the datapath counted."""

    journey: str
    arm: str
    walks: int
    walks_void: int  # left out by a gate
    recorded: int
    counted: int
    sent: int
    connections: int
    observer: str  # empty: the datapath sees no requests
    seen: int | None


@dataclass(frozen=True)
class Summary:
    """Everything the claims and the report are made from."""

    run: str
    profile: str
    origin: str
    latencies: tuple[Latency, ...]
    contrasts: tuple[Contrast, ...]
    capacities: tuple[Capacity, ...]
    costs: tuple[Cost, ...]
    memories: tuple[Memory, ...]
    sockets: tuple[Sockets, ...]
    accounting: tuple[Accounting, ...]
    referee: dict[
        str, float
    ]  # engine's service time against the kernel's clock: keys like `none.5000.p50_difference_s`
    host: dict[str, float]  # steal share, worst window, pressure
    gates: dict[str, dict[str, int]]  # gate -> {passed, failed}
    warnings: tuple[str, ...]  # in words: what limits these results, and what to do about it
    coefficients: tuple[Coefficient, ...] = ()  # of studies
    sizes: tuple[Size, ...] = ()
    foretold: tuple[Foretold, ...] = ()
    steps: tuple[Step, ...] = ()  # of journeys: closed loops, kept apart from all above
    step_contrasts: tuple[StepContrast, ...] = ()
    walk_counts: tuple[WalkCount, ...] = ()
    imported: tuple[Imported, ...] = ()  # told by other tools, not measured: judges no claim
    concerns: tuple[Concern, ...] = ()  # of the audit, about what was imported
