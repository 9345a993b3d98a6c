"""What of a run is to be exported."""

from __future__ import annotations

from dataclasses import dataclass

from lab.record import Mistake

TIMES = ("response", "service", "both")
UNITS_NS = {"ns": 1, "us": 1000}
ONLY_FOR = {"times": ("hlog", "fortio"), "unit": ("hlog",), "frame": ("csv",)}


@dataclass(frozen=True)
class Asked:
    """Empty: all of them. `times`: from schedule (response), from the send (service), or both."""

    scenario: str = ""
    block: str = ""
    arm: str = ""
    times: str = ""
    unit: str = ""
    frame: str = ""

    def suits(self, format: str) -> None:
        """`Mistake` where an option means nothing to the format, or has a value that it cannot have."""
        for name, formats in ONLY_FOR.items():
            if getattr(self, name) and format not in formats:
                raise Mistake(f"--{name} is nothing to --format {format}; it is for {', '.join(formats)}: leave it out")
        if self.times and self.times not in TIMES:
            raise Mistake(f"--times {self.times!r} is unknown; allowed: {', '.join(TIMES)}")
        if self.times == "both" and format != "hlog":
            raise Mistake("--times both is for hlog, where tags tell them apart; choose response or service")
        if self.unit and self.unit not in UNITS_NS:
            raise Mistake(f"--unit {self.unit!r} is unknown; allowed: {', '.join(UNITS_NS)}")
