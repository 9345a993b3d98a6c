"""Speed of the request-level engine: `python -m lab.sim.bench [--json FILE]`.

The large case: 15,000 sidecars and 15,000 applications, three services that call one another in a chain, 1,000,000
calls a second for 60 simulated seconds (as independent replications, one a core): 60 million calls, 260 million visits.
Then a small model, the same in this engine, SimPy and Ciw, in a new random order each repetition, as time per visit.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from lab.compile import cache
from lab.record import LabError, Mistake
from lab.sim import network as net
from lab.sim.network import Network, Pause, Pick, Requests, Stations, Visit
from lab.sim.requests import simulate
from lab.sim.times import Exponential, Quantiles

CALLS = 3  # by request from outside: one enters, two are made inside
SMALL_SECONDS, HOPS = 60.0, 5


def large(pods: int, calls_per_s: float) -> Network:
    """Requests enter at service a (two visits of its sidecar, one of its application); a calls b and b calls c."""
    each = pods // 3
    draws = np.random.default_rng(1)
    proxy = Quantiles.of(draws.lognormal(np.log(50e-6), 0.4, 20_000))
    work = Quantiles.of(draws.lognormal(np.log(500e-6), 0.5, 20_000))
    wire = Quantiles.of(draws.gamma(9.0, 3e-6, 20_000))

    def enter(depth: int) -> net.Path:
        callee = f"depth{depth}"
        ways: tuple[net.Step, ...] = (Visit("sidecar", callee, proxy),)
        if depth:
            ways = (Visit("sidecar", f"depth{depth - 1}", proxy), Pause(wire), *ways)
        inside = enter(depth + 1) if depth + 1 < CALLS else ()
        return (Pick(callee, depth * each, each), *ways, Visit("app", callee, work), *inside, *reversed(ways))

    return Network(
        (Stations("sidecar", pods), Stations("app", pods, 2)), (Requests("r", calls_per_s / CALLS, enter(0)),)
    )


def timed(run: Callable[[], int]) -> dict[str, float]:
    """Wall clock and CPU seconds of a run that returns its station visits."""
    wall, cpu = time.perf_counter(), time.process_time()
    visits = run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"visits": visits, "wall_s": wall, "cpu_s": cpu, "cpu_ns_per_visit": cpu / visits * 1e9}


def ours(scale: float) -> int:
    """A tandem of five memoryless queues at half load."""
    seconds = SMALL_SECONDS * 50 * scale
    path = tuple(Pick(f"w{i}", i, 1) for i in range(HOPS)) + tuple(
        Visit("q", f"w{i}", Exponential(0.005)) for i in range(HOPS)
    )
    return simulate(Network((Stations("q", HOPS),), (Requests("r", 100.0, path),)), seconds, 1).visits


def simpy(scale: float) -> int:
    """The same model as SimPy's users write it: a Resource per station, a process per request."""
    import simpy as library  # noqa: PLC0415 - a rival, not a dependency

    draws, env, visits = random.Random(1), library.Environment(), 0  # noqa: S311
    stations = [library.Resource(env) for _ in range(HOPS)]

    def request() -> Any:
        nonlocal visits
        for station in stations:
            with station.request() as turn:
                yield turn
                yield env.timeout(draws.expovariate(200.0))
            visits += 1

    def source() -> Any:
        while env.now < SMALL_SECONDS * scale:
            yield env.timeout(draws.expovariate(100.0))
            env.process(request())

    env.process(source())
    env.run()
    return visits


def ciw(scale: float) -> int:
    """The same model in Ciw."""
    import ciw as library  # type: ignore[import-untyped]  # noqa: PLC0415 - a rival, not a dependency

    exponential = library.dists.Exponential
    asked = library.create_network(
        arrival_distributions=[exponential(100.0)] + [None] * (HOPS - 1),
        service_distributions=[exponential(200.0)] * HOPS,
        routing=[[1.0 if j == i + 1 else 0.0 for j in range(HOPS)] for i in range(HOPS)],
        number_of_servers=[1] * HOPS,
    )
    library.seed(1)
    made = library.Simulation(asked)
    made.simulate_until_max_time(SMALL_SECONDS * scale / 2)
    return len(made.get_all_records())


def rivals(repetitions: int, scale: float) -> list[dict[str, Any]]:
    """Every library once per repetition, in a new order each time."""
    all_ = {"lab": ours, "simpy": simpy, "ciw": ciw}
    here = [name for name in all_ if name == "lab" or find_spec(name)]
    order, rows = random.Random(1), []  # noqa: S311
    ours(0.01)  # compiles
    for repetition in range(repetitions):
        for name in order.sample(here, len(here)):
            rows.append({"library": name, "repetition": repetition, **timed(lambda n=name: all_[n](scale))})  # type: ignore[misc]
    return rows


def big(pods: int, calls_per_s: float, seconds: float, replications: int) -> dict[str, float]:
    """The large case, with memory at its greatest (of the whole process, libraries included)."""
    asked = large(pods, calls_per_s)
    simulate(asked, 1e-3, 1)  # compiles
    result = timed(lambda: simulate(asked, seconds / replications, 1, replications=replications).visits)
    return result | {"rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def table(result: dict[str, Any]) -> list[str]:
    """What a person reads."""
    one = result["large"]
    lines = [
        f"{one['visits'] / 1e6:.1f} M visits: {one['wall_s']:.1f} s wall, {one['cpu_s']:.1f} CPU-s, "
        f"{one['cpu_ns_per_visit']:.0f} ns of CPU per visit, {one['rss_bytes'] / 1e6:.0f} MB"
    ]
    found: dict[str, list[float]] = {}
    for row in result["rivals"]:
        found.setdefault(row["library"], []).append(row["cpu_ns_per_visit"])
    for name, cost in found.items():
        ratios = [theirs / mine for theirs, mine in zip(cost, found["lab"], strict=True)]
        lines.append(
            f"{name:>6}: {statistics.median(cost):10.0f} ns/visit ({min(cost):.0f}-{max(cost):.0f}), "
            f"{statistics.median(ratios):.0f} times ours ({min(ratios):.0f}-{max(ratios):.0f})"
        )
    return lines


def arguments() -> argparse.Namespace:
    """What was asked on the command line."""
    ask = argparse.ArgumentParser(prog="python -m lab.sim.bench", description=__doc__)
    ask.add_argument("--pods", type=int, default=15_000, help="default: %(default)s")
    ask.add_argument("--calls", type=float, default=1e6, help="per second (default: %(default)s)")
    ask.add_argument("--seconds", type=float, default=60.0, help="simulated (default: %(default)s)")
    ask.add_argument("--replications", type=int, default=len(os.sched_getaffinity(0)), help="default: %(default)s")
    ask.add_argument("--repetitions", type=int, default=5, help="of the small model (default: %(default)s)")
    ask.add_argument("--scale", type=float, default=1.0, help="of the small model (default: %(default)s)")
    ask.add_argument("--json", type=Path, default=cache() / "sim-bench.json", help="all numbers (%(default)s)")
    asked = ask.parse_args()
    for name in ("pods", "calls", "seconds", "replications", "repetitions", "scale"):
        if getattr(asked, name) <= 0:
            raise Mistake(f"--{name} {getattr(asked, name)}; it must be above 0")
    return asked


def main() -> int:
    """Measure, print, write the JSON; 0 unless it could not be measured."""
    try:
        asked = arguments()
        result = {
            "load_average": os.getloadavg()[0],
            "large": big(asked.pods, asked.calls, asked.seconds, asked.replications),
            "rivals": rivals(asked.repetitions, asked.scale),
        }
    except LabError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, Mistake) else 1
    asked.json.write_text(json.dumps(result, indent=1) + "\n")
    print(*table(result), f"all numbers: {asked.json}", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
