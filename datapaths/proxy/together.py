"""Several observers of whom each saw a part of the requests, as one that saw them all."""

from collections.abc import Sequence

from lab.record import RequestCount


def together(counts: Sequence[RequestCount]) -> RequestCount:
    """Their sum, under all of their names."""
    return RequestCount(
        ", ".join(count.observer for count in counts),
        sum(count.requests for count in counts),
        sum(count.not_understood for count in counts),
    )
