"""wrk2's output, with --latency its whole percentile spectrum, with --u_latency also the times from the send.

Source: https://github.com/giltene/wrk2, README.md and src/wrk.c. Each connection has a rate; times run from when a
request was due. Its timers tick every millisecond ("accurate to a +/- ~1 msec granularity"). After 10 s of calibration
what was measured so far is thrown away. It does not print the rate that was asked (-R).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from lab.exchange.read import text, wrk_output
from lab.foreign import Document, Loop, Since, Told
from lab.record import Mistake

RECORDED, UNCORRECTED = "Recorded Latency", "Uncorrected Latency"
TICK_S = 1e-3
SPECTRUM = re.compile(r"^ *(\d{1,15}\.\d{3}) +(\d\.\d{6}) +(\d{1,15}) +(?:\d{1,20}\.\d{2}|inf) *$", re.MULTILINE)
TOTAL = re.compile(r"^#\[Max +=.*Total count += +(\d{1,15})\]$", re.MULTILINE)


def recognises(body: str) -> bool:
    """May it be wrk2's? Without --latency, wrk's look the same as short runs of wrk2."""
    return wrk_output.looks_right(body) and not wrk_output.PLAIN.search(body)


def read(documents: Sequence[Document]) -> Told:
    """One run."""
    document, body, shared = wrk_output.shared(documents, "wrk2")
    if not recognises(body):
        raise Mistake(f"{document.name} has a distribution as only wrk prints it; read it with --format wrk")
    made = Told(tool="wrk2", loop=Loop.PACED, since=Since.SCHEDULE, **(shared | {"resolution_s": TICK_S}))
    parts = dict(_sections(body))
    recorded, other = parts.get(RECORDED), parts.get(UNCORRECTED)
    notes = ["wrk2 does not print its rate (-R); say it with --rate"]
    if recorded is None:
        notes.append("without --latency there are no quantiles")
        return replace(made, uncorrected=_quantiles(other, document), notes=tuple(notes))
    timed = _timed(recorded, document)
    return replace(
        made,
        requests=timed,
        discarded=shared["requests"] - timed,
        quantiles=_quantiles(recorded, document),
        uncorrected=_quantiles(other, document),
        notes=tuple(notes),
    )


def _sections(body: str) -> list[tuple[str, str]]:
    """(title, lines) of every distribution."""
    pieces = body.split(wrk_output.HDR)[1:]
    return [(re.split(r" \(|\)", piece, maxsplit=1)[0], piece.split("\n-----", 1)[0]) for piece in pieces]


def _timed(section: str, document: Document) -> int:
    found = TOTAL.findall(section)
    if len(found) != 1 or int(found[0]) < 1:
        raise Mistake(f"{document.name} must have a line like '#[Max = 12.496, Total count = 39500]' a distribution")
    return int(found[0])


def _quantiles(section: str | None, document: Document) -> tuple[tuple[float, float], ...]:
    """The spectrum in full, and the round shares of the list above it that the spectrum steps over."""
    if section is None:
        return ()
    listed, heading, spectrum = section.partition("Detailed Percentile spectrum:")
    if not heading:
        raise Mistake(f"{document.name} ends within a distribution; give wrk2's whole output")
    fine = [(float(m[2]), float(m[1]) / 1e3) for m in SPECTRUM.finditer(spectrum)]
    if not fine or fine[-1][0] != 1:
        raise Mistake(f"{document.name}: the percentile spectrum must end at 1.000000; found {fine[-1:]}")
    text.rising(fine, f"{document.name}: the percentile spectrum")
    return tuple(sorted((dict(wrk_output.quantiles(listed, document)) | dict(fine)).items()))
