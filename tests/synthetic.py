"""A made-up run with known truth: every arm's latency is `none`'s times a chosen ratio, every count is right.

Used by the tests of the store, the checker, the summary and the report; nothing here has seen a network.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lab import gates
from lab.plan import Plan, plan
from lab.record import OUTCOMES, Arm, Block, BlockKind, Feature, Finding, Outcome, Reading, Run, Scenario, Trial
from lab.scenario import find_scenario
from lab.store import Store
from lab.store.table import REQUEST

HTTP = (Feature.HTTP_METRICS, Feature.HTTP_PARSE, Feature.LATENCY_HISTOGRAM)
CONNECTIONS = {"none": 1, "ebpf": 1, "pernode": 2, "sidecar": 3}
OBSERVERS = {"none": (), "ebpf": ("agent",), "pernode": ("node-0",), "sidecar": ("client", "server")}
MEMORY: Mapping[str, tuple[tuple[str, float], ...]] = {  # where its processes are, PSS of each
    "none": (),
    "ebpf": (("node-0", 16e6),),
    "pernode": (("node-0", 42e6),),
    "sidecar": (("client", 41e6), ("server", 40e6)),
}


@dataclass(frozen=True)
class Truth:
    """What the made-up machine is like. Latencies are log-normal; a round's noise is shared by all its arms."""

    base_s: float = 0.0002  # median service time of `none`
    ratio: Mapping[str, float] = field(default_factory=lambda: {"ebpf": 1.02, "pernode": 2.0, "sidecar": 3.0})
    capacity: Mapping[str, float] = field(default_factory=lambda: {"pernode": 6000.0, "sidecar": 2900.0})  # requests/s
    spread: float = 0.25  # log standard deviation of requests
    round_noise: float = 0.2  # log standard deviation between rounds, shared by the arms of a round
    arm_noise: float = 0.01  # log standard deviation between the instances of one arm (deployments)
    miscounted: Mapping[str, int] = field(default_factory=dict)  # arm -> requests its observers did not see, a block

    def median_s(self, arm: Arm, block: Block) -> float:
        return self.base_s * self.ratio.get(arm.datapath, 1.0) + block.load.service_time_s


def small(scenario: str = "http_visibility", **changes: Any) -> Scenario:
    """A scenario of the lab with a `tiny` profile: everything is there, little of it."""
    found = find_scenario(scenario)
    tiny = replace(found.profiles["smoke"], deployments=2, rounds=8, slice_s=0.1, window_s=0.6)
    return replace(found, profiles={**found.profiles, "tiny": replace(tiny, **changes)})


def small_plan(*scenarios: Scenario, profile: str = "tiny", seed: int = 1, **options: Any) -> Plan:
    """A plan with a fixed name and time."""
    asked = scenarios or (small(),)
    return plan(asked, profile, seed=seed, run=f"synthetic-{seed}", created="2026-01-02T03:04:05+00:00", **options)


def store(folder: Path, asked: Plan | None = None, truth: Truth | None = None) -> Store:
    """A results folder with every trial of the plan, not yet sealed."""
    made = Store.create(folder, asked or small_plan(), {"kernel": "made up", "cores": 2})
    for trial in made.plan.trials:
        add(made, trial, truth)
    return made


def add(made: Store, trial: Trial, truth: Truth | None = None) -> None:
    """Fabricate one trial and store it."""
    made.add(*trial_data(made.plan, trial, truth or Truth()))


def trial_data(
    asked: Plan, trial: Trial, truth: Truth
) -> tuple[Trial, list[Run], dict[str, dict[str, npt.NDArray[Any]]], list[dict[str, float]], dict[str, bytes]]:
    """Everything `Store.add` takes: the trial as run, runs, requests, host series, files."""
    rng = np.random.default_rng([asked.seed, trial.seed])
    limits = {arm.name: _saturated_at(arm, trial, truth) for arm in trial.arms}
    ran = replace(trial, blocks=tuple(b for block in trial.blocks if (b := _carried(block, limits)).windows))
    noise = {(b.name, w.round): rng.normal(0, truth.round_noise) for b in ran.blocks for w in b.windows}
    requests: dict[str, dict[str, npt.NDArray[Any]]] = {}
    for arm in trial.arms:
        own = rng.normal(0, truth.arm_noise)
        blocks = [block for block in ran.blocks if block.only(arm.name)]
        requests[arm.name] = {b.name: _requests(b, arm, truth, noise, own, rng) for b in blocks}
    parity = next(s.parity for s in asked.scenarios if s.name == trial.scenario)
    runs = [_run(ran, arm, requests[arm.name], limits[arm.name], truth, parity) for arm in trial.arms]
    host = [{"monotonic_ns": 1e9 * second, "interval_s": 1.0, "steal_share": 0.001} for second in range(10)]
    files = {"config/sidecar.client/envoy.yaml": b"admin: {}\n", "logs/none.server/stdout": b"ready\n"}
    return ran, runs, requests, host, files


def _saturated_at(arm: Arm, trial: Trial, truth: Truth) -> float | None:
    rates = [b.load.rate_per_s for b in trial.blocks if b.kind is BlockKind.LADDER]
    return min((r for r in rates if r > truth.capacity.get(arm.datapath, np.inf)), default=None)


def _carried(block: Block, limits: Mapping[str, float | None]) -> Block:
    """The block without the arms that saturated below it; the step at which one saturates stays."""
    rate = block.load.rate_per_s

    def can(arm: str) -> bool:
        limit = limits[arm]
        return limit is None or rate < limit or (rate == limit and block.kind is BlockKind.LADDER)

    return replace(block, windows=tuple(w for w in block.windows if can(w.arm)))


def _requests(
    block: Block,
    arm: Arm,
    truth: Truth,
    noise: Mapping[tuple[str, int], float],
    own: float,
    rng: np.random.Generator,
) -> npt.NDArray[Any]:
    found = []
    slow = max(0.0, block.load.rate_per_s / truth.capacity.get(arm.datapath, np.inf) - 1)
    for window in block.only(arm.name):
        count = max(1, rng.poisson(block.load.rate_per_s * window.duration_s))
        rows = np.zeros(count, dtype=REQUEST)
        offset = np.sort(rng.uniform(0, window.duration_s, count))
        service = np.exp(rng.normal(noise[block.name, window.round] + own, truth.spread, count))
        service *= truth.median_s(arm, block)
        rows["window"] = window.index
        rows["scheduled_ns"] = (window.start_s + offset) * 1e9
        rows["sent_ns"] = rows["scheduled_ns"] + rng.gamma(4, 8000, count).astype(np.int64)
        rows["done_ns"] = rows["sent_ns"] + ((service + slow * offset) * 1e9).astype(np.int64)
        rows["first_byte_ns"] = rows["done_ns"] - 2000
        rows["connection"] = np.arange(count) % block.load.connections
        rows["status"] = 200
        late = rows["done_ns"] > (window.start_s + window.duration_s + block.guard_s) * 1e9
        rows["outcome"][late] = OUTCOMES.index(Outcome.NOT_SENT)
        rows["status"][late] = 0
        for name in ("sent_ns", "first_byte_ns", "done_ns"):
            rows[name][late] = -1
        found.append(rows)
    return np.concatenate(found)


def _run(
    trial: Trial,
    arm: Arm,
    requests: Mapping[str, npt.NDArray[Any]],
    limit: float | None,
    truth: Truth,
    parity: frozenset[Feature],
) -> Run:
    blocks = [block for block in trial.blocks if block.name in requests]
    readings = tuple(r for block in blocks for r in _readings(block, arm, requests[block.name], truth))
    features = () if arm.datapath == "none" else HTTP
    findings: list[Finding] = [gates.parity(features, parity, arm.datapath)]
    for block in blocks:
        findings += gates.judge(block, arm.name, requests[block.name], readings, features)
    steps = [b.load.rate_per_s for b in blocks if b.kind is BlockKind.LADDER]
    return Run(
        scenario=trial.scenario,
        trial=trial.name,
        deployment=trial.deployment,
        arm=arm.name,
        datapath=arm.datapath,
        features=features,
        requests_file=f"{arm.name}.parquet",
        readings=readings,
        findings=tuple(findings),
        saturated_at=limit,
        kept=max((rate for rate in steps if limit is None or rate < limit), default=None),
        facts={"envoy": "made up"},
    )


def _readings(block: Block, arm: Arm, requests: npt.NDArray[Any], truth: Truth) -> Iterator[Reading]:
    def reading(meter: str, window: int, part: str, subject: str, metric: str, value: float) -> Reading:
        return Reading(meter, block.name, window, arm.name, part, subject, metric, float(value))

    sent = int((requests["sent_ns"] >= 0).sum())
    connections = block.load.connections
    yield reading("engine", -1, "load", "engine", "on_wire_requests", sent + connections)
    yield reading("engine", -1, "load", "engine", "warmups", connections)
    yield reading("engine", -1, "load", "engine", "connects", connections)
    yield reading("engine", -1, "load", "engine", "reconnects", 0)
    yield reading("engine", -1, "load", "engine", "cpu_user_s", 3e-6 * len(requests))
    yield reading("engine", -1, "load", "engine", "cpu_system_s", 6e-6 * len(requests))
    yield reading("datapath", -1, "datapath", "formula", "connections_per_connection", CONNECTIONS[arm.datapath])
    for observer in OBSERVERS[arm.datapath]:
        seen = sent + connections - truth.miscounted.get(arm.name, 0)
        yield reading("datapath", -1, "datapath", observer, "seen_requests", seen)
        yield reading("datapath", -1, "datapath", observer, "not_understood_requests", 0)
    for window in block.only(arm.name):
        yield reading("host", window.index, "host", "all", "steal_share", 0.001)
        if block.kind is not BlockKind.SLICES:
            count = int((requests["window"] == window.index).sum())
            yield from (reading("cpu", window.index, *row) for row in _cpu(arm, count, truth))
        if block.kind in (BlockKind.COST, BlockKind.HOLD):
            for row in (*_memory(arm), *_sockets(arm, connections)):
                yield reading(row[0], window.index, *row[1:])


def _memory(arm: Arm) -> Iterator[tuple[str, str, str, str, float]]:
    app = ("app", f"{arm.name}-server/nginx", 5e6)
    for part, subject, pss in (app, *(("datapath", f"{where}/proxy", pss) for where, pss in MEMORY[arm.datapath])):
        for metric, share in (("pss", 1.0), ("private", 0.4), ("rss", 1.6)):
            yield "memory", part, subject, f"{metric}_bytes", pss * share
        if arm.datapath == "ebpf" and part == "datapath":
            yield "memory", part, subject, "bpf_map_bytes", 3e6
            yield "memory", part, subject, "bpf_program_bytes", 28e3


def _sockets(arm: Arm, connections: int) -> Iterator[tuple[str, str, str, str, float]]:
    """Each application connection is as many as the arm's formula says, each with two ends."""
    along = CONNECTIONS[arm.datapath]
    yield "connections", "kernel", "path", "connections", connections * along
    yield "connections", "kernel", "path", "sockets", 2 * connections * along
    yield "connections", "kernel", "path", "connections_per_app_connection", along
    places = [("load", f"{arm.name}-client/engine"), ("app", f"{arm.name}-server/nginx")]
    places += [("datapath", f"{where}/proxy") for where, _ in MEMORY[arm.datapath] if along > 1]
    for part, subject in places:
        held = 2 * connections if part == "datapath" else connections
        yield "connections", part, subject, "sockets", held
        yield "connections", part, subject, "socket_memory_bytes", held * 5000


def _cpu(arm: Arm, count: int, truth: Truth) -> Iterator[tuple[str, str, str, float]]:
    """CPU seconds in proportion to the requests; the datapath's part follows its ratio."""
    own = max(0.0, truth.ratio.get(arm.datapath, 1.0) - 1)
    for part, subject, user, system in (
        ("app", f"{arm.name}-server/nginx", 4e-6, 8e-6),
        ("load", f"{arm.name}-client/engine", 3e-6, 6e-6),
        ("datapath", "proxy", 20e-6 * own, 30e-6 * own),
    ):
        if user:
            yield part, subject, "cpu_user_s", user * count
            yield part, subject, "cpu_system_s", system * count
            yield part, subject, "cpu_s", (user + system) * count
    yield "kernel", "remainder", "cpu_s", 5e-6 * count


if __name__ == "__main__":  # python tests/synthetic.py FOLDER: a folder to look at
    print(store(Path(sys.argv[1])).folder)
