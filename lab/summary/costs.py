"""What each arm costs: processor time per request, memory, sockets; and the proofs beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from scipy import stats as scipy_stats

from lab.record import BlockKind, Reading
from lab.summary.pieces import Piece, by_arm, grouped, of_kind
from lab.summary.results import Accounting, Cost, Estimate, Memory, Sockets

PARTS = ("app", "datapath", "load")
SIZES = ("pss_bytes", "private_bytes", "rss_bytes")


def costs(found: Sequence[Piece]) -> Iterator[Cost]:
    """Seconds of processor time per answered request, of arms that carried the load of a COST block.

    `bpf` is the run time of BPF programs by the kernel's count; it is part of the others' seconds, so `total` is the
    sum of app, datapath, load and kernel. `kernel` is what the host spent on nobody's account.
    """
    carried = (
        p for p in of_kind(found, BlockKind.COST) if not p.overloaded and p.answered and p.values("cpu", "cpu_s")
    )
    for group in grouped(carried, by_arm).values():
        each = [spent(p) for p in group]
        per_request = {key: estimate([e[key] for e in each]) for key in each[0] if all(key in e for e in each)}
        first = group[0]
        yield Cost(
            scenario=first.run.scenario,
            load=first.block.name,
            rate_per_s=first.block.load.rate_per_s,
            arm=first.run.arm,
            requests=sum(p.answered for p in group),
            per_request_s=per_request,
        )


def spent(p: Piece) -> dict[str, float]:
    """Seconds per request of one deployment, by part and kind."""
    seconds = {
        f"{part}.{kind}": sum(p.values("cpu", f"cpu_{kind}_s", part=part))
        for part in PARTS
        for kind in ("user", "system")
    }
    seconds["kernel"] = sum(p.values("cpu", "cpu_s", part="kernel"))
    seconds["total"] = sum(seconds.values())
    bpf = p.values("programs", "bpf_run_s")
    if bpf:
        seconds["bpf"] = sum(bpf)
    return {key: value / p.answered for key, value in seconds.items()}


def memories(found: Sequence[Piece]) -> Iterator[Memory]:
    """Bytes held by each part of each arm at the end of a window; mean over deployments."""
    measured = (p for p in of_kind(found, BlockKind.COST, BlockKind.HOLD) if p.values("memory", "pss_bytes"))
    for group in grouped(measured, by_arm).values():
        for part in PARTS:
            each = [held(p, part) for p in group if p.values("memory", "pss_bytes", part=part)]
            if each:
                first = group[0]
                means = [float(np.mean(column)) for column in zip(*each, strict=True)]
                yield Memory(
                    scenario=first.run.scenario,
                    load=first.block.name,
                    arm=first.run.arm,
                    part=part,
                    processes=round(means[0]),
                    pss_bytes=means[1],
                    private_bytes=means[2],
                    rss_bytes=means[3],
                    bpf_bytes=means[4],
                    places=max(_places(p, part) for p in group),
                )


def held(p: Piece, part: str) -> tuple[float, ...]:
    """Processes, PSS, private, RSS, BPF of one part in one deployment, summed over processes, mean over windows."""
    bpf = sum(p.values("memory", "bpf_map_bytes", part=part)) + sum(p.values("memory", "bpf_program_bytes", part=part))
    sizes = [sum(p.values("memory", size, part=part)) for size in SIZES]
    readings = len(p.values("memory", "pss_bytes", part=part))
    return tuple(x / p.windows for x in (readings, *sizes, bpf))


def _places(p: Piece, part: str) -> int:
    """How many pods or nodes the processes of a part are in; subjects are `place/process`."""
    return len({r.subject.partition("/")[0] for r in p.readings if (r.meter, r.part) == ("memory", part)})


SOCKET_MEMORY = ("socket_structure_bytes", "socket_memory_bytes")  # an idle socket's buffers are empty


def sockets(found: Sequence[Piece]) -> Iterator[Sockets]:
    """Connections counted on each arm's path while they were held, against the arm's formula; mean over deployments."""
    measured = (p for p in of_kind(found, BlockKind.HOLD) if p.values("connections", "connections", subject="path"))
    for group in grouped(measured, by_arm).values():
        first, held = group[0], group[0].block.load.connections
        counted = [x for p in group for x in p.values("connections", "connections", subject="path")]
        traced = [x / held for p in group for x in p.values("openings", "opened", subject="path")]
        memory = [sum(sum(p.values("connections", m)) for m in SOCKET_MEMORY) / p.windows / held for p in group]
        yield Sockets(
            scenario=first.run.scenario,
            load=first.block.name,
            arm=first.run.arm,
            datapath=first.run.datapath,
            connections=held,
            hops=_hops(group),
            observed_per_connection=float(np.mean(counted)) / held,
            expected_per_connection=round(first.values("datapath", "connections_per_connection")[0]),
            memory_bytes_per_connection=float(np.mean(memory)),
            traced_per_connection=float(np.mean(traced)) if traced else None,
        )


def _hops(group: Sequence[Piece]) -> dict[str, float]:
    readings = [r for p in group for r in p.readings if (r.meter, r.metric) == ("connections", "sockets")]
    places = sorted({r.subject for r in readings if r.subject != "path"})
    windows = sum(p.windows for p in group)
    return {place: sum(r.value for r in readings if r.subject == place) / windows for place in places}


def accounting(found: Sequence[Piece]) -> Iterator[Accounting]:
    """What each observer counted against what the engine put on the wire, over every block of every deployment."""
    for (scenario, arm), group in grouped(found, lambda p: (p.run.scenario, p.run.arm)).items():
        observers = sorted({r.subject for p in group for r in p.readings if r.metric == "seen_requests"})
        for observer in observers:
            watched = [p for p in group if p.values("datapath", "seen_requests", subject=observer)]
            yield Accounting(
                scenario=scenario,
                arm=arm,
                observer=observer,
                sent=round(sum(x for p in watched for x in p.values("engine", "on_wire_requests"))),
                seen=_count(watched, "seen_requests", observer),
                not_understood=_count(watched, "not_understood_requests", observer),
            )


def _count(watched: Iterable[Piece], metric: str, observer: str) -> int:
    return round(sum(x for p in watched for x in p.values("datapath", metric, subject=observer)))


def referee(found: Sequence[Piece]) -> dict[str, float]:
    """The kernel's clock beside the engine's, mean over deployments: `arm.rate.metric` -> value."""
    readings: dict[str, list[Reading]] = {}
    for p in of_kind(found, BlockKind.REFEREE):
        for r in p.readings:
            if r.meter == "wire":
                readings.setdefault(f"{p.run.arm}.{p.block.load.rate_per_s:g}.{r.metric}", []).append(r)
    return {key: float(np.mean([r.value for r in seen])) for key, seen in readings.items()}


def estimate(values: Sequence[float]) -> Estimate:
    """Mean over deployments with its 95 % interval by Student's t; below three deployments all that was seen."""
    mean = float(np.mean(values))
    if len(values) < 3:
        return Estimate(mean, min(values), max(values))
    half = float(np.std(values, ddof=1)) / math.sqrt(len(values)) * float(scipy_stats.t.ppf(0.975, len(values) - 1))
    return Estimate(mean, mean - half, mean + half)
