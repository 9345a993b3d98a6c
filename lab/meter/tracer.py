"""Counts TCP connections as they are established, in the kernel: the second opinion on sock_diag.

As a program, `python -m lab.meter.tracer`, it is the instrument itself: a bcc program on the raw tracepoint
`inet_sock_set_state`, which sees every namespace of the machine. What will break it: a kernel without BTF, or where raw
tracepoints are forbidden.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from lab.bcc import load
from lab.meter.bcc import Layout
from lab.meter.instrument import Instrument, serve
from lab.record import Failed


@dataclass(frozen=True)
class Opening:
    """How many connections became established at one end.

    `namespace` is the inode number of the network namespace that end is in; `remote` the other end's IPv4 address as
    this end knows it (0.0.0.0 for IPv6); `port` the other end's if this end connected (`active`), else the one it
    listened on.
    """

    namespace: int
    remote: str
    port: int
    active: bool
    count: int


class Tracer:
    """The running instrument. Counts grow from its start; leaving it ends it."""

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument

    @classmethod
    def start(cls) -> Tracer:
        """Returns once it counts; `CannotRun` where this machine cannot."""
        return cls(Instrument("lab.meter.tracer"))

    def openings(self) -> tuple[Opening, ...]:
        """All counts since the start; `Failed` when the kernel's table was too small to hold them."""
        answer = self.instrument.ask("openings")
        if answer["lost"]:
            raise Failed(f"the tracer lost {answer['lost']} connections: its table is full; watch a shorter block")
        return tuple(Opening(*row) for row in answer["rows"])

    def __enter__(self) -> Tracer:
        return self

    def __exit__(self, *_: object) -> None:
        self.instrument.stop()


def main() -> None:
    """The instrument's own process."""
    layout = Layout()
    names = {"SKC_FAMILY": "skc_family", "SKC_NET": "skc_net", "SKC_DADDR": "skc_daddr"}
    names |= {"SKC_DPORT": "skc_dport", "SKC_NUM": "skc_num"}
    offsets = {define: layout.offset("sock_common", member) for define, member in names.items()}
    program = load(Path(__file__).with_name("tracer.c"), **offsets, NET_INUM=layout.offset("net", "ns", "inum"))

    def openings(_nothing: str) -> dict[str, object]:
        rows = [
            (k.netns, socket.inet_ntoa(struct.pack("=I", k.remote)), k.port, bool(k.active), count.value)
            for k, count in program["openings"].items()
        ]
        return {"rows": rows, "lost": program["lost"][0].value}

    serve({"openings": openings})


if __name__ == "__main__":
    main()
