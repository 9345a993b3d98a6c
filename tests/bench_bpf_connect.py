"""What connect() to a service costs: balanced at the socket, by nftables DNAT, and with no service in between.

`PYTHONPATH=. python tests/bench_bpf_connect.py` prints JSON. One pod connects to two pods of another node, in slices of
all arms in a new random order each round; several deployments. Ratios are to `none`, by `lab.stats.compare`: 95 %.

- none: to the endpoints' own addresses by chance, no program attached
- none again: the same; what it differs from none is noise
- dnat: to the service's address, no program attached; the rules are the local cluster's. TCP only
- passed: to the endpoints' own addresses, programs attached: what others than services pay
- balanced: to the service's address, programs attached
- balanced, policy: the same with 200 rules, of which the last place looked at (`*` to `*`) lets it through
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bpf_town import PORT, Town, town

from datapaths.bpf.balance import Balance
from lab.stats import compare

BASE, AGAIN = "none", "none again"
RULES = [{"from": f"a{n}", "to": f"b{n}", "port": 1 + n} for n in range(199)] + [{"from": "*", "to": "*"}]
POLICY = {"connections": RULES}
Slice = Callable[[], dict[str, float]]


def arms(place: Town, balance: Balance, kind: str, count: int) -> dict[str, Slice]:
    """By name: change over to the arm and connect so often."""
    ends = [place.endpoint("red"), place.endpoint("green")]
    off = place.told(*ends, cgroups=[], local=[])
    on, ruled = place.told(*ends), place.told(*ends, policy=POLICY)

    def arm(told: dict[str, Any], *addresses: str) -> Slice:
        def run() -> dict[str, float]:
            balance.update(told)
            return dict(place.client.timed(count, addresses, PORT, kind))

        return run

    pods = [place.at("red"), place.at("green")]
    found = {BASE: arm(off, *pods), AGAIN: arm(off, *pods), "passed": arm(on, *pods)}
    found |= {"balanced": arm(on, place.service), "balanced, policy": arm(ruled, place.service)}
    return found | ({"dnat": arm(off, place.service)} if kind == "tcp" else {})


def deployment(kind: str, rounds: int, count: int, seed: int) -> dict[str, list[dict[str, float]]]:
    """Every arm's slices, in the order of the rounds."""
    chance = random.Random(seed)
    with (
        tempfile.TemporaryDirectory() as state,
        town(Path(state)) as place,
        Balance(place.told(policy=POLICY)) as balance,
    ):
        each = arms(place, balance, kind, count)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in each}
        for turn in range(rounds + 1):
            for name in chance.sample(sorted(each), len(each)):
                seen = each[name]()
                if turn:  # the first round warms up
                    found[name].append(seen)
        return found


def measure(kind: str, deployments: int, rounds: int, count: int) -> dict[str, Any]:
    """Ratios to `none` with 95 % intervals, and medians in microseconds, of connect() and of whole connections."""
    seen = [deployment(kind, rounds, count, seed) for seed in range(deployments)]
    made: dict[str, Any] = {}
    for what in ("connect_ns", "whole_ns") if kind == "tcp" else ("connect_ns",):
        by_arm = {name: [np.array([each[what] for each in d[name]]) for d in seen] for name in seen[0]}
        made[what.removesuffix("_ns")] = {
            name: {
                "median_us": round(float(np.median(np.concatenate(values))) / 1000, 2),
                "ratio": [round(float(v), 3) for v in compare(values, by_arm[BASE]).ratio],
            }
            for name, values in by_arm.items()
        }
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--deployments", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--connections", type=int, default=200, help="in a slice")
    asked = parser.parse_args()
    facts = {"kernel": os.uname().release, "cores": os.cpu_count(), **vars(asked)}
    sizes = asked.deployments, asked.rounds, asked.connections
    print(json.dumps({"machine": facts} | {kind: measure(kind, *sizes) for kind in ("tcp", "udp")}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
