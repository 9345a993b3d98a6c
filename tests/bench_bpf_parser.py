"""What visibility costs a request, beside the same programs as they were: `python tests/bench_bpf_parser.py`.

`[--against REVISION] [--blocks 12] [--rounds 12] [--rate 10000] [--connections 32]`. This tree's programs and those
of a revision of it are attached to pods of their own, which are asked in turn for a tenth of a second each, in a new
random order each round. The kernel counts each program's run time; a block's time a request of one set is held against
the other's of the same block. One JSON object on stdout: nanoseconds a request by program, and ratios; median, least
and most of the blocks. It needs root, git and nginx.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from datapaths.bpf import http, target
from datapaths.bpf.libbpf import Object
from datapaths.bpf.tracing_bench import run_ns, statistics_on
from lab import compile
from lab.cluster import Layout, PodSpec, ServiceSpec
from lab.cluster.local import LocalCluster
from lab.load import steady
from lab.record import Block, BlockKind, Load, Window

NOW, THEN = "now", "then"
SLICE_S, GAP_S = 0.1, 0.03
Found = dict[str, float]


def main() -> int:
    """Measure and print."""
    asked = _parser().parse_args()
    blocks: list[dict[str, Found]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.callback(os.close, statistics_on())
        sources = {NOW: http.SOURCE} | ({THEN: checked_out(asked.against, folder)} if asked.against else {})
        cluster = stack.enter_context(LocalCluster(f"parser-{os.getpid()}", state=folder))
        cluster.deploy(layout(sources))
        loaded = {arm: stack.enter_context(attached(cluster, arm, source)) for arm, source in sources.items()}
        for seed in range(asked.blocks):
            load = Load(asked.rate, asked.connections)
            blocks.append(measured(cluster, loaded, load, asked.rounds, seed))
    told: dict[str, object] = {arm: spread(block[arm] for block in blocks) for arm in sources}
    if asked.against:
        told["ratio"] = spread({"ns_a_request": b[NOW]["ns_a_request"] / b[THEN]["ns_a_request"]} for b in blocks)
    print(json.dumps({**vars(asked), **told}, indent=1))
    return 0


def checked_out(revision: str, folder: Path) -> Path:
    """The source of the programs as it was."""
    where = str(http.SOURCE.parent.relative_to(compile.ROOT))
    archive = subprocess.run(
        ["git", "archive", revision, where], cwd=compile.ROOT, stdout=subprocess.PIPE, check=True
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    return folder / where / http.SOURCE.name


def layout(arms: Iterable[str]) -> Layout:
    """A client and a server on two nodes for each."""
    nginx = target.nginx('location / { return 200 "hello"; }')
    pods = [PodSpec(f"{arm}-client", 0, arm, "client") for arm in arms]
    pods += [PodSpec(f"{arm}-server", 1, arm, "server", (nginx,)) for arm in arms]
    services = (ServiceSpec(f"{arm}-server", arm, target.PORT, (f"{arm}-server",)) for arm in arms)
    return Layout(tuple(pods), tuple(services))


def attached(cluster: LocalCluster, arm: str, source: Path) -> Object:
    """To both pods, as the nodes' agents do it; as it comes, but for that: nobody is known, paths are kept raw."""
    made = Object(compile.bpf(source, *http.FLAGS))
    made.load()
    made.cover([Path(str(pod.cgroup)) for pod in cluster.mesh.pods if pod.arm == arm], http.PROGRAMS)
    return made


def measured(
    cluster: LocalCluster, loaded: Mapping[str, Object], load: Load, rounds: int, seed: int
) -> dict[str, Found]:
    """One block of slices: nanoseconds a request, of all programs together and of each."""
    block = in_turn(tuple(loaded), load, rounds, seed)
    engines = {
        arm: cluster.run(
            f"{arm}-client",
            arm,
            steady.process("engine", cluster.mesh.service(f"{arm}-server").address, target.PORT, block, arm, seed),
        )
        for arm in loaded
    }
    before = {arm: counted(one) for arm, one in loaded.items()}
    epoch = time.monotonic_ns() + 100_000_000
    for engine in engines.values():
        steady.start(engine, epoch)
    time.sleep(block.duration_s + 0.2)
    after = {arm: counted(one) for arm, one in loaded.items()}
    for engine in engines.values():
        steady.collect(engine, 20)
    return {arm: a_request(before[arm], after[arm]) for arm in loaded}


def in_turn(arms: tuple[str, ...], load: Load, rounds: int, seed: int) -> Block:
    """Each arm once a round, in random order."""
    dice, windows = random.Random(seed), list[Window]()
    for number in range(rounds):
        for arm in dice.sample(arms, len(arms)):
            windows.append(Window(len(windows), number, arm, len(windows) * (SLICE_S + GAP_S), SLICE_S))
    return Block("parser", BlockKind.SLICES, load, tuple(windows), guard_s=GAP_S)


def counted(one: Object) -> Found:
    """Run time of each program, ns, and answers, so far."""
    found: Found = {name: run_ns(fd) for name, fd in one.programs().items()}
    return found | {"requests": one.map("totals").counters(http.TOTALS)["answered"]}


def a_request(before: Found, after: Found) -> Found:
    """What each program and all of them took for one."""
    requests = after["requests"] - before["requests"]
    each = {name: (after[name] - before[name]) / requests for name in after if name != "requests"}
    return each | {"ns_a_request": sum(each.values()), "requests": requests}


def spread(found: Iterable[Found]) -> dict[str, Found]:
    """Median, least and most of each number."""
    rows = list(found)
    return {
        name: {"median": statistics.median(values), "least": min(values), "most": max(values)}
        for name, values in ((name, [row[name] for row in rows]) for name in rows[0])
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--against", metavar="REVISION", help="of git: measure the programs of then beside these")
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=12, help="in each block; every set of programs once in each")
    parser.add_argument("--rate", type=float, default=10_000.0, help="requests a second")
    parser.add_argument("--connections", type=int, default=32)
    return parser


if __name__ == "__main__":
    sys.exit(main())
