"""Is the simulator right about cases that it was not calibrated with? Its predictions are in the plan, before any case.

Unseen rates; thirty pods of one node with a proxy each, and with one proxy for all of them; a table size that was not
among those of the calibration; as many sidecars at once as it had not seen; three services in a row.
"""

from lab.question import Amount, Case, Study
from lab.record import Need

ARMS = ("none", "ebpf", "pernode", "sidecar")


def _carried(arm: str, **parameters: int | str) -> Case:
    name = "-".join([arm, *(f"{key}{value}" for key, value in parameters.items())])
    return Case(name, "carried", arm, parameters)


def _table(delivery: str) -> Case:
    size = {"clusters": 600, "endpoints": 7000, "routes": 450, "workers": 3}
    name = "-".join(["table", *(f"{key}{value}" for key, value in size.items()), delivery])
    return Case(name, "table", "envoy", {**size, "delivery": delivery})


RATES = tuple(_carried(arm, rate=rate) for rate in (750, 3000) for arm in ARMS)
NODES = tuple(_carried(arm, pairs=15, rate=40, place="same_node") for arm in ARMS)  # 30 pods on one node
CHAINS = tuple(_carried(arm, hops=3, rate=300) for arm in ARMS)
TABLES = (_table("static"), _table("dynamic"), Case("crowd-60", "crowd", "envoy", {"proxies": 60}))

STUDY = Study(
    name="holdout",
    question="Are the simulator's predictions right for cases that it was not calibrated with?",
    claims=("C7", "C8"),
    needs=frozenset({Need.ENVOY, Need.ENVOY_API, Need.NGINX}),
    laws=(),
    foretold=True,
    profiles={
        "smoke": Amount(1, (*RATES[:1], TABLES[0])),
        "quick": Amount(3, (*RATES, *NODES, *CHAINS, *TABLES)),
        "full": Amount(10, (*RATES, *NODES, *CHAINS, *TABLES)),
    },
)
