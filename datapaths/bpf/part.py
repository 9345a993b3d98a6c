"""What an agent hosts."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from datapaths.bpf.openmetrics import Family
from lab.record import Mistake

Told = Mapping[str, Any]
"""The mesh file: `node`, `cgroups`, `identities`, `local`, `services`, `routes`, `policy`, `tracing`; absent: empty.

A cgroup in it is a folder, or what `datapaths.bpf.places` makes one of; a part is told of folders alone.
"""


class Part(Protocol):
    """Programs with one purpose, attached to the node's pods from its making until `close`.

    A part may also have `update(told)`, to follow a changed mesh without dropping anything, and `tend()` with
    `pause_s`, to be called at least that often.
    """

    def totals(self) -> dict[str, int]:
        """Monotonic counters by name."""

    def families(self) -> Iterable[Family]:
        """What /metrics shows of it."""

    def close(self) -> None:
        """Detach, or with pins let go. Idempotent."""


PARTS: Mapping[str, str] = {  # name: "module:callable(told, pins)"; imported only where it is asked for
    "http": "datapaths.bpf.visibility:Visibility",
    "balance": "datapaths.bpf.balance:Balance",
    "policy": "datapaths.bpf.policy:Policy",
    "tracing": "datapaths.bpf.tracing:Tracing",
    "fastpath": "datapaths.bpf.fastpath:Fastpath",
    "redirect": "datapaths.bpf.redirect:part",
}


def find(name: str) -> Callable[[Told, Path | None], Part]:
    """What makes a part. `Mistake` for a name that is none."""
    if name not in PARTS:
        raise Mistake(f"no part {name!r}; there are {', '.join(PARTS)}")
    module, _, attribute = PARTS[name].partition(":")
    found: Callable[[Told, Path | None], Part] = getattr(importlib.import_module(module), attribute)
    return found
