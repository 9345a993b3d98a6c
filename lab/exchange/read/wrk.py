"""wrk's output. It has no rate: each connection asks again when it was answered, and times run from the send."""

from __future__ import annotations

from collections.abc import Sequence

from lab.exchange.read import wrk_output
from lab.foreign import Document, Loop, Since, Told
from lab.record import Mistake


def recognises(body: str) -> bool:
    """May it be wrk's? Without --latency, wrk2's short runs look the same."""
    return wrk_output.looks_right(body) and wrk_output.HDR not in body and wrk_output.CALIBRATION not in body


def read(documents: Sequence[Document]) -> Told:
    """One run."""
    document, body, told = wrk_output.shared(documents, "wrk")
    if not recognises(body):
        raise Mistake(f"{document.name} has lines that only wrk2 prints; read it with --format wrk2")
    _, _, section = body.partition("Latency Distribution")
    return Told(
        tool="wrk",
        loop=Loop.CLOSED,
        since=Since.SEND,
        quantiles=wrk_output.quantiles(section, document),
        notes=("wrk has no rate: its throughput is what the server and the connections allowed",),
        **told,
    )
