"""From a pair of pods on the bench to the latency and the processor time of a whole fleet.

A *pass* is one message through one proxy. With p proxies on the way, a request and its answer make 2p passes. At the
lowest rate that was measured, so that hardly anyone queued:

    visit = datapath CPU a request / 2p           occupies a worker of the proxy
    pause = (mean with - mean without) / 2p - visit, never below 0: wake-ups, copies, the kernel's part beside it
    wire  = (mean without a mesh - the application's own CPU) / 2    (one way; eBPF adds its programs' run time)

Times are gamma distributed with the measured mean and variance. A gamma can be divided: the sum of k independent parts
of it is the whole again, so a request that makes ten passes keeps both moments, whatever the number of parts; scaled
quantile tables would lose variance with each cut. The variance is taken up to the 99th percentile and a straight line
beyond it: the longest of some thousand requests tells of the machine's stalls and not of the datapath.
CPU per visit was measured in the mean only; its coefficient of variation (0.5) is an assumption.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lab.record import Mistake
from lab.sim.calibration import HIGH, LOW, Calibration
from lab.sim.closed import sojourns
from lab.sim.fleet import Fleet
from lab.sim.memory import DRAWS, Habits
from lab.sim.paths import NOTHING, Costs, fleet_network
from lab.sim.requests import simulate
from lab.sim.times import Gamma, Quantiles, Times
from lab.summary import Estimate

PROXIES = {"none": 0, "ebpf": 0, "pernode": 1, "sidecar": 2}  # on the way of a request
BASE = "none"
VISIT_SHAPE = 4.0  # of the gamma of CPU time per pass: cv 0.5, assumed
MOST_SHAPE = 1000.0
POINTS = 1 << 13  # of the closed form's grid: steps below 0.1 ms
SIMULATED = 300_000  # requests of the request-level engine


@dataclass(frozen=True)
class Latency:
    """What requests from outside take in one architecture, by one engine; times in seconds."""

    arm: str
    engine: str  # `closed` or `requests`
    mean_s: float
    p50_s: float
    p99_s: float
    p999_s: float
    requests: int  # simulated; 0: closed form
    covered: float  # share of the graph's calls that the paths make


def lowest(arm: str, calibration: Calibration) -> str:
    """The table of one pair at the lowest rate, as `none@250`. `Mistake` where the arm was never carried."""
    rates = [n for n in calibration.tables if n.startswith(f"{arm}@") and "x" not in n.split("@")[1]]
    if not rates:
        raise Mistake(f"the calibration has carried nothing by {arm!r}; run hop_costs with it and calibrate anew")
    return min(rates, key=lambda name: float(name.split("@")[1]))


def costs(arm: str, calibration: Calibration, draw: int | None = None) -> Costs:
    """What the architecture adds to a message; `draw`: as one draw of the calibration saw it; None: its values."""

    def read(name: str) -> float:
        quantity = calibration.quantity(name)
        return quantity.draws[draw % len(quantity.draws)] if draw is not None and quantity.draws else quantity.value

    bare, own = lowest(BASE, calibration), lowest(arm, calibration)
    plain_s = read(f"{bare}.response_mean_s")
    way_s = max(0.0, plain_s - read(f"{bare}.cpu_app_s")) / 2
    wire_variance = _variance(calibration, bare) / 2
    passes = 2 * PROXIES[arm]
    if not passes:
        bpf_s = read(f"{own}.bpf_run_s") / 2
        return Costs(wire=_gamma(way_s + bpf_s, wire_variance))
    visit_s = read(f"{own}.cpu_datapath_s") / passes
    pause_s = max(0.0, (read(f"{own}.response_mean_s") - plain_s) / passes - visit_s)
    visit_variance = visit_s**2 / VISIT_SHAPE
    more = max(0.0, (_variance(calibration, own) - _variance(calibration, bare)) / passes - visit_variance)
    return Costs(_gamma(way_s, wire_variance), _gamma(visit_s, visit_variance), _gamma(pause_s, more))


def _gamma(mean_s: float, variance: float) -> Times:
    if mean_s <= 0:
        return NOTHING
    return Gamma(float(np.clip(mean_s**2 / max(variance, 1e-30), 1e-2, MOST_SHAPE)), mean_s)


def _variance(calibration: Calibration, name: str) -> float:
    """Of the response time: its table, with what lies beyond the last point but one cut to a straight line."""
    values = np.array(calibration.table(name).quantiles[0])
    values[-1] = min(values[-1], 2 * values[-2] - values[-3]) if len(values) > 3 else values[-1]
    table = Quantiles(values)
    return max(0.0, table.second - table.mean**2)


def closed(arm: str, fleet: Fleet, calibration: Calibration, habits: Habits, rate_per_s: float) -> Latency:
    """By the closed form; raises Overload where a station cannot keep up."""
    model = fleet_network(arm, fleet, costs(arm, calibration), habits, rate_per_s)
    found = list(sojourns(model.network, points=POINTS).values())
    density = np.mean([one.density for one in found], axis=0) if len({o.step_s for o in found}) == 1 else None
    if density is None:
        raise Mistake("classes of requests with grids of their own; give one entry service")
    whole = type(found[0])("all", density, found[0].step_s)
    p50, p99, p999 = (whole.quantile(q) for q in (0.5, 0.99, 0.999))
    return Latency(arm, "closed", whole.mean, p50, p99, p999, 0, model.covered)


def simulated(
    arm: str, fleet: Fleet, calibration: Calibration, habits: Habits, rate_per_s: float, seed: int
) -> Latency:
    """By the request-level engine: the whole fleet, for as long as SIMULATED requests take to arrive."""
    model = fleet_network(arm, fleet, costs(arm, calibration), habits, rate_per_s)
    seconds = SIMULATED / rate_per_s
    outcome = simulate(model.network, seconds, seed, warmup_s=seconds / 10)
    histogram = outcome.classes[0].histogram
    for one in outcome.classes[1:]:
        histogram = histogram + one.histogram
    count = sum(one.count for one in outcome.classes)
    mean = sum(one.mean * one.count for one in outcome.classes) / count
    p50, p99, p999 = (histogram.quantile(q) for q in (0.5, 0.99, 0.999))
    return Latency(arm, "requests", mean, p50, p99, p999, count, model.covered)


def per_call(arm: str, calibration: Calibration) -> Estimate:
    """Mean time that one call takes beyond the work of the service, s, without queueing; interval over repeats."""

    def mean(draw: int | None) -> float:
        one = costs(arm, calibration, draw)
        return 2 * one.wire.mean + 2 * PROXIES[arm] * (one.visit.mean + one.pause.mean)

    return _over(mean, len(calibration.quantity(f"{lowest(arm, calibration)}.response_mean_s").draws))


def _over(of: Callable[[int | None], float], draws: int) -> Estimate:
    return _estimate(of(None), [of(n) for n in range(draws)] or [of(None)])


def _estimate(value: float, draws: Sequence[float] | npt.NDArray[np.float64]) -> Estimate:
    """With the interval of its draws, stretched to hold the value."""
    low, high = np.quantile(draws, (LOW, HIGH))
    return Estimate(value, min(value, float(low)), max(value, float(high)))


def cores(arm: str, calibration: Calibration, calls_per_s: float) -> Estimate:
    """Processors that the datapath keeps busy in the whole fleet: proxies' CPU, and run time of BPF programs."""
    name = lowest(arm, calibration)
    names = [f"{name}.cpu_datapath_s", f"{name}.bpf_run_s"]
    value = sum(calibration.quantity(n).value for n in names) * calls_per_s
    return _estimate(value, calibration.draws(names, DRAWS).sum(axis=1) * calls_per_s)
