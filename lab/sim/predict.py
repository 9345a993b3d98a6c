"""What the bench would measure of a case that nobody has measured, from a calibration alone.

Memory is the laws' coefficients times the case's parameters. What is carried is looked up by how busy the cores are:
a case of many pairs, or of a chain, has the response times that one pair had at the rate that kept its cores as busy.

    R · S(r) / cores  =  r* · S(r*) / 2

with R requests/s in all, S(r) the processor time of a request where each sidecar sees r of them a second (what is
shared sees all of them: elsewhere r = R), and `cores` the number of nodes that the case is on (each has one core). A
chain is the sum of independent stages:

    T = T(r*) + Σ [what one more service took without a mesh + what the datapath added to one],

quantile by quantile, and the sum over services by drawing them independently.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from lab.question import Case, Prediction
from lab.record import Mistake
from lab.sim.calibration import HIGH, LOW, Calibration

Floats = npt.NDArray[np.float64]

MEMORY, CPU, MEDIAN, TAIL = 0.05, 0.10, 0.10, 0.20  # allowed relative errors
METRICS = {"cpu_total_s": CPU, "response_q50_s": MEDIAN, "response_p99_s": TAIL, "pss_bytes": MEMORY}
BASE = "none"
CONNECTIONS = 8  # of a pair, in the calibration and in the cases
DRAWN = 20_000  # samples of a chain's response time
SEED = 20211208


def predictions(cases: Sequence[Case], calibration: Calibration) -> tuple[Prediction, ...]:
    """One for each metric that the calibration can speak of, in the order of the cases."""
    kinds = {"carried": _carried, "table": _table, "crowd": _crowd}
    for case in cases:
        if case.kind not in kinds:
            raise Mistake(f"case {case.name} is of kind {case.kind!r}; predicted are {', '.join(kinds)}")
    return tuple(p for case in cases for p in kinds[case.kind](case, calibration))


def _table(case: Case, calibration: Calibration) -> Iterator[Prediction]:
    """Memory of one proxy with a table: dirty and proportional."""
    for metric in ("dirty_bytes", "pss_bytes"):
        law = f"{case.subject}_{case.parameters['delivery']}_{metric.removesuffix('_bytes')}"
        yield _by_law(case, metric, law, calibration)


def _crowd(case: Case, calibration: Calibration) -> Iterator[Prediction]:
    for metric in ("dirty_bytes", "pss_bytes"):
        yield _by_law(case, metric, f"crowd_{metric.removesuffix('_bytes')}", calibration)


def _by_law(case: Case, metric: str, law: str, calibration: Calibration) -> Prediction:
    if law not in calibration.laws:
        raise Mistake(f"the calibration has no law {law!r}; it has {', '.join(sorted(calibration.laws))}")
    products = calibration.laws[law]
    counts = np.array([math.prod(case.number(p) for p in words.split("*") if p != "1") for words in products.values()])
    names = [f"{law}.{term}" for term in products]
    value = float(counts @ [calibration.quantity(name).value for name in names])
    most = max(len(calibration.quantity(name).draws) for name in names) or 1
    low, high = np.quantile(calibration.draws(names, most) @ counts, (LOW, HIGH))
    return Prediction(case.name, metric, value, float(low), float(high), MEMORY)


def _carried(case: Case, calibration: Calibration) -> Iterator[Prediction]:
    """Processor time, median, tail, memory; the interval is what single repeats of the calibration would have said."""
    repeats = len(calibration.table(_rates(case.subject, calibration)[0][1]).quantiles) - 1
    said = [_Bench(calibration, case.subject, repeat).metrics(case) for repeat in range(repeats + 1)]
    for metric, tolerance in METRICS.items():
        if metric in said[0]:
            each = np.array([one[metric] for one in said[1:]])
            low, high = _spread(said[0][metric], each)
            yield Prediction(case.name, metric, said[0][metric], low, high, tolerance)


def _spread(value: float, each: Floats) -> tuple[float, float]:
    """A prediction interval for one more mean, from what single repeats said: ± t · s · √(1/n + 1/3), on logs."""
    from scipy import stats  # noqa: PLC0415 - half a second, and only here

    n = len(each)
    half = float(
        stats.t.ppf(HIGH, max(n - 1, 1)) * np.std(np.log(each), ddof=1 if n > 1 else 0) * math.sqrt(1 / n + 1 / 3)
    )
    return value * math.exp(-half), value * math.exp(half)


def _rates(subject: str, calibration: Calibration) -> list[tuple[float, str]]:
    """(rate, name) of what one pair of `subject` carried, rising."""
    found = [(float(n.split("@")[1]), n) for n in calibration.tables if n.split("@")[0] == subject and "x" not in n]
    if not found:
        raise Mistake(f"the calibration has carried nothing by {subject!r}; run hop_costs with it and calibrate anew")
    return sorted(found)


class _Bench:
    """One datapath on the bench, as one repeat of the calibration saw it; `repeat` 0 is the median of all."""

    def __init__(self, calibration: Calibration, subject: str, repeat: int) -> None:
        self.calibration, self.subject, self.repeat = calibration, subject, repeat
        self.rates = _rates(subject, calibration)

    def metrics(self, case: Case) -> dict[str, float]:
        """What the case's metrics would be."""
        pairs, hops, rate = case.number("pairs") or 1, case.number("hops") or 1, float(case.number("rate"))
        cores = 1 if case.parameters.get("place") == "same_node" else 2
        cpu_s = self.cpu_s(rate, hops, pairs)
        alike = self.alike(pairs * rate * cpu_s / cores)
        times = self.times(alike) if hops == 1 else self.chain(hops, rate, alike)
        found = {"cpu_total_s": cpu_s, "response_q50_s": float(np.quantile(times, 0.5))}
        found["response_p99_s"] = self.number("response_p99_s", alike) if hops == 1 else float(np.quantile(times, 0.99))
        return found | self.memory(pairs, hops)

    def number(self, metric: str, rate: float) -> float:
        """A metric of one pair at a rate: straight between logarithms of measured rates, flat beyond them."""
        values = [self._of(f"{name}.{metric}") for _, name in self.rates]
        return float(np.exp(np.interp(math.log(rate), [math.log(r) for r, _ in self.rates], np.log(values))))

    def _of(self, name: str) -> float:
        quantity = self.calibration.quantity(name)
        return quantity.draws[self.repeat - 1] if self.repeat else quantity.value

    def times(self, rate: float) -> Floats:
        """Quantiles of the response time of one pair at a rate."""
        rows = np.log([self.calibration.table(name).quantiles[self.repeat] for _, name in self.rates])
        at = [math.log(r) for r, _ in self.rates]
        return np.exp([np.interp(math.log(rate), at, column) for column in rows.T])

    def cpu_s(self, rate: float, hops: int, pairs: int = 1) -> float:
        """Processor time of a request: of a sidecar's by what each proxy sees, of others by what all pairs send.

        Each further service of a chain costs what it costs without a mesh, and what the datapath adds to one.
        """
        seen = rate if self.subject == "sidecar" else rate * pairs
        own = self.number("cpu_total_s", seen)
        if hops == 1:
            return own
        first, second = self._chains()
        further = self._of(f"{second}.cpu_total_s") - self._of(f"{first}.cpu_total_s")
        added = own - _Bench(self.calibration, BASE, self.repeat).number("cpu_total_s", seen)
        return own + (hops - 1) * max(further + added, 0.0)

    def alike(self, busy: float) -> float:
        """The rate at which one pair keeps two cores as busy as `busy` seconds a second keep one each."""
        rates = np.geomspace(self.rates[0][0] / 100, self.rates[-1][0], 400)
        each = np.array([rate * self.number("cpu_total_s", rate) / 2 for rate in rates])
        return float(np.interp(busy, np.maximum.accumulate(each), rates))

    def chain(self, hops: int, rate: float, alike: float) -> Floats:
        """Samples of the sum of independent stages."""
        dice = np.random.default_rng(SEED)
        shares = np.linspace(0, 1, len(self.times(rate)))
        bare = _Bench(self.calibration, BASE, self.repeat)
        first, second = (np.array(self.calibration.table(n).quantiles[self.repeat]) for n in self._chains())
        added = np.maximum(self.times(alike) - bare.times(alike), 0)  # by the datapath, per service
        further = np.maximum(second - first, 0)  # by one more service, without a mesh

        def drawn(quantiles: Floats) -> Floats:
            return np.interp(dice.random(DRAWN), shares, quantiles)

        total = drawn(self.times(alike))
        for _ in range(hops - 1):
            total = total + drawn(further + added)
        return total

    def _chains(self) -> tuple[str, str]:
        """Names of what `none` carried to one service and, at the same rate, to two in a row."""
        two = next((n for n in self.calibration.tables if n.startswith(f"{BASE}@") and n.endswith("x2")), None)
        if two is None:
            raise Mistake(
                "the calibration has no chain of two services without a mesh; run hop_costs and calibrate anew"
            )
        return two.removesuffix("x2"), two

    def memory(self, pairs: int, hops: int) -> dict[str, float]:
        """PSS of the datapath's processes: sidecars share their text once, a node's proxy only gets more connections.

        Nothing for agents: how much of their interpreter is shared depends on who else runs one.
        """
        two = self._of(f"{self.rates[0][1]}.pss_bytes")
        if self.subject == "pernode":
            extra = (pairs - 1) * CONNECTIONS * self.calibration.quantity("envoy_used.connection").value
            return {"pss_bytes": two + extra} if hops == 1 else {}
        if self.subject == "sidecar":
            shared = self.calibration.quantity("crowd_pss.shared").value
            return {"pss_bytes": shared + (two - shared) / 2 * (2 * pairs if hops == 1 else hops + 1)}
        return {}
