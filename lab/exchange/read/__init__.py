"""Files of other load generators, read: one module a format, each with `recognises` and `read`.

Nothing is guessed. What a file does not say is None; a file that cannot be read is a `Mistake` that says what was
expected and what was found.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from lab.exchange.read import fortio, h2load, locust, nighthawk, wrk, wrk2
from lab.exchange.read.text import LARGEST_BYTES, text
from lab.foreign import Document, Told
from lab.record import Mistake

FORMATS: dict[str, ModuleType] = {
    "fortio": fortio,
    "wrk2": wrk2,
    "wrk": wrk,
    "nighthawk": nighthawk,
    "h2load": h2load,
    "locust": locust,
}
AUTO = "auto"


def read(documents: Sequence[Document], format: str = AUTO) -> tuple[str, Told]:
    """The format, and what the files of one repetition say. `Mistake` where they cannot be read as that format."""
    if not documents:
        raise Mistake("no file was given; name one that another load generator has written")
    for document in documents:
        if len(document.raw) > LARGEST_BYTES:
            raise Mistake(
                f"{document.name} has {len(document.raw):,} bytes; allowed are {LARGEST_BYTES:,}: cut its log shorter"
            )
    if format != AUTO and format not in FORMATS:
        raise Mistake(f"--format {format!r} is unknown; allowed: {', '.join((AUTO, *FORMATS))}")
    known = format if format != AUTO else _recognised(documents)
    found: Told = FORMATS[known].read(documents)
    return known, found


def _recognised(documents: Sequence[Document]) -> str:
    """The one format whose marks every file bears."""
    bodies = [text(document) for document in documents]
    fits = [name for name, module in FORMATS.items() if all(module.recognises(body) for body in bodies)]
    if len(fits) == 1:
        return fits[0]
    names = " + ".join(d.name for d in documents)
    begins = bodies[0].lstrip()[:40]
    if fits:
        raise Mistake(f"{names} may be of {' or '.join(fits)}; say which with --format")
    raise Mistake(
        f"{names} is of no known format; it begins with {begins!r}. Expected: Fortio's or Nighthawk's JSON, what wrk, "
        "wrk2 or h2load print, h2load's --log-file, or Locust's *_stats.csv"
    )
