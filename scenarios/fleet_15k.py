"""500 nodes of 30 pods: what would 15,000 sidecars cost against 500 node proxies, and against agents with eBPF?

Nobody here can run that cluster. The simulator answers from measured coefficients, with intervals.
"""

from lab.question import Forecast

FORECAST = Forecast(
    name="fleet_15k",
    question="What would 500 nodes with 15,000 pods cost in memory, processors and latency, by each architecture?",
    claims=("C7", "C8"),
    nodes=500,
    pods_per_node=30,
    services=1000,
    rate_per_s=20_000,
)
