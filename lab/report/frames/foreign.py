"""What was imported from other load generators, and what the audit says of it, as frames."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd

from lab.report.frames.naming import framed
from lab.store import Store

KEPT = ("tool", "version", "label", "started", "loop", "since", "requests", "achieved_per_s", "asked_s", "duration_s",
        "threads", "connections", "opened", "answered", "errors", "errors_timed", "held_back", "discarded",
        "resolution_s", "least_s", "mean_s", "deviation_s", "most_s")  # fmt: skip


def imported(run: Store) -> pd.DataFrame:
    """One row an imported repetition: what its file tells. Empty where it does not.

    Columns:
        name, arm, base, repeat: the repetition, whose it is, whether that is the baseline, and which one it is
        format: how its files were read
        origin: always `imported`
        tool, version, label, started: as the file says; words of its own
        loop, since: open, paced, closed or unknown; what times are counted from: schedule or send
        requests: requests whose times are told
        asked_per_s, achieved_per_s: requests/s asked (in the file, or stated when it was imported) and reached
        asked_s, duration_s: how long it should run, and ran, s
        threads, connections, opened: of the client; connections opened in all
        answered, errors, errors_timed: good answers; requests without; those of them that are among the times
        held_back, discarded: sends delayed or left out; requests whose times were thrown away
        resolution_s: the step in which times are told, s
        least_s, mean_s, deviation_s, most_s, p50_s, p99_s: times, s
    """
    rows = []
    for one in run.summary().imported:
        told, original = asdict(one.told), one.original
        asked = one.told.asked_per_s if one.told.asked_per_s is not None else original.stated_per_s
        rows.append({
            "name": original.name, "arm": original.arm, "base": original.base, "repeat": original.repeat,
            "format": original.format, "origin": one.origin, "asked_per_s": asked,
            **{name: told[name] for name in KEPT},
            "p50_s": one.told.quantile(0.5), "p99_s": one.told.quantile(0.99),
        })  # fmt: skip
    return framed(imported, rows)


def concerns(run: Store) -> pd.DataFrame:
    """One row a concern of the audit about what was imported.

    Columns:
        rule, severity: which rule, and serious, limit or note
        sample: of which repetition, or of which arm and load
        because: why it matters, in a sentence
        evidence: fields and values that it stands on
        source: who showed it
    """
    rows = [{**asdict(c), "evidence": "; ".join(c.evidence)} for c in run.summary().concerns]
    return framed(concerns, rows)
