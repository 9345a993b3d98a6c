"""The kernel's own clock on the packets of one cgroup.

As a program, `python -m lab.meter.clock`, it is the instrument: two bcc programs of type cgroup_skb, attached by links
(bcc's own `attach_func` makes legacy attachments, which outlive a crash). It writes down every packet and so watches
REFEREE blocks only.
"""

from __future__ import annotations

import base64
import ctypes
import os
from pathlib import Path
from typing import Any

from lab.bcc import load
from lab.meter.bpf import CGROUP_INET_EGRESS, CGROUP_INET_INGRESS, attach
from lab.meter.instrument import Instrument, serve
from lab.record import Failed

PAGES = 4096  # of the ring: 16 MiB hold some 700,000 packets of 24 bytes each
PACKET_BYTES = 16  # struct packet of clock.c


class Clock:
    """The running instrument; leaving it ends it."""

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument

    @classmethod
    def start(cls) -> Clock:
        """Returns once it is compiled, not yet attached; `CannotRun` where this machine cannot."""
        return cls(Instrument("lab.meter.clock"))

    def attach(self, cgroup: Path) -> None:
        """From now on, write down the packets of the sockets that were made in this cgroup or below it."""
        answer = self.instrument.ask(f"attach {cgroup}")
        if answer:
            raise Failed(str(answer))

    def detach(self) -> bytes:
        """Stop, and give the packets since `attach`: 16 bytes each, `struct packet` of clock.c, in order of time."""
        answer = self.instrument.ask("detach")
        if answer["lost"]:
            raise Failed(f"the kernel's clock lost {answer['lost']} packets: its ring is full; use a shorter window")
        return base64.b64decode(answer["packets"])

    def __enter__(self) -> Clock:
        return self

    def __exit__(self, *_: object) -> None:
        self.instrument.stop()


class _Programs:
    """The instrument's own side: two programs, a ring, and the links while attached."""

    def __init__(self) -> None:
        self.bpf = load(Path(__file__).with_name("clock.c"), PAGES=PAGES)
        kinds = {"leaves": CGROUP_INET_EGRESS, "arrives": CGROUP_INET_INGRESS}
        self.programs = {kind: self.bpf.load_func(name, self.bpf.CGROUP_SKB) for name, kind in kinds.items()}
        self.bpf["packets"].open_ring_buffer(self._take)
        self.links: list[int] = []
        self.packets = bytearray()

    def _take(self, _context: object, data: int, _size: int) -> int:
        self.packets += ctypes.string_at(data, PACKET_BYTES)
        return 0

    def attach(self, cgroup: str) -> str:
        """Empty, or what is wrong."""
        self.detach("")
        try:
            self.links = [attach(p.fd, Path(cgroup), kind) for kind, p in self.programs.items()]
        except Exception as error:  # noqa: BLE001 - told to the one who asked
            return str(error)
        return ""

    def detach(self, _nothing: str) -> dict[str, Any]:
        """All packets since `attach`."""
        for link in self.links:
            os.close(link)
        self.links = []
        self.bpf.ring_buffer_consume()
        answer = {"packets": base64.b64encode(self.packets).decode(), "lost": self.bpf["lost"][0].value}
        self.packets.clear()
        return answer


def main() -> None:
    """The instrument's own process."""
    programs = _Programs()
    serve({"attach": programs.attach, "detach": programs.detach})


if __name__ == "__main__":
    main()
