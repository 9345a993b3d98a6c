"""A calibration with round numbers, for tests of the simulator."""

from __future__ import annotations

from lab.sim.calibration import Calibration, Quantity, Table

BYTES = {
    "proxy.private": 16e6,
    "proxy.shared": 45e6,
    "proxy.cluster": 40e3,
    "proxy.endpoint": 250.0,
    "proxy.route": 1e3,
    "proxy.listener": 50e3,
    "proxy.worker": 500e3,
    "proxy.worker_cluster": 2e3,
    "proxy.connection": 20e3,
    "agent.private": 10e6,
    "bpf.base": 3e6,
    "bpf.endpoint": 100.0,
    "bpf.connection": 1_700.0,
    "socket.idle": 2e3,
}


def quantity(value: float, spread: float = 0.1) -> Quantity:
    """With three draws: the value and `spread` of it below and above."""
    return Quantity(value, "bytes", (value * (1 - spread), value, value * (1 + spread)), "run-a")


def calibration(spread: float = 0.1) -> Calibration:
    """Memory by `BYTES`, and one table of 1 to 3 ms."""
    table = Table(((0.001, 0.002, 0.003), (0.001, 0.002, 0.004)), "run-a")
    quantities = {name: quantity(value, spread) for name, value in BYTES.items()}
    return Calibration({"class": "x86_64 test", "cores": "2"}, ("run-a",), quantities, {"none": table})
