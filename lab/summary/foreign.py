"""What was imported, and what the audit says of it; kept apart from everything that was measured."""

from __future__ import annotations

from collections.abc import Sequence

from lab.exchange.audit import audit, samples
from lab.foreign import Concern, Imported
from lab.store import Store


def imported(store: Store) -> tuple[Imported, ...]:
    """Every stored repetition, in the plan's order."""
    return tuple(Imported(original, told) for original, told in store.imports())


def concerns(found: Sequence[Imported]) -> tuple[Concern, ...]:
    """What limits them, the gravest first; of nothing, nothing."""
    return audit(samples(found))
