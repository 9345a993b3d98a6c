"""What rules look at: one repetition of one arm, whoever measured it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lab.foreign import Imported, Told


@dataclass(frozen=True)
class Sample:
    """One repetition, or several (`repeats`) that were placed anew and are told together.

    `asked_per_s` is what the file says, or whoever imports it. `load` is what repetitions have in common.
    """

    name: str
    arm: str
    base: bool
    told: Told
    load: str
    asked_per_s: float | None
    repeats: int = 1

    @property
    def interval_s(self) -> float | None:
        """The time between two sends of one connection at the rate asked, else at the rate achieved."""
        rate = self.asked_per_s or self.told.achieved_per_s
        return self.told.connections / rate if self.told.connections and rate else None


def samples(imported: Iterable[Imported]) -> tuple[Sample, ...]:
    """Imported repetitions as samples."""
    return tuple(_sample(one) for one in imported)


def _sample(one: Imported) -> Sample:
    told = one.told
    asked = told.asked_per_s if told.asked_per_s is not None else one.original.stated_per_s
    load = f"{asked:g}/s" if asked is not None else "no rate told"
    return Sample(one.original.name, one.original.arm, one.original.base, told, load, asked)
