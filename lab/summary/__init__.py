"""What the stored trials of one run say: numbers only, computed from the trials and nothing else."""

from __future__ import annotations

from lab.summary.results import (
    Accounting,
    Capacity,
    Coefficient,
    Contrast,
    Cost,
    Estimate,
    Foretold,
    Latency,
    Memory,
    Size,
    Sockets,
    Step,
    StepContrast,
    Summary,
    WalkCount,
)
from lab.summary.summarise import summarise

__all__ = [
    "Accounting",
    "Capacity",
    "Coefficient",
    "Contrast",
    "Cost",
    "Estimate",
    "Foretold",
    "Latency",
    "Memory",
    "Size",
    "Sockets",
    "Step",
    "StepContrast",
    "Summary",
    "WalkCount",
    "summarise",
]
