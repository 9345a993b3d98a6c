"""What does each feature of the eBPF datapath cost: visibility, policy by identity and route, tracing, all of them?

The kernel counts the run time of every BPF program, so each feature has a price per request even where the latency of
the arms cannot be told apart.
"""

from lab.record import Feature, Load, Profile, Scenario

CONNECTIONS = 32


def _at(rate: float) -> Load:
    return Load(rate_per_s=rate, connections=CONNECTIONS)


SCENARIO = Scenario(
    name="ebpf_features",
    question="What does each feature of the eBPF datapath cost, in latency and in processor time per request?",
    datapaths=("none", "ebpf", "ebpf_tracing", "ebpf_policy", "ebpf_mesh"),
    claims=(),
    parity=frozenset({Feature.HTTP_PARSE, Feature.HTTP_METRICS, Feature.LATENCY_HISTOGRAM}),
    profiles={
        "smoke": Profile(
            deployments=1, rounds=6, slice_s=0.1, ladder=(500,), compare=(_at(500),), cost=(_at(500),), window_s=1.0
        ),
        "quick": Profile(
            deployments=6,
            rounds=12,
            slice_s=0.1,
            ladder=(10_000,),
            compare=(_at(1000), _at(10_000)),
            cost=(_at(1000), _at(10_000)),
            window_s=3.0,
            probed=4,
        ),
        "full": Profile(
            deployments=20,
            rounds=50,
            slice_s=0.1,
            ladder=(5000, 10_000, 15_000, 20_000),
            compare=(_at(1000), _at(5000), _at(10_000)),
            cost=(_at(1000), _at(5000), _at(10_000)),
            window_s=5.0,
            probed=10,
        ),
    },
)
