"""One update of a proxy's table by its control plane: bytes on the wire, CPU of the proxy, time until it answers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from lab import subject
from lab.cluster import Cluster, Layout, PodSpec, Process
from lab.question import Case
from lab.record import Failed
from lab.study.kinds import table as one
from lab.study.weight import cpu_s, weigh
from lab.subject import Table

PATIENCE_S = 30.0
QUIET_S = 0.3  # workers take what the main thread has accepted a moment later


def observe(cluster: Cluster, case: Case) -> Iterator[tuple[str, float]]:
    """Means over `times` pushes of `resources` resources of the kind `update`; memory after all of them."""
    proxy, table = subject.find(case.subject), Table.of(case.parameters)
    kind, count, times = str(case.parameters["update"]), case.number("resources"), case.number("times")
    cluster.deploy(Layout((PodSpec(one.POD, 0, one.ARM, "server"),), ()))
    *controls, process = one.started(cluster, proxy, table)
    if not controls:
        raise Failed("there is no control plane; ask for delivery dynamic")
    time.sleep(1.0)
    before_s, idle_s = cpu_s(process), _idle(process)
    begun = time.monotonic()
    pushes = [_push(controls[0], kind, count) for _ in range(times)]
    spent_s = cpu_s(process) - before_s - idle_s * (time.monotonic() - begun)
    yield "update_bytes", sum(answer["bytes"] for push in pushes for answer in push) / times
    yield "applied_s", sum(max(answer["applied_s"] for answer in push) for push in pushes) / times
    yield "update_cpu_s", max(spent_s, 0.0) / times
    yield from weigh([process])


def facts(case: Case) -> Mapping[str, str]:
    """The proxy's version."""
    return one.facts(case)


def _idle(process: Process) -> float:
    """CPU seconds per second that it uses for itself."""
    before, begun = cpu_s(process), time.monotonic()
    time.sleep(1.0)
    return (cpu_s(process) - before) / (time.monotonic() - begun)


def _push(control: Process, kind: str, count: int) -> list[dict[str, Any]]:
    """Ask for one push; what the proxy answered to it (clusters bring their endpoints with them)."""
    already = len(_answers(control))
    control.tell(f"push {kind} {count}")
    deadline = time.monotonic() + PATIENCE_S
    expected = 2 if kind == "clusters" else 1
    while len(answers := _answers(control)[already:]) < expected:
        if time.monotonic() > deadline:
            raise Failed(f"the proxy has not answered a push of {kind} after {PATIENCE_S:g} s")
        time.sleep(0.02)
    time.sleep(QUIET_S)
    if refused := [answer["refused"] for answer in answers if answer["refused"]]:
        raise Failed(f"the proxy refused a push of {kind}: {refused[0]}")
    return answers


def _answers(control: Process) -> list[dict[str, Any]]:
    lines = control.read("stdout").decode().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]
