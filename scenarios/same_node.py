"""Two pods of one node: does sending bytes from socket to socket beat the way through the network stack?

The fast path reads HTTP on the way, so it is compared with no mesh at all and with the eBPF arm that only watches.
"""

from lab.record import Feature, Load, Placement, Profile, Scenario

CONNECTIONS = 32


def _at(rate: float) -> Load:
    return Load(rate_per_s=rate, connections=CONNECTIONS)


SCENARIO = Scenario(
    name="same_node",
    question="Between two pods of one node, what does a path from socket to socket cost or save?",
    datapaths=("none", "ebpf", "ebpf_fastpath"),
    claims=(),
    placement=Placement.SAME_NODE,
    parity=frozenset({Feature.HTTP_PARSE, Feature.HTTP_METRICS, Feature.LATENCY_HISTOGRAM}),
    profiles={
        "smoke": Profile(
            deployments=1, rounds=6, slice_s=0.1, ladder=(500,), compare=(_at(500),), cost=(_at(500),), window_s=1.0
        ),
        "quick": Profile(
            deployments=6,
            rounds=12,
            slice_s=0.1,
            ladder=(5000, 10_000),
            compare=(_at(1000), _at(5000)),
            cost=(_at(1000), _at(5000)),
            window_s=3.0,
            probed=4,
        ),
        "full": Profile(
            deployments=20,
            rounds=50,
            slice_s=0.1,
            ladder=(5000, 10_000, 15_000, 20_000, 25_000),
            compare=(_at(1000), _at(5000), _at(10_000)),
            cost=(_at(1000), _at(5000), _at(10_000)),
            window_s=5.0,
            probed=10,
        ),
    },
)
