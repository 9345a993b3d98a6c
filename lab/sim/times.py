"""How long one visit takes: quantile tables of what was measured, and exact distributions for the oracles.

Everything is in seconds. Both engines take their service times from these objects, so they cannot disagree about them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from lab.record import Mistake

Floats = npt.NDArray[np.float64]

CELLS = 1024  # of a quantile table: 8 KiB, so that the tables of a scenario stay in the first two caches
FIXED, EXPONENTIAL, GAMMA, QUANTILES = range(4)  # what the request-level engine knows how to draw


class Times(ABC):
    """A distribution of non-negative times."""

    kind: int

    @property
    @abstractmethod
    def mean(self) -> float:
        """Expected time, s."""

    @property
    @abstractmethod
    def second(self) -> float:
        """Expected square of the time, s²."""

    @abstractmethod
    def below(self, x: Floats) -> Floats:
        """E[min(T, x)] for every x >= 0: the integral of the survival function, from which grids are made."""

    @abstractmethod
    def upper(self, share: float) -> float:
        """A time that only `share` of all times exceed."""

    @property
    def cv2(self) -> float:
        """Squared coefficient of variation: variance over squared mean; 0 where the mean is 0."""
        return self.second / self.mean**2 - 1.0 if self.mean > 0 else 0.0


def _finite(name: str, value: float, least: float = 0.0) -> None:
    if not (least <= value < math.inf):
        raise Mistake(f"{name}={value}; it must be a finite number of at least {least}")


@dataclass(frozen=True)
class Fixed(Times):
    """Always the same time."""

    time_s: float
    kind = FIXED

    def __post_init__(self) -> None:
        _finite("time_s", self.time_s)

    @property
    def mean(self) -> float:
        return self.time_s

    @property
    def second(self) -> float:
        return self.time_s**2

    def below(self, x: Floats) -> Floats:
        return np.minimum(self.time_s, x)

    def upper(self, share: float) -> float:
        return self.time_s


@dataclass(frozen=True)
class Exponential(Times):
    """Memoryless, with a mean."""

    mean_s: float
    kind = EXPONENTIAL

    def __post_init__(self) -> None:
        _finite("mean_s", self.mean_s, 1e-12)

    @property
    def mean(self) -> float:
        return self.mean_s

    @property
    def second(self) -> float:
        return 2 * self.mean_s**2

    def below(self, x: Floats) -> Floats:
        return -self.mean_s * np.expm1(-x / self.mean_s)

    def upper(self, share: float) -> float:
        return -self.mean_s * math.log(share)


@dataclass(frozen=True)
class Gamma(Times):
    """Gamma: squared coefficient of variation is 1 / shape; a whole shape k is Erlang-k."""

    shape: float
    mean_s: float
    kind = GAMMA

    def __post_init__(self) -> None:
        _finite("shape", self.shape, 1e-3)
        _finite("mean_s", self.mean_s, 1e-12)

    @property
    def mean(self) -> float:
        return self.mean_s

    @property
    def second(self) -> float:
        return self.mean_s**2 * (1 + 1 / self.shape)

    def below(self, x: Floats) -> Floats:
        scaled = np.asarray(x) * (self.shape / self.mean_s)
        less: Floats = self.mean_s * special.gammainc(self.shape + 1, scaled)
        rest: Floats = x * special.gammaincc(self.shape, scaled)
        return less + rest

    def upper(self, share: float) -> float:
        return float(stats.gamma.isf(share, self.shape, scale=self.mean_s / self.shape))


@dataclass(frozen=True, eq=False)
class Quantiles(Times):
    """An empirical distribution as its inverse: `values[k]` is the quantile at k / (len - 1), straight lines between.

    A draw is one look-up with one multiplication, whatever the distribution looks like.
    """

    values: Floats
    kind = QUANTILES
    _whole: Floats = field(init=False, repr=False)  # mean of min(T, values[k]), k = 0…

    def __post_init__(self) -> None:
        values = np.ascontiguousarray(self.values, np.float64)
        if values.ndim != 1 or len(values) < 2:  # two ends make one cell
            raise Mistake(f"a quantile table of shape {values.shape}; it needs one row of at least 2 quantiles")
        if not (np.isfinite(values).all() and values[0] >= 0 and (np.diff(values) >= 0).all()):
            raise Mistake("a quantile table must be finite, from 0 on, and never fall; sort it")
        values.setflags(write=False)
        object.__setattr__(self, "values", values)
        cells = len(values) - 1
        middle = (1 - (np.arange(cells) + 0.5) / cells) * np.diff(values)  # survival falls along a straight line
        object.__setattr__(self, "_whole", values[0] + np.concatenate([[0.0], np.cumsum(middle)]))

    @classmethod
    def of(cls, sample: npt.ArrayLike, cells: int = CELLS) -> Quantiles:
        """The table of a sample of times, s. Scaled (by parts in a thousand) so that its mean is the sample's."""
        times = np.asarray(sample, np.float64)
        if times.size == 0:
            raise Mistake("a quantile table of no times; measure some first")
        table = cls(np.quantile(times, np.linspace(0, 1, cells + 1)))
        return table.scaled(float(times.mean()) / table.mean) if table.mean > 0 else table

    @classmethod
    def from_distribution(cls, frozen: Any, cells: int = CELLS) -> Quantiles:
        """The table of a frozen scipy.stats distribution, its upper tail cut at half a cell, its mean kept."""
        shares = np.linspace(0, 1, cells + 1)
        shares[-1] = 1 - 0.5 / cells
        table = cls(np.maximum(frozen.ppf(shares), 0.0))
        return table.scaled(float(frozen.mean()) / table.mean)

    def scaled(self, factor: float) -> Quantiles:
        """All times multiplied: a slower or faster processor."""
        _finite("factor", factor)
        return Quantiles(self.values * factor)

    @property
    def mean(self) -> float:
        return float(self._whole[-1])

    @property
    def second(self) -> float:
        low, high = self.values[:-1], self.values[1:]
        return float(np.mean(low * low + low * high + high * high) / 3)

    def below(self, x: Floats) -> Floats:
        x = np.asarray(x, np.float64)
        cells = len(self.values) - 1
        cell = np.clip(np.searchsorted(self.values, x, side="right") - 1, 0, cells - 1)
        low, span = self.values[cell], self.values[cell + 1] - self.values[cell]
        part = np.clip(np.divide(x - low, span, out=np.zeros_like(x), where=span > 0), 0, 1)
        inside: Floats = self._whole[cell] + span * part * (1 - (cell + part / 2) / cells)
        outside: Floats = np.where(x >= self.values[-1], self._whole[-1], x)
        return np.where((x >= self.values[-1]) | (x < self.values[0]), outside, inside)

    def upper(self, share: float) -> float:
        return float(self.values[-1])
