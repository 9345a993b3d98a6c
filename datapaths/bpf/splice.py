"""Connections inside a node, from socket to socket: `splice.bpf.c` beside an `HttpWatch`, whose counts it adds to."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

from datapaths.bpf.address import written
from datapaths.bpf.closing import Closing
from datapaths.bpf.http import HttpWatch
from datapaths.bpf.libbpf import Object
from lab import compile

SOURCE = Path(__file__).with_name("splice.bpf.c")
FLAGS = ("-mcpu=v3",)
PROGRAM = "connection_of_pair"
TOTALS = ("pairs", "spoke_first", "not_paired", "handed", "handed_bytes", "to_packets")  # as in splice.bpf.c
SHARED = (
    *("streams", "early", "identities", "routes", "route_states", "route_edges", "slots", "metrics", "totals"),
    *(".data", ".rodata.options"),
)
TOLD = ("near",)
_ROOM = 256  # addresses that may come while an agent runs


class Splice(Closing):
    """Connections between pods of one node go from socket to socket; requests on them are counted by `watch`.

    The watch must be on the servers' side and outlive this. At most `connections` at a time: more than these, those
    whose client sent something before its server's end was there, and everything else take their usual way, and the
    watch reads them itself. `pins` is the watch's own folder. A context manager.
    """

    def __init__(self, watch: HttpWatch, connections: int = 4096, pins: Path | None = None) -> None:
        self.object = Object(compile.bpf(SOURCE, *FLAGS), pins, str(TOTALS), TOLD)
        try:
            for name in SHARED:
                self.object.share(name, watch.object.map(name).fd)
            self.object.resize("pairs", connections)
            self.object.resize("sockets", 2 * connections)
            self.object.resize("near", _ROOM)
            self.object.load()
            self.object.attach_map("message", "sockets")
            self.object.attach_map("pass", "sockets")
        except BaseException:
            self.object.close()
            raise
        self._totals = self.object.map("splice_totals")

    def update(self, cgroups: Iterable[Path], addresses: Iterable[str]) -> None:
        """Join what is opened from now on between these addresses: of pods, and of services that have one behind them.

        `cgroups` are the pods'; the watch must have been attached to each before, and so meets a connection first.
        """
        self.object.map("near").replace({written(address): struct.pack("=I", 1) for address in addresses})
        self.object.cover(cgroups, (PROGRAM,))

    def totals(self) -> dict[str, int]:
        """Pairs of sockets, connections that did not become one and why, what was handed over, and ways given up."""
        return self._totals.counters(TOTALS)

    def open_pairs(self) -> int:
        """Connections that have not been closed at both ends, and those whose server's end has not come to be."""
        return sum(1 for _ in self.object.map("pairs"))

    def close(self) -> None:
        """Detach: open connections go on by packets, without being read. With pins, let go. Idempotent."""
        self.object.close()
