"""Were connections kept?"""

from __future__ import annotations

from lab.exchange.audit.rule import Rule, Said
from lab.exchange.audit.sample import Sample
from lab.foreign import Severity

HTTP = "https://www.rfc-editor.org/rfc/rfc9112#section-9.3"


def no_keep_alive(sample: Sample) -> Said:
    """A new connection for each request."""
    if sample.told.keep_alive is not False:
        return None
    return (
        "every request opens a connection of its own: its handshakes, several with a proxy, are in the times",
        ("keep-alive = off",),
    )


def reopened(sample: Sample) -> Said:
    """More connections were opened than were asked for."""
    opened, held = sample.told.opened, sample.told.connections
    if opened is None or not held or opened <= held or sample.told.keep_alive is False:
        return None
    return (
        f"connections were lost and opened again {opened - held:,} times: handshakes are in the times, and what closed "
        "them is not told",
        (f"opened = {opened:,}", f"connections = {held:,}"),
    )


RULES = (
    Rule("no_keep_alive", Severity.LIMIT, HTTP, no_keep_alive),
    Rule("reopened", Severity.LIMIT, HTTP, reopened),
)
