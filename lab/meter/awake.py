"""Keeps the machine's cores awake while it is measured, and knows how much of them was idle all the same.

A virtual core that has nothing to do halts, and its hypervisor gives the processor to others. Waking it up again takes
tens of microseconds at best, is charged to whoever was woken, and differs from one moment to the next: on a small
virtual machine that is most of the noise. So a thread of the scheduler's idle class (SCHED_IDLE: anybody who wants the
core takes it at once) spins on every core, as the boot parameter idle=poll would make it.

The spinner adds up the time in which it really ran. What it did not get was used by somebody, softirqs included:
the busy time of the machine, exact where ticks only sample (the idea of Andrew Morton's cyclesoak).
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from pathlib import Path

from lab.compile import shared
from lab.meter.instrument import Instrument, serve
from lab.record import Failed

SOURCE = Path(__file__).with_name("awake.c")


class Awake:
    """A spinner on each core that this process may use, from entering to leaving; or nothing, if not `wanted`."""

    def __init__(self, wanted: bool = True) -> None:
        self.wanted = wanted
        self._instrument: Instrument | None = None

    def soaked_s(self) -> float:
        """Seconds that nobody else wanted, of all cores together, since it was entered; 0 while it does not run."""
        return float(self._instrument.ask("soaked")) if self._instrument else 0.0

    def __enter__(self) -> Awake:
        if self.wanted:
            self._instrument = Instrument("lab.meter.awake", str(shared(SOURCE)))
        return self

    def __exit__(self, *_: object) -> None:
        if self._instrument:
            self._instrument.stop()
            self._instrument = None


def virtual(cpuinfo: str) -> bool:
    """Is this a virtual machine, by the text of /proc/cpuinfo? There a halted core costs most."""
    return any("hypervisor" in line.split() for line in cpuinfo.splitlines() if line.startswith(("flags", "Features")))


def main(library: str) -> None:
    """The instrument's own side: one thread a core; answers `soaked` with seconds."""
    c = ctypes.CDLL(library)
    cores = sorted(os.sched_getaffinity(0))
    soaked = (ctypes.c_int64 * len(cores))()
    stop = ctypes.c_int32(0)

    def spin(place: int, core: int) -> None:
        here = ctypes.byref(soaked, place * ctypes.sizeof(ctypes.c_int64))
        if code := c.soak(core, here, ctypes.byref(stop)):
            raise Failed(f"core {core} cannot be kept awake: {os.strerror(code)}")

    threads = [threading.Thread(target=spin, args=pair, daemon=True) for pair in enumerate(cores)]
    for thread in threads:
        thread.start()
    serve({"soaked": lambda _: sum(soaked) / 1e9})
    stop.value = 1
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(sys.argv[1])
