"""What an engine did, request by request."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lab.record import OUTCOMES, Outcome

REQUEST = np.dtype(
    [
        ("window", "<i4"),
        ("scheduled_ns", "<i8"),
        ("sent_ns", "<i8"),
        ("first_byte_ns", "<i8"),
        ("done_ns", "<i8"),
        ("connection", "<i4"),
        ("status", "<i2"),
        ("outcome", "i1"),
    ]
)
"""One request. Times are ns after the block's epoch, -1 = never; `connection` -1 = none; `status` 0 = none."""


@dataclass(frozen=True)
class EngineReport:
    """What an engine did. `requests` has one row of REQUEST per request of the schedule, in its order.

    `on_wire` counts the requests of which at least one byte was sent, `warmups` of them (one per connection, before the
    schedule) included: an observer on the path must have seen as many. `connects` are connections that were
    established, `reconnects` the times one had to be opened again. CPU is that of following the schedule alone.
    """

    requests: npt.NDArray[np.void]
    warmups: int
    on_wire: int
    connects: int
    reconnects: int
    bytes_sent: int
    bytes_received: int
    cpu_user_s: float
    cpu_system_s: float

    def counts(self) -> dict[str, int | float]:
        """Everything but the requests, ready for JSON."""
        return {name: value for name, value in vars(self).items() if name != "requests"}

    def outcomes(self) -> dict[Outcome, int]:
        """How many requests ended in each way; they sum to the length of the schedule."""
        found = np.bincount(self.requests["outcome"], minlength=len(OUTCOMES))
        return {outcome: int(found[i]) for i, outcome in enumerate(OUTCOMES)}

    def lag_s(self, *quantiles: float) -> tuple[float, ...]:
        """Quantiles (0..1) of sent - scheduled over the requests that were sent; NaN when none was."""
        sent = self.requests[self.requests["sent_ns"] >= 0]
        lag = (sent["sent_ns"] - sent["scheduled_ns"]) / 1e9
        return tuple(float(np.quantile(lag, q)) if len(lag) else float("nan") for q in quantiles)
