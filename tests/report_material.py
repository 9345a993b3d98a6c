"""A made-up summary for the tests of the report: every part filled, every number its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from lab.record import Verdict, Word
from lab.report.facts import Run
from lab.summary import (
    Accounting,
    Capacity,
    Contrast,
    Cost,
    Estimate,
    Latency,
    Memory,
    Sockets,
    Summary,
)

ARMS = {"none": 1.0, "none_again": 1.004, "ebpf": 1.023, "pernode": 2.31, "sidecar": 4.17}
DATAPATH = {"none_again": "none"}
KNEES = {"pernode": (5000.0, 7500.0), "sidecar": (2000.0, 3000.0)}
RATES = (500.0, 1000.0, 2000.0, 3000.0, 5000.0, 7500.0, 10_000.0, 15_000.0, 20_000.0)
LOADS = ((500.0, 0.0), (1000.0, 0.0), (5000.0, 0.0), (10_000.0, 0.0), (200.0, 0.002))
CONNECTIONS = {"none": 1, "ebpf": 1, "pernode": 2, "sidecar": 3}
MARGIN = 0.01


def around(value: float, share: float = MARGIN) -> Estimate:
    return Estimate(value, value * (1 - share), value * (1 + share))


def carries(arm: str, rate: float) -> bool:
    return arm not in KNEES or rate < KNEES[arm][1]


def summary(seed: int = 1) -> Summary:
    """Four datapaths and a second `none`; two of them saturate."""
    rng = np.random.default_rng(seed)
    return Summary(
        run="20261123-synthetic",
        profile="quick",
        origin="measured",
        latencies=tuple(_latency(arm, *load) for load in LOADS for arm in ARMS if carries(arm, load[0])),
        contrasts=tuple(
            _contrast(arm, *load, metric, rng)
            for load in LOADS
            for arm in ARMS
            for metric in ("p50", "mean", "p99")
            if arm != "none"
        ),
        capacities=tuple(_capacity(arm) for arm in ARMS),
        costs=tuple(_cost(arm, rate) for rate in (1000.0, 10_000.0) for arm in ARMS if carries(arm, rate)),
        memories=tuple(m for arm in ("none", "ebpf", "pernode", "sidecar") for m in _memories(arm)),
        sockets=tuple(_sockets(arm, n) for n in (1, 100) for arm in CONNECTIONS),
        accounting=(
            Accounting("http_visibility", "ebpf", "agent on node-1", 1_234_567, 1_234_567, 0),
            Accounting("http_visibility", "pernode", "envoy on node-1", 400_123, 400_123, 0),
            Accounting("http_visibility", "sidecar", "sidecar-client", 200_321, 200_321, 0),
            Accounting("http_visibility", "sidecar", "sidecar-server", 200_321, 200_320, 0),
        ),
        referee={
            "none.1000.p50_difference_s": 3.1e-6,
            "ebpf.10000.p50_difference_s": 4.7e-6,
            "none.1000.requests": 1500.0,
        },
        host={"steal_share": 0.0123, "worst_window_steal_share": 0.31, "cpu_pressure_s": 12.5},
        gates={
            "achieved": {"passed": 120, "failed": 4},
            "lag": {"passed": 118, "failed": 6},
            "steal": {"passed": 100, "failed": 24},
        },
        warnings=(
            "only 2 cores: client, server and proxies share them; use a machine with 8 cores or more",
            "24 of 124 blocks had windows with more than 2 % steal; repeat on a quieter machine",
        ),
    )


def small(whole: Summary) -> Summary:
    """The same with one load of each kind: enough to draw every figure once."""
    return replace(
        whole,
        contrasts=tuple(c for c in whole.contrasts if c.rate_per_s == 1000),
        latencies=tuple(x for x in whole.latencies if x.rate_per_s == 1000),
        costs=tuple(c for c in whole.costs if c.rate_per_s == 1000),
        sockets=tuple(s for s in whole.sockets if s.connections == 1),
    )


def nothing() -> Estimate:
    return Estimate(float("nan"), float("nan"), float("nan"))


def _latency(arm: str, rate: float, service: float) -> Latency:
    p50 = 1.9e-4 * ARMS[arm] + service
    return Latency(
        scenario="http_visibility",
        load=name(rate, service),
        rate_per_s=rate,
        connections=32,
        service_time_s=service,
        arm=arm,
        datapath=DATAPATH.get(arm, arm),
        deployments=3,
        windows=117,
        windows_void=3,
        requests=int(rate * 12),
        achieved=0.99987,
        outcomes={"ok": int(rate * 12) - 2, "timeout": 2} if arm == "sidecar" else {"ok": int(rate * 12)},
        response_p50_s=p50,
        response_mean_s=p50 * 1.15,
        response_p90_s=p50 * 1.6,
        response_p99_s=p50 * 3.3,
        response_p999_s=p50 * 9 if rate * 12 >= 100_000 else None,
        service_p50_s=p50 * 0.9,
        lag_p50_s=3.3e-5,
        lag_p99_s=2.1e-4,
    )


def name(rate: float, service: float) -> str:
    return f"slices-{rate:g}" + (f"-sleep{service * 1000:g}ms" if service else "")


def _contrast(arm: str, rate: float, service: float, metric: str, rng: np.random.Generator) -> Contrast:
    base = 1.9e-4 + service
    ratio = (1.9e-4 * ARMS[arm] + service) / base * {"p50": 1.0, "mean": 1.01, "p99": 1.07}[metric]
    kept = carries(arm, rate)
    word = (
        "saturated" if not kept else "equivalent within ±5%" if ratio < 1.05 else "slower" if ratio < 9 else "undecided"
    )
    values = rng.lognormal(np.log(ratio), 0.06, 120)
    return Contrast(
        scenario="http_visibility",
        load=name(rate, service),
        rate_per_s=rate,
        service_time_s=service,
        arm=arm,
        base="none",
        metric=metric,
        ratio=around(ratio) if kept else nothing(),
        geometric_ratio=around(ratio * 1.002) if kept else nothing(),
        difference_s=around((ratio - 1) * base, 0.1) if kept else nothing(),
        deployments=3 if kept else 0,
        rounds=120 if kept else 0,
        wilcoxon_p=1.7e-7 if kept else float("nan"),
        holm_p=0.0031 if kept else float("nan"),
        noise_floor=0.0143,
        detectable=0.0191,
        verdict=word,
        because="it could not keep the rate" if not kept else "the 95 % interval says so; 3 deployments",
        rounds_ratio=tuple((i // 40 + 1, i % 40, float(v)) for i, v in enumerate(values)) if kept else (),
    )


def _capacity(arm: str) -> Capacity:
    kept, lost = KNEES.get(arm, (RATES[-1], None))
    steps = []
    for rate in RATES:
        if lost is None or rate <= lost:
            p50 = 1.9e-4 * ARMS[arm] * (1 + rate / 20_000) * (1 if rate <= kept else 200)
            steps.append((rate, 0.9999 if rate <= kept else 0.93, p50, p50 * 4, rate <= kept))
    return Capacity("http_visibility", arm, DATAPATH.get(arm, arm), kept, lost, tuple(steps))


def _cost(arm: str, rate: float) -> Cost:
    extra = max(0.0, (ARMS[arm] - 1) * 6e-5)
    spent = {
        "app.user": 3e-6, "app.system": 9e-6, "load.user": 3e-6, "load.system": 8e-6,
        "datapath.user": extra, "datapath.system": extra * 1.4, "kernel": 1.1e-5,
    }  # fmt: skip
    spent["total"] = sum(spent.values())
    spent["bpf"] = 2.4e-6 if arm == "ebpf" else 0.0
    return Cost("http_visibility", f"cost-{rate:g}", rate, arm, int(rate * 4), {k: around(v) for k, v in spent.items()})


def _memories(arm: str) -> list[Memory]:
    held = {
        "none": (0, 0, 0, 0),
        "ebpf": (2, 15e6, 11e6, 3.1e6),
        "pernode": (2, 52e6, 21e6, 0.2e6),
        "sidecar": (2, 84e6, 33e6, 0),
    }
    processes, pss, private, bpf = held[arm]
    return [
        Memory("proxies_15k", "cost-300", arm, "app", 2, 6.1e6, 4.2e6, 12.3e6, 0.0),
        Memory("proxies_15k", "cost-300", arm, "datapath", processes, pss, private, pss * 1.6, bpf),
    ]


def _sockets(arm: str, connections: int) -> Sockets:
    each = CONNECTIONS[arm]
    return Sockets(
        scenario="connections",
        load=f"hold-c{connections}",
        arm=arm,
        datapath=arm,
        connections=connections,
        hops={f"{arm}-client/engine": float(connections), f"{arm}-server/nginx": float(connections)},
        observed_per_connection=float(each),
        expected_per_connection=each,
        memory_bytes_per_connection=5120.0 * each,
        traced_per_connection=float(each),
    )


def responses() -> dict[tuple[str, str, str], npt.NDArray[np.float64]]:
    """Response times of every arm: log-normal around the summary's median."""
    rng = np.random.default_rng(1)
    return {
        (x.scenario, x.load, x.arm): x.response_p50_s * rng.lognormal(0, 0.4, x.requests) for x in summary().latencies
    }


def verdicts() -> tuple[Verdict, ...]:
    return (
        Verdict(
            "C1", Word.HOLDS_IF, "the sidecar arm's median is 4.17 times the baseline's at 1,000/s",
            ("sidecar/none p50 at 1,000/s: 4.170 [4.128, 4.212], +0.602 ms", "p50 at 200/s with 2 ms service: 1.28"),
            ("the server answers in well under a millisecond", "two nodes, 2 cores"),
        ),
        Verdict("C2", Word.HOLDS, "eBPF's mean is equivalent to none's within ±5 %", ("1.033 [1.023, 1.044]",)),
        Verdict("C5", Word.HOLDS, "1, 2 and 3 connections were counted, as the formula says"),
        Verdict("C6", Word.UNDECIDED, "per node and sidecar share no load"),
        Verdict("C7", Word.DOES_NOT_HOLD, "15,000 × 70 MB is 1.05 TB, not 1.5 TB"),
    )  # fmt: skip


def run() -> Run:
    return Run(
        name="20261123-synthetic",
        created="2026-11-23T18:00:00+00:00",
        command="mesh-lab reproduce --profile quick --seed 7",
        profile="quick",
        cluster="local",
        seed=7,
        plan_sha256="ab" * 32,
        trials_planned=6,
        trials_stored=6,
        deployments={"http_visibility": 3, "connections": 2, "proxies_15k": 1},
        blocks=(("http_visibility", "slices-1000", 40, 200, "100 ms"), ("connections", "hold-c100", 1, 4, "1500 ms")),
        versions=(("envoy", "1.40.0 (6 runs)"), ("nginx", "1.22.1")),
        voids=(("lag", "http_visibility-d1, none, slices-10000: the engine's own lateness has a p99 of 1.3 ms"),),
    )


SYSTEM = (("kernel", "6.18.0"), ("cores", "2"), ("processor", "made up"))
