"""From stored runs to a calibration: coefficients of laws as they are, response times and processor time rate by rate.

Coefficients come with the draws of their bootstrap. Of what was carried, every repeat is a draw: repeats differ by more
than the requests within one do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lab.record import Mistake
from lab.sim.calibration import Calibration, Quantity, Table
from lab.store import Store
from lab.summary.results import Coefficient

CARRIED = "carried"
POINTS = "response_q"
COSTS = ("cpu_app_s", "cpu_datapath_s", "cpu_load_s", "cpu_kernel_s", "cpu_total_s", "bpf_run_s")
SIZES = ("pss_bytes", "private_bytes", "bpf_map_bytes", "bpf_program_bytes")

Seen = Mapping[str, Mapping[str, Sequence[float]]]
"""case -> metric -> one value a repeat."""


def calibrate(stores: Sequence[Store]) -> Calibration:
    """Everything that these sealed runs know. `Mistake` where they are of different machines or know nothing."""
    machines = {machine_class(store.system) for store in stores}
    if len(machines) != 1:
        raise Mistake(
            f"the runs are of {len(machines)} machine classes ({'; '.join(sorted(machines))}); give runs of one"
        )
    quantities: dict[str, Quantity] = {}
    tables: dict[str, Table] = {}
    laws: dict[str, dict[str, str]] = {}
    for store in stores:
        for one in store.summary().coefficients:
            quantities[f"{one.law}.{one.term}"] = _coefficient(one, store.plan.run)
            laws.setdefault(one.law, {})[one.term] = one.product
        for name, metrics in _carried(store).items():
            tables[name] = _table(metrics, store.plan.run)
            quantities |= dict(_costs(name, metrics, store.plan.run))
    if not quantities:
        raise Mistake("the runs have no coefficients and no carried load; run the studies proxy_memory and hop_costs")
    system = stores[0].system
    machine = {"class": machines.pop(), "cores": str(system["cores"]), "kernel": str(system["kernel"])}
    return Calibration(machine, tuple(s.plan.run for s in stores), quantities, tables, laws)


def machine_class(system: Mapping[str, object]) -> str:
    """What a calibration is good for: architecture and kind of processor, and whether a hypervisor is below."""
    kind = "virtual" if system.get("virtual") else "physical"
    return f"{system.get('architecture', 'unknown')} {kind} {system.get('processor', 'unknown')}".strip()


def label(subject: str, parameters: Mapping[str, int | str]) -> str:
    """The name of what was carried: datapath, rate, and how many services in a row where there are more than one."""
    hops = parameters.get("hops", 1)
    return f"{subject}@{parameters['rate']}" + (f"x{hops}" if hops != 1 else "")


def _coefficient(one: Coefficient, run: str) -> Quantity:
    return Quantity(one.value, one.unit, one.draws, run)


def _carried(store: Store) -> Seen:
    found: dict[str, dict[str, list[float]]] = {}
    for repeat in store.repeats():
        cases = {case.name: case for case in repeat.cases if case.kind == CARRIED}
        for seen in store.observations(repeat.name):
            if seen.case in cases:
                case = cases[seen.case]
                found.setdefault(label(case.subject, case.parameters), {}).setdefault(seen.metric, []).append(
                    seen.value
                )
    return found


def _table(metrics: Mapping[str, Sequence[float]], run: str) -> Table:
    """Quantiles of response times: first the median over repeats, point by point, then those of every repeat."""
    names = sorted(
        (m for m in metrics if m.startswith(POINTS)), key=lambda m: int(m.removeprefix(POINTS).split("_")[0])
    )
    repeats = np.maximum.accumulate(np.array([metrics[name] for name in names]).T, axis=1)
    rows = np.vstack([np.median(repeats, axis=0), repeats])
    return Table(tuple(tuple(float(f"{x:.6g}") for x in row) for row in rows), run)


def _costs(name: str, metrics: Mapping[str, Sequence[float]], run: str) -> Iterator[tuple[str, Quantity]]:
    for metric in (*COSTS, *SIZES, "response_p99_s", "response_mean_s"):
        values = metrics[metric]
        unit = "bytes" if metric.endswith("bytes") else "s"
        yield f"{name}.{metric}", Quantity(float(np.median(values)), unit, tuple(map(float, values)), run)
