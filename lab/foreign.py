"""What other load generators said: the files as they were given, and what was read from them. Data only.

Nothing here was measured by the lab. It is kept, shown and audited apart from everything that was, and judges no claim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

ORIGIN = "imported"  # how every such number is marked, wherever it is shown
BASE = "base"  # the arm that `--baseline` files are of
LEAST_REPEATS = 3  # of everything placed anew: with fewer, no interval over repetitions exists


class Loop(StrEnum):
    """Who decides when the next request is sent."""

    OPEN = "open"  # a schedule, whatever the server does
    PACED = "paced"  # a rate, but each connection waits for its answer first
    CLOSED = "closed"  # the answer to the one before
    UNKNOWN = "unknown"  # the file does not say


class Since(StrEnum):
    """What the times of requests are counted from."""

    SCHEDULE = "schedule"
    SEND = "send"


@dataclass(frozen=True)
class Document:
    """One file of another tool, as it was given: its name, without folders, and its bytes."""

    name: str
    raw: bytes


@dataclass(frozen=True)
class Original:
    """One repetition that was asked to be imported. `files` are (name as given, SHA-256, bytes), kept byte for byte.

    `stated_per_s` is the rate that whoever imports it says was asked for, where the file does not.
    """

    name: str
    arm: str
    base: bool
    repeat: int
    format: str
    files: tuple[tuple[str, str, int], ...]
    stated_per_s: float | None = None


@dataclass(frozen=True)
class Told:
    """What one repetition says. None: the file does not say it, and nothing is put in its place. Times in seconds.

    `requests` are those whose times the quantiles are of; `quantiles` are (share, seconds), `buckets` are (from, to,
    count). `uncorrected` are quantiles from the send of a tool that also gives them from its schedule. Words are the
    file's own and not to be trusted.
    """

    tool: str
    loop: Loop
    since: Since
    requests: int
    version: str = ""
    label: str = ""
    started: str = ""  # as the file writes it
    asked_per_s: float | None = None
    achieved_per_s: float | None = None
    asked_s: float | None = None  # how long it should run
    duration_s: float | None = None
    threads: int | None = None
    connections: int | None = None  # or users who wait for their answers
    opened: int | None = None  # connections that were opened in all
    keep_alive: bool | None = None
    answered: int | None = None
    errors: int | None = None  # no answer, or a status that the tool counts as wrong
    errors_timed: int | None = None  # those of them whose times are among the times
    held_back: int | None = None  # sends that the tool says it delayed or left out, since no connection was free
    discarded: int | None = None  # requests that were made and whose times were left out
    statuses: Mapping[str, int] = field(default_factory=dict)
    resolution_s: float | None = None  # the step in which the file gives times
    least_s: float | None = None
    mean_s: float | None = None
    deviation_s: float | None = None
    most_s: float | None = None
    quantiles: tuple[tuple[float, float], ...] = ()
    uncorrected: tuple[tuple[float, float], ...] = ()
    buckets: tuple[tuple[float, float, int], ...] = ()
    together: float | None = None  # share of requests that were sent within 20 µs of another
    parts: Mapping[str, int] = field(default_factory=dict)  # requests of each endpoint or worker
    notes: tuple[str, ...] = ()  # what could not be read, or stands for what, in words

    def quantile(self, share: float) -> float | None:
        """The time that this share of requests took at most, where the file tells it."""
        return next((value for told, value in self.quantiles if abs(told - share) < 1e-9), None)


class Severity(StrEnum):
    """How much a concern takes from a result."""

    SERIOUS = "serious"  # what is printed may be wrong by any factor, or compares nothing
    LIMIT = "limit"  # it holds within bounds that are not printed beside it
    NOTE = "note"


@dataclass(frozen=True)
class Concern:
    """What one rule of the audit found: of which sample, why it matters, what it stands on, and who showed it."""

    rule: str
    severity: Severity
    sample: str
    because: str
    evidence: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class Imported:
    """One imported repetition in a summary: marked, and apart from all that was measured."""

    original: Original
    told: Told
    origin: str = ORIGIN
