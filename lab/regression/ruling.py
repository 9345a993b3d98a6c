"""What a gate is asked and what it says: frozen data, from which every output is made."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lab.summary import Estimate

LATENCY = ("p50", "mean", "p99")
WHOLE = ("cpu", "pss", "bpf", "kept")  # of whole windows, and of the ladder


class Word(StrEnum):
    """The only words a gate uses, of one metric and of the whole."""

    PASSED = "passed"  # surely not slower than allowed
    SLOWER = "slower"  # surely slower than allowed
    WORSE = "worse"  # the same of what is no time: processor, memory, rate kept
    UNDECIDED = "undecided"  # the interval holds the threshold
    REFUSED = "refused"  # the data cannot carry a judgement
    SHOWN = "not judged"  # no threshold was given


FAILED = (Word.SLOWER, Word.WORSE)
EXITS = {Word.PASSED: 0, Word.SLOWER: 1, Word.WORSE: 1, Word.UNDECIDED: 2, Word.REFUSED: 2}


@dataclass(frozen=True)
class Limits:
    """How much more is allowed, as a share of the old value, of `loss` how much less. None: it is not judged."""

    slowdown: float
    metrics: tuple[str, ...] = ("p50", "mean")  # that `slowdown` holds for
    p99: float | None = None
    cpu: float | None = None
    pss: float | None = None
    bpf: float | None = None
    loss: float | None = None

    def of(self, metric: str) -> float | None:
        """The threshold of a metric."""
        if metric == "p99" and self.p99 is not None:
            return self.p99
        if metric in LATENCY:
            return self.slowdown if metric in self.metrics else None
        found: float | None = {"cpu": self.cpu, "pss": self.pss, "bpf": self.bpf, "kept": self.loss}[metric]
        return found

    @property
    def costs(self) -> bool:
        """Must whole windows be measured, for what slices cannot tell?"""
        return (self.cpu, self.pss, self.bpf) != (None, None, None)


@dataclass(frozen=True)
class Sides:
    """What is held against what: arms of one scenario, at one rate where one is given.

    Without a baseline run both are arms of the same run; with one, `against` is an arm of that run.
    """

    scenario: str
    candidate: str
    against: str
    rate_per_s: float | None = None


@dataclass(frozen=True)
class Judgement:
    """One metric under one load. Shares are ratio - 1."""

    load: str
    metric: str
    ratio: Estimate | None  # candidate / against; None where there is none
    difference_s: Estimate | None  # candidate - against, of times measured side by side
    threshold: float | None
    floor: float | None  # how far two equal arms seem to be apart; None where none were measured
    deployments: int  # that the ratio stands on
    void: int  # deployments that a gate left out
    word: Word
    because: str
    resolution: float | None = None  # the least threshold that an equally fast candidate would pass, with 80 %
    wanted: int | None = None  # deployments with which an equally fast candidate would pass, with a power of 80 %
    wanted_baseline: int | None = None  # and the baseline, where a longer run alone does not help


@dataclass(frozen=True)
class Ruling:
    """What the gate says."""

    candidate: str
    against: str
    scenario: str
    runs: tuple[str, ...]  # folders of the candidate's runs
    baseline: str | None  # folder of the stored run, where there is one
    looks: int  # declared beforehand
    confidence: float  # of every interval: 1 - 0.05 / looks
    judgements: tuple[Judgement, ...]
    unlike: tuple[str, ...]  # what differs between the runs, in words
    word: Word
    because: str
    advice: str  # what to do; empty where nothing is left to do
    command: str = ""  # that would measure enough

    @property
    def exit(self) -> int:
        """0: passed. 1: slower. 2: it could not judge."""
        return EXITS[self.word]

    @property
    def open(self) -> bool:
        """Might more deployments decide?"""
        left = [j for j in self.judgements if j.word in (Word.UNDECIDED, Word.REFUSED)]
        return self.word in (Word.UNDECIDED, Word.REFUSED) and bool(left) and all(j.wanted for j in left)
