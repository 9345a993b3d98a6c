"""Other load generators, run as they are and read by what they say of themselves. Only the bench uses them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lab.record import Failed

UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6}


@dataclass(frozen=True)
class Offer:
    """What every generator of one bench is asked to do."""

    port: int
    path: str
    rate_per_s: float
    connections: int
    duration_s: float

    @property
    def url(self) -> str:
        """The same target as a URL."""
        return f"http://127.0.0.1:{self.port}{self.path}"


Numbers = dict[str, float]
"""Measures of one run: `rate_per_s`, and times in µs. A generator that cannot tell one leaves it out."""


def installed() -> tuple[str, ...]:
    """Those of the rivals that this machine has."""
    return tuple(name for name in RIVALS if shutil.which(name.split()[0]))


def h2load(offer: Offer) -> Numbers:
    """`h2load --rps`: a rate for each connection, kept by a timer of 10 ms; times are from the send, from its log."""
    each, count = offer.rate_per_s / offer.connections, round(offer.rate_per_s * offer.duration_s)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        _, cpu = _run(
            *("h2load", "--h1", "-t1", f"-c{offer.connections}", f"-n{count}", f"--rps={each:g}"),
            *(f"--log-file={log}", offer.url),
        )
        start, status, length = np.loadtxt(log, np.int64, ndmin=2).T
    if np.any(status != 200):
        raise Failed(f"h2load had {(status != 200).sum()} requests of {count} that were not answered with 200")
    span = (start.max() - start.min()) / 1e6
    return {
        "rate_per_s": (len(start) - 1) / span,
        **per_request(cpu, len(start)),
        **quantiles("from_send", length.astype(np.float64)),
        "bursts": bursts(start * 1000),
    }


def wrk(offer: Offer) -> Numbers:
    """`wrk`: a closed loop, each connection as fast as it is answered; its own latency table, from the send."""
    said, cpu = _run("wrk", "-t1", f"-c{offer.connections}", f"-d{round(offer.duration_s)}s", "--latency", offer.url)
    done = re.search(r"(\d+) requests in ([\d.]+)(m?s)", said)
    table = {p: float(v) * UNITS[u] for p, v, u in re.findall(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)$", said, re.MULTILINE)}
    if not done or len(table) != 2 or "Socket errors" in said:
        raise Failed(f"wrk had errors or said something new: {said.strip().splitlines()[-1:]}")
    seconds = float(done[2]) * UNITS[done[3]] / 1e6
    return {
        "rate_per_s": int(done[1]) / seconds,
        **per_request(cpu, int(done[1])),
        "from_send_p50_us": table["50"],
        "from_send_p99_us": table["99"],
    }


RIVALS = {"h2load --rps": h2load, "wrk": wrk}


def per_request(cpu_s: tuple[float, float], count: int) -> Numbers:
    """User and system CPU, µs a request."""
    user, system = (s / count * 1e6 for s in cpu_s)
    return {"user_us": user, "system_us": system}


def quantiles(name: str, times_us: npt.NDArray[np.float64]) -> Numbers:
    """The median and the p99."""
    return {f"{name}_p{q}_us": float(np.percentile(times_us, q)) for q in (50, 99)}


def bursts(sent_ns: npt.NDArray[np.int64], close_ns: int = 20_000) -> float:
    """The share (0..1) of requests sent within 20 µs of the one before.

    At 10,000/s an even schedule has none and a Poisson one 1 - exp(-0.2) = 0.18.
    """
    return float(np.mean(np.diff(np.sort(sent_ns)) < close_ns))


def _run(*argv: str) -> tuple[str, tuple[float, float]]:
    """Its standard output, and the user and system CPU it took (seconds)."""
    with tempfile.TemporaryFile("w+") as out:
        child = subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        said = out.read()
    if child.returncode:
        raise Failed(f"{argv[0]} ended with {child.returncode}: {said.strip().splitlines()[-1:]}")
    return said, (usage.ru_utime, usage.ru_stime)
