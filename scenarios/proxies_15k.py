"""500 nodes of 30 pods: what do 15,000 sidecars hold against 500 node proxies, by footprints measured in this run?"""

from lab.record import Load, Profile, Scenario

NODES = 500
PODS_PER_NODE = 30
POST_BYTES_PER_PROXY = 70_000_000

LOAD = Load(rate_per_s=300, connections=10)

SCENARIO = Scenario(
    name="proxies_15k",
    question="What memory do 15,000 sidecars hold against 500 node proxies?",
    datapaths=("none", "ebpf", "pernode", "sidecar"),
    claims=("C7",),
    profiles={
        "smoke": Profile(deployments=1, rounds=1, slice_s=0.2, ladder=(), compare=(), cost=(LOAD,), window_s=1.0),
        "quick": Profile(deployments=2, rounds=1, slice_s=0.2, ladder=(), compare=(), cost=(LOAD,), window_s=2.0),
        "full": Profile(deployments=5, rounds=1, slice_s=0.2, ladder=(), compare=(), cost=(LOAD,), window_s=5.0),
    },
)
