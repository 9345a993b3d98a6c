"""The part `fastpath`: what the part `http` counts, and connections inside the node from socket to socket."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from datapaths.bpf.openmetrics import Family, counters
from datapaths.bpf.part import Told
from datapaths.bpf.splice import Splice
from datapaths.bpf.visibility import Visibility
from lab.record import Mistake

HELPS = {
    "pairs": "Connections whose two sockets were joined.",
    "spoke_first": "Connections that were not, because the client sent before the server's end was there.",
    "not_paired": "Connections that were not, for lack of room or because they began with a request.",
    "handed": "Messages handed from socket to socket.",
    "handed_bytes": "Bytes handed from socket to socket.",
    "to_packets": "Directions that went on by packets: the reader was too far behind, or gone.",
}


class Fastpath(Visibility):
    """Visibility on the servers' side with a `Splice`; `{"splice": {"connections": N}}` makes room for N at a time."""

    def __init__(self, told: Told, pins: Path | None) -> None:
        if told.get("http", {}).get("side", "server") != "server":
            raise Mistake("the part fastpath reads on the servers' side; leave out http.side, or say server")
        super().__init__(told, pins)
        try:
            self._splice = Splice(self._watch, told.get("splice", {}).get("connections", 4096), pins)
            self._splice.update(map(Path, told.get("cgroups", ())), addresses(told))
        except BaseException:
            self.close()
            raise

    def update(self, told: Told) -> None:
        """Follow pods, services and identities that came or went."""
        super().update(told)
        self._splice.update(map(Path, told.get("cgroups", ())), addresses(told))

    def totals(self) -> dict[str, int]:
        return super().totals() | self._splice.totals()

    def families(self) -> Iterable[Family]:
        yield from super().families()
        yield from counters("mesh_splice", self._splice.totals(), HELPS)

    def close(self) -> None:
        if hasattr(self, "_splice"):
            self._splice.close()
        super().close()


def addresses(told: Told) -> Iterator[str]:
    """The node's pods, and the services that have one of them behind them."""
    local = set(told.get("local", ()))
    yield from local
    for service in told.get("services", ()):
        if local & {endpoint["address"] for endpoint in service.get("endpoints", ())}:
            yield service["address"]
