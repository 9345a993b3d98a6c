"""How well the engine keeps time and what it costs, with other generators beside it: `python -m lab.load.bench`.

One nginx on the loopback of a network namespace of its own; every generator in turn, in a new random order each
repetition, so that what the machine does meanwhile falls on all of them alike.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lab.compile import cache
from lab.load.engine import Target, offer
from lab.load.rivals import RIVALS, Numbers, Offer, bursts, installed, per_request, quantiles
from lab.load.schedule import offsets
from lab.load.table import promises, table
from lab.record import Arrivals, CannotRun, Failed, LabError, Mistake, Outcome, Window

PORT = 8080
NAMESPACE = "LAB_LOAD_BENCH_NAMESPACE"  # set inside the namespace: the inode of the one outside

CONFIGURATION = """\
daemon off; master_process off; worker_processes 1; pid {dir}/nginx.pid; error_log stderr warn;
events { worker_connections 16384; multi_accept on; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1d; tcp_nodelay on;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  server { listen 127.0.0.1:{port} backlog=4096; location / { return 200 "{body}"; } }
}
"""


def steady(arrivals: Arrivals, spin: bool) -> Callable[[Offer, int], Numbers]:
    """This lab's engine, in this process."""

    def run(asked: Offer, seed: int) -> Numbers:
        scheduled, window = offsets([Window(0, 0, "a", 0.0, asked.duration_s)], asked.rate_per_s, arrivals, seed)
        target = Target("127.0.0.1", asked.port, asked.path, asked.connections, 2.0, spin)
        report = offer(target, scheduled, window)
        rows = report.requests
        if report.outcomes()[Outcome.OK] != len(rows):
            raise Failed(f"the engine had requests that were not answered: {report.outcomes()}")
        return {
            "rate_per_s": (len(rows) - 1) / (np.ptp(rows["sent_ns"]) / 1e9),
            **per_request((report.cpu_user_s, report.cpu_system_s), len(rows)),
            **quantiles("lag", (rows["sent_ns"] - rows["scheduled_ns"]) / 1e3),
            **quantiles("from_schedule", (rows["done_ns"] - rows["scheduled_ns"]) / 1e3),
            **quantiles("from_send", (rows["done_ns"] - rows["sent_ns"]) / 1e3),
            "bursts": bursts(rows["sent_ns"]),
        }

    return run


OURS = {
    "steady, sleeping": steady(Arrivals.POISSON, spin=False),
    "steady, sleeping, uniform": steady(Arrivals.UNIFORM, spin=False),
    "steady, spinning": steady(Arrivals.POISSON, spin=True),
}


def measure(asked: Offer, repetitions: int, seed: int) -> dict[str, Any]:
    """Everything the bench knows, ready for JSON; `runs` holds each generator's numbers in the order they were made."""
    order = random.Random(seed)  # noqa: S311 - an order of trials, not a secret
    names = [*OURS, *installed()]
    before, runs = _ticks(), []
    with nginx(asked.port):
        for repetition in range(repetitions):
            for name in order.sample(names, len(names)):
                numbers = OURS[name](asked, seed + repetition) if name in OURS else RIVALS[name](asked)
                runs.append({"generator": name, "repetition": repetition, **numbers})
    spent = np.subtract(_ticks(), before)
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine() | {"steal_share": round(float(spent[7] / spent[:8].sum()), 4)},
        "asked": asdict(asked) | {"repetitions": repetitions, "seed": seed},
        "missing": [name for name in RIVALS if name not in names],
        "runs": runs,
    }


def machine() -> dict[str, Any]:
    """What kind of machine this is, and how busy it was when asked."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), os.uname().machine
    )
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "virtual": any(" hypervisor" in line for line in lines),
        "kernel": os.uname().release,
        "load_average": os.getloadavg()[0],
    }


@contextmanager
def nginx(port: int) -> Iterator[None]:
    """A server with one worker on 127.0.0.1:`port`; gone afterwards, or when this process is."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise CannotRun("nginx is missing; install it with: apt-get install nginx")
    with tempfile.TemporaryDirectory() as folder:
        text = CONFIGURATION.replace("{dir}", folder).replace("{port}", str(port)).replace("{body}", "x" * 128)
        Path(folder, "nginx.conf").write_text(text)
        argv = (program, "-e", "stderr", "-p", folder, "-c", f"{folder}/nginx.conf")
        child = subprocess.Popen(("setpriv", "--pdeathsig=KILL", *argv))
        try:
            _await(port, child)
            yield
        finally:
            child.terminate()
            child.wait()


def _await(port: int, child: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        if child.poll() is None:
            try:
                offer(Target("127.0.0.1", port, "/", 1, 1.0), np.empty(0, np.int64))
            except Failed:
                time.sleep(0.05)
            else:
                return
    raise Failed(f"nginx did not answer on port {port}; see its lines above")


def _ticks() -> list[int]:
    """The machine's CPU time by kind (proc(5), /proc/stat): the eighth is stolen by the hypervisor."""
    return [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]


def arguments() -> argparse.Namespace:
    """What was asked on the command line."""
    ask = argparse.ArgumentParser(prog="python -m lab.load.bench", description=__doc__)
    ask.add_argument("--rate", type=float, default=10_000.0, help="requests/s (default: %(default)s)")
    ask.add_argument("--connections", type=int, default=100, help="default: %(default)s")
    ask.add_argument("--seconds", type=int, default=3, help="of each run (default: %(default)s)")
    ask.add_argument("--repetitions", type=int, default=5, help="of each generator (default: %(default)s)")
    ask.add_argument("--seed", type=int, default=1, help="of schedules and order (default: %(default)s)")
    ask.add_argument(
        "--json", type=Path, default=cache() / "bench.json", help="where to write all numbers (%(default)s)"
    )
    asked = ask.parse_args()
    for name in ("rate", "connections", "seconds", "repetitions"):
        if getattr(asked, name) <= 0:
            raise Mistake(f"--{name} {getattr(asked, name)}; it must be above 0")
    return asked


def enter_namespace() -> None:
    """Start again in a network namespace whose loopback nobody else uses; returns at once when already there."""
    outside = str(Path("/proc/self/ns/net").stat().st_ino)
    if os.environ.get(NAMESPACE, outside) != outside:
        return
    if os.geteuid() != 0:
        raise CannotRun("the bench makes a network namespace; run it as root")
    again = (sys.executable, "-m", "lab.load.bench", *sys.argv[1:])
    up = ("sh", "-c", 'ip link set lo up && exec "$@"', "sh")
    os.execvpe("unshare", ("unshare", "--net", "--", *up, *again), os.environ | {NAMESPACE: outside})  # noqa: S606


def main() -> int:
    """Measure, print the table and the promises, write the JSON; 0 unless it could not be measured."""
    try:
        asked = arguments()
        enter_namespace()
        offered = Offer(PORT, "/bytes/128", asked.rate, asked.connections, asked.seconds)
        result = measure(offered, asked.repetitions, asked.seed)
    except LabError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, Mistake | CannotRun) else 1
    asked.json.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result), *promises(result), f"all numbers: {asked.json}", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
