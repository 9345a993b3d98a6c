"""Which measured coefficients the simulator's quantities are: the one place where both vocabularies meet.

A quantity is the sum of (name in a calibration, factor). Several ways are tried in order; the first that is measured in
whole is taken. The bench has two nodes, so what its agents hold is halved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lab.sim.calibration import Calibration, Quantity

Way = tuple[tuple[str, float], ...]


def _same(name: str) -> tuple[Way, ...]:
    return (((name, 1.0),),)


SOURCES: Mapping[str, tuple[Way, ...]] = {
    "proxy.private": _same("crowd_pss.proxy"),
    "proxy.shared": _same("crowd_pss.shared"),
    **{
        f"proxy.{term}": _same(f"envoy_dynamic_dirty.{term}")
        for term in ("cluster", "endpoint", "route", "listener", "worker", "worker_cluster")
    },
    "proxy.connection": _same("envoy_used.connection"),
    "agent.private": _same("ebpf_dirty.base"),
    "bpf.base": ((("ebpf_bpf_map.base", 1.0), ("ebpf_bpf_program.base", 1.0)),),
    "bpf.endpoint": (
        (("ebpf_bpf_map.endpoint", 1.0), ("ebpf_dirty.endpoint", 1.0)),
        (("ebpf_dirty.endpoint", 1.0),),
    ),
    "bpf.connection": (
        (("ebpf_socket_storage.connection", 1.0), ("ebpf_bpf_map.connection", 1.0)),
        (("ebpf_socket_storage.connection", 1.0),),
    ),
    "socket.idle": _same("socket_idle.socket"),
}


def adopt(calibration: Calibration) -> Calibration:
    """The calibration with the simulator's quantities added; those that it has already stay as they are.

    What was not measured stays absent: whoever asks for it gets a Mistake that names what there is.
    """
    found: dict[str, Quantity] = {}
    for name, ways in SOURCES.items():
        whole = next((way for way in ways if all(part in calibration.quantities for part, _ in way)), None)
        if whole is not None:
            found[name] = _sum(calibration, whole)
    return replace(calibration, quantities={**found, **calibration.quantities})


def _sum(calibration: Calibration, way: Way) -> Quantity:
    """Values and draws added; draws of one run belong together by position. Below zero is no size: cut there."""
    parts = [calibration.quantity(name) for name, _ in way]
    factors = np.array([factor for _, factor in way])
    number = max(len(q.draws) for q in parts)
    columns = [np.resize(q.draws or (q.value,), number) for q in parts]
    draws = np.maximum(np.stack(columns, axis=1) @ factors, 0.0) if number else np.zeros(0)
    value = max(0.0, float(np.array([q.value for q in parts]) @ factors))
    return Quantity(value, parts[0].unit, tuple(map(float, draws)), ", ".join(dict.fromkeys(q.source for q in parts)))
