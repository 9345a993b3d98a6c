"""What does L7 visibility cost, by eBPF, by a proxy per node, by a sidecar per pod?

The post's own figure: a steady 10,000 HTTP requests/s over fixed connections between two pods on two nodes; and a
ladder of rates around it, since a small machine saturates its proxies long before.
"""

from lab.record import Feature, Load, Profile, Scenario

CONNECTIONS = 32


def _at(rate: float, service_time_s: float = 0.0) -> Load:
    return Load(rate_per_s=rate, connections=CONNECTIONS, service_time_s=service_time_s)


SCENARIO = Scenario(
    name="http_visibility",
    question="How much latency and CPU does HTTP visibility cost, by eBPF, by a proxy per node, by a sidecar per pod?",
    datapaths=("none", "ebpf", "pernode", "sidecar"),
    claims=("C1", "C2", "C6"),
    parity=frozenset({Feature.HTTP_PARSE, Feature.HTTP_METRICS, Feature.LATENCY_HISTOGRAM}),
    profiles={
        "smoke": Profile(
            deployments=1,
            rounds=6,
            slice_s=0.1,
            ladder=(500,),
            compare=(_at(500),),
            cost=(_at(500),),
            referee=(_at(500),),
            window_s=1.0,
        ),
        "quick": Profile(
            deployments=10,
            rounds=8,
            slice_s=0.1,
            ladder=(1000, 2000, 3000, 5000, 7500, 10_000, 15_000),
            compare=(_at(1000), _at(200, 0.002), _at(5000), _at(10_000)),
            cost=(_at(1000), _at(10_000)),
            referee=(_at(1000), _at(10_000)),
            probed=2,
        ),
        "full": Profile(
            deployments=20,
            rounds=50,
            slice_s=0.1,
            ladder=(500, 1000, 1500, 2000, 2500, 3000, 4000, 5000, 7500, 10_000, 12_500, 15_000, 20_000),
            compare=(_at(500), _at(1000), _at(200, 0.002), _at(100, 0.01), _at(2000), _at(5000), _at(10_000)),
            cost=(_at(500), _at(1000), _at(2000), _at(5000), _at(10_000)),
            referee=(_at(1000), _at(10_000)),
            window_s=5.0,
            probed=5,
        ),
    },
)
