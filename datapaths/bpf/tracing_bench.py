"""What tracing costs: `python -m datapaths.bpf.tracing_bench [--rounds 5] [--seconds 5]`, one JSON object on stdout.

For tracing off, 1 in 100 and every request, interleaved: CPU time of the BPF programs per request (the kernel's own
run_time_ns), and CPU of agent and exporter together in percent of a core, at `--rate` requests a second. Every request
brings no context, so that sampling is by chance; the medians are of the rounds. It needs root, nginx and h2load.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from datapaths.bpf import target
from datapaths.bpf.calls import library
from datapaths.bpf.http import HttpWatch
from datapaths.bpf.sampling import Sampling
from datapaths.bpf.tracing import PAUSE_S, Tracer
from datapaths.ebpf import identities
from lab.cluster import Layout, Part, PodSpec, ProcessSpec, ServiceSpec
from lab.cluster.local import LocalCluster
from lab.record import Failed

MODES: dict[str, Sampling | None] = {"off": None, "1 in 100": Sampling(100), "every": Sampling(1)}
_ARM, _CLIENTS = "bench", 20
_CLIENT, _SERVER = f"{_ARM}-client", f"{_ARM}-server"


def main() -> int:
    """Measure and print."""
    asked = _parser().parse_args()
    rounds: dict[str, list[dict[str, float]]] = {mode: [] for mode in MODES}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.callback(os.close, statistics_on())
        cluster = stack.enter_context(LocalCluster(f"trace-{os.getpid()}", state=folder))
        _deploy(cluster)
        for number in range(asked.rounds):
            for mode, sample in MODES.items():
                rounds[mode].append(_round(cluster, sample, folder / f"{number}-{mode}", asked.rate, asked.seconds))
    medians = {mode: {k: statistics.median(r[k] for r in found) for k in found[0]} for mode, found in rounds.items()}
    print(json.dumps({"rate": asked.rate, "seconds": asked.seconds, "median": medians, "rounds": rounds}, indent=1))
    return 0


def _round(cluster: LocalCluster, sample: Sampling | None, file: Path, rate: int, seconds: float) -> dict[str, float]:
    folder = cluster.mesh.pod(_SERVER).cgroup
    if folder is None:
        raise Failed("the local cluster did not tell the server's cgroup")
    with HttpWatch([folder], identities(cluster.mesh), patterns=("/**",), sample=sample) as watch:
        told = {"otlp": f"file:{file}"}
        tracer = Tracer(watch, told, "node1") if sample else None
        try:
            return _loaded(cluster, watch, tracer, rate, seconds)
        finally:
            if tracer:
                tracer.close()


def _loaded(
    cluster: LocalCluster, watch: HttpWatch, tracer: Tracer | None, rate: int, seconds: float
) -> dict[str, float]:
    time.sleep(1.0)  # the exporter's imports are no part of it
    before = _cpu_s(tracer), _run_ns(watch)
    start = time.monotonic()
    url = f"http://{cluster.mesh.service(_SERVER).address}:{target.PORT}/"
    argv = ("h2load", "--h1", "-c", str(_CLIENTS), f"--rps={rate // _CLIENTS}", "-D", str(round(seconds)), url)
    load = cluster.run(_CLIENT, _ARM, ProcessSpec("h2load", argv, Part.LOAD))
    while time.monotonic() - start < seconds + 1:
        if tracer:
            tracer.tend()
        time.sleep(PAUSE_S)
    if code := load.wait(10):
        raise Failed(load.story(f"ended with exit code {code}"))
    took, after = time.monotonic() - start, (_cpu_s(tracer), _run_ns(watch))
    totals = watch.totals() | (tracer.totals() if tracer else {})
    return {
        "requests": totals["answered"],
        "bpf_ns_a_request": (after[1] - before[1]) / max(totals["answered"], 1),
        "agent_and_exporter_core_percent": 100 * (after[0] - before[0]) / took,
        "spans_sampled": totals.get("spans_sampled", 0),
        "spans_dropped": totals.get("spans_dropped", 0),
    }


def _deploy(cluster: LocalCluster) -> None:
    nginx = target.nginx("location / { return 200 hello; }")
    pods = (PodSpec(_CLIENT, 0, _ARM, "client"), PodSpec(_SERVER, 1, _ARM, "server", (nginx,)))
    cluster.deploy(Layout(pods, (ServiceSpec(_SERVER, _ARM, target.PORT, (_SERVER,)),)))


def statistics_on() -> int:
    """Have the kernel measure programs for as long as the returned descriptor is open."""
    fd = int(library().bpf_enable_stats(ctypes.c_int(0)))
    if fd < 0:
        raise Failed("the kernel does not measure BPF programs (BPF_ENABLE_STATS); it needs CAP_SYS_ADMIN")
    return fd


def _run_ns(watch: HttpWatch) -> int:
    return sum(map(run_ns, watch.object.programs().values()))


def run_ns(program: int) -> int:
    """What the kernel has measured of a program, by its file descriptor."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/self/fdinfo/{program}").read_text().splitlines())
    return int(fields["run_time_ns"])


def _cpu_s(tracer: Tracer | None) -> float:
    """Of this process, which does an agent's work here, and of the exporter."""
    ticks = Path(f"/proc/{tracer.exporter}/stat").read_text().rsplit(")", 1)[1].split()[11:13] if tracer else ()
    return time.process_time() + sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m datapaths.bpf.tracing_bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of load in each")
    parser.add_argument("--rate", type=int, default=10_000, help="requests a second")
    return parser


if __name__ == "__main__":
    sys.exit(main())
