"""How well the shipped calibration's predictions came true: the holdout's outcome, kept beside the calibration.

`python -m lab.sim.validation RUN` writes it from a stored holdout. Forecasts show it, so that nobody reads their
figures without knowing how far such figures were off where they could be checked.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from lab import codec
from lab.record import Mistake
from lab.store import Store
from lab.summary import Foretold

SHIPPED = Path(__file__).with_name("holdout.json")


@dataclass(frozen=True)
class Outcome:
    """Every prediction of one holdout beside what was measured; `run` is its id."""

    run: str
    foretold: tuple[Foretold, ...]


def outcome(store: Store) -> Outcome:
    """Of a sealed run. `Mistake` where nothing of it was foretold."""
    found = store.summary().foretold
    if not found:
        raise Mistake(f"nothing of run {store.plan.run} was foretold; measure one with: mesh-lab run holdout")
    return Outcome(store.plan.run, found)


def load(path: Path = SHIPPED) -> Outcome:
    """A stored outcome. `Mistake` where the file is none."""
    try:
        return codec.load(Outcome, json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise Mistake(f"{path} cannot be read as a holdout's outcome: {error}; make it anew from a run") from error


def main() -> None:
    """Write the shipped file."""
    told = asdict(outcome(Store.open(Path(sys.argv[1]))))
    SHIPPED.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
