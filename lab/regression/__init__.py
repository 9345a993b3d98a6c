"""Is a datapath slower than it was? One version against another in one run, or a new run against a stored one."""

from __future__ import annotations

from lab.regression.judge import judge
from lab.regression.ruling import Judgement, Limits, Ruling, Sides, Word

__all__ = ["Judgement", "Limits", "Ruling", "Sides", "Word", "judge"]
