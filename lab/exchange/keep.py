"""Imported repetitions become a results folder of their own: plan, files as they were given, what they say."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from lab.exchange.given import Repetition
from lab.plan import SCHEMA, Plan
from lab.record import Mistake
from lab.store import Store

SYSTEM = {"measured_by": "other tools, on a machine that is not told"}
PROFILE, ELSEWHERE = "as told", "elsewhere"  # the cluster of everything that the lab did not measure


def keep(folder: Path, found: Sequence[Repetition], command: str = "", created: str | None = None) -> Store:
    """A new results folder that holds them, not yet summed up. `Mistake` where the folder is there already."""
    if not found:
        raise Mistake("no file was given; name one that another load generator has written")
    folder.parent.mkdir(parents=True, exist_ok=True)
    when = created or datetime.now(UTC).isoformat(timespec="seconds")
    made = Store.create(folder, _plan(found, when, command), SYSTEM)
    for one in found:
        made.add_import(one.imported.original, one.imported.told, one.documents)
    return made


def _plan(found: Sequence[Repetition], created: str, command: str) -> Plan:
    return Plan(
        schema=SCHEMA,
        run=f"{''.join(c for c in created[:19] if c.isdigit())}-import",
        created=created,
        command=command,
        profile=PROFILE,
        cluster=ELSEWHERE,
        overlay=False,
        cpus="",
        awake=False,
        seed=0,
        scenarios=(),
        trials=(),
        imports=tuple(one.imported.original for one in found),
    )
