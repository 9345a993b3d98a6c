"""Measuring the cases of a study: each alone on an empty cluster, by the module that its kind names."""

from __future__ import annotations

from lab.study.measure import Measured, measure

__all__ = ["Measured", "measure"]
