"""The ledger over several runs: every claim, every run's verdict on it, and the newest that could judge it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lab import claims
from lab.claims import Claim
from lab.record import Verdict
from lab.report.published import MEASURED, Machine, Published, runs


@dataclass(frozen=True)
class Judgement:
    """What one run says of one claim."""

    run: str
    created: str
    origin: str
    machine: Machine | None
    verdict: Verdict


@dataclass(frozen=True)
class Entry:
    """A claim with what every run that could judge it says, the newest first."""

    claim: Claim
    judgements: tuple[Judgement, ...]

    @property
    def latest(self) -> Judgement | None:
        """The newest verdict; None where no run could judge the claim."""
        return next(iter(self.judgements), None)

    @property
    def others(self) -> tuple[Judgement, ...]:
        """The older ones."""
        return self.judgements[1:]

    def data(self) -> Mapping[str, Any]:
        """As plain data for programs."""
        latest = self.latest
        return {
            "claim": self.claim.id,
            "statement": self.claim.statement,
            "source": f"{claims.POST} ({self.claim.source})",
            "scenario": self.claim.scenario or None,
            "rule": self.claim.demands,
            "lacks": self.claim.lacks or None,
            "verdict": str(latest.verdict.word) if latest else None,
            "run": latest.run if latest else None,
            "conditions": list(latest.verdict.conditions) if latest else [],
            "verdicts": [asdict(one) for one in self.judgements],
        }


def entries(found: Sequence[Published]) -> tuple[Entry, ...]:
    """Every claim of the ledger in its order. Only what was measured judges: no forecast, nothing imported."""
    newest = sorted(
        (run for run in runs(found) if run.origin == MEASURED), key=lambda r: (r.created, r.name), reverse=True
    )
    return tuple(Entry(claim, tuple(_judgements(claim.id, newest))) for claim in claims.CLAIMS)


def _judgements(claim: str, newest: Sequence[Published]) -> list[Judgement]:
    return [
        Judgement(run.name, run.created, run.origin, run.machine, verdict)
        for run in newest
        for verdict in run.verdicts
        if verdict.claim == claim and verdict.measured
    ]


def machines(found: Sequence[Entry]) -> dict[Machine, str]:
    """A letter for every class of machine that a verdict comes from."""
    seen = dict.fromkeys(j.machine for e in found for j in e.judgements if j.machine)
    return {machine: _letter(number) for number, machine in enumerate(seen)}


def _letter(number: int) -> str:
    return chr(ord("A") + number) if number < 26 else f"M{number + 1}"
