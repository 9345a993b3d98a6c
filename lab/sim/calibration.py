"""What was measured, as the simulator needs it: quantities and tables, their bootstrap draws, the runs behind them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lab.record import Mistake

SCHEMA = 1
SHIPPED = Path(__file__).with_name("calibration.json")
LOW, HIGH = 0.025, 0.975  # of the draws: every interval of a prediction is 95 %

Draws = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Quantity:
    """One number: its value, its unit, draws of it from a bootstrap over whole runs or repeats, and where it is from.

    Draws of quantities from one source belong together by position: they were fitted to the same resample.
    """

    value: float
    unit: str
    draws: tuple[float, ...]
    source: str

    def interval(self) -> tuple[float, float]:
        """95 % by percentiles of the draws; the value twice where there are none."""
        if not self.draws:
            return self.value, self.value
        low, high = np.quantile(self.draws, (LOW, HIGH))
        return float(low), float(high)


@dataclass(frozen=True)
class Table:
    """A distribution of seconds: `quantiles` at evenly spread probabilities from 0 to 1, per draw of the bootstrap.

    `quantiles` has the shape (draws + 1, points); row 0 is the estimate from all data.
    """

    quantiles: tuple[tuple[float, ...], ...]
    source: str

    @property
    def mean_s(self) -> float:
        """Of the estimate: the integral of its quantile function, by trapezoids."""
        return float(np.trapezoid(self.quantiles[0], dx=1 / (len(self.quantiles[0]) - 1)))


@dataclass(frozen=True)
class Calibration:
    """Everything the simulator takes from measurements.

    `machine` says on what: `class` (processor architecture and vendor), `cores`, `kernel`. `runs` are the ids of the
    results folders that it was made from.
    """

    machine: Mapping[str, str]
    runs: tuple[str, ...]
    quantities: Mapping[str, Quantity]
    tables: Mapping[str, Table]
    laws: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # law -> coefficient -> product of parameters
    schema: int = SCHEMA

    def quantity(self, name: str) -> Quantity:
        """The quantity of that name."""
        if name not in self.quantities:
            raise Mistake(
                f"the calibration has no {name!r}; it has {', '.join(sorted(self.quantities))}; calibrate anew"
            )
        return self.quantities[name]

    def table(self, name: str) -> Table:
        """The table of that name."""
        if name not in self.tables:
            raise Mistake(f"the calibration has no table {name!r}; it has {', '.join(sorted(self.tables))}")
        return self.tables[name]

    def draws(self, names: Sequence[str], number: int) -> Draws:
        """Rows of draws, one column per name; shape (number, names). What was measured once does not vary."""
        columns = [np.resize(q.draws or (q.value,), number) for q in map(self.quantity, names)]
        return np.stack(columns, axis=1).astype(np.float64)

    def save(self, path: Path) -> None:
        """Write it as JSON with sorted keys: the same calibration gives the same bytes."""
        path.write_text(json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def load(path: Path = SHIPPED, machine: str | None = None) -> Calibration:
    """Read a calibration. `Mistake` where it is none, of another schema, or not of the machine class that is asked."""
    try:
        told = json.loads(path.read_text())
        schema = told["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Mistake(f"{path} cannot be read as a calibration: {error}; make one with mesh-lab calibrate") from error
    if schema != SCHEMA:
        raise Mistake(f"{path} has schema {schema}; this version reads {SCHEMA}; make it anew with mesh-lab calibrate")
    try:
        found = _calibration(told)
    except (KeyError, TypeError, ValueError) as error:
        raise Mistake(f"{path} is damaged: {error!r}; make it anew with mesh-lab calibrate") from error
    have = found.machine.get("class", "unknown")
    if machine is not None and have != machine:
        raise Mistake(
            f"{path} was measured on machine class {have!r}, not {machine!r}; calibrate on a machine like yours"
        )
    return found


def _calibration(told: Mapping[str, Any]) -> Calibration:
    def quantity(item: Mapping[str, Any]) -> Quantity:
        draws = tuple(map(float, item["draws"]))
        return Quantity(float(item["value"]), str(item["unit"]), draws, str(item["source"]))

    def table(item: Mapping[str, Any]) -> Table:
        return Table(tuple(tuple(map(float, row)) for row in item["quantiles"]), str(item["source"]))

    return Calibration(
        machine={str(k): str(v) for k, v in told["machine"].items()},
        runs=tuple(map(str, told["runs"])),
        quantities={name: quantity(item) for name, item in told["quantities"].items()},
        tables={name: table(item) for name, item in told["tables"].items()},
        laws={law: {str(k): str(v) for k, v in terms.items()} for law, terms in told["laws"].items()},
    )
