"""Every visit opens a connection of its own and closes it: what does a new connection cost in each arm?

A proxy must open one more behind each, an eBPF agent must learn each anew.
"""

from lab.behaviour import Crowd, Journey

JOURNEY = Journey(
    name="journeys_churn",
    question="What do users wait in each datapath when every visit opens a new connection?",
    datapaths=("none", "ebpf", "pernode", "sidecar"),
    claims=(),
    locustfile="churn.py",
    sizes=(128, 1024),
    profiles={
        "smoke": Crowd(repeats=1, users=10, seconds=3.0, spawn_per_s=50.0, settle_s=0.5),
        "quick": Crowd(repeats=4, users=30, seconds=12.0, spawn_per_s=30.0, settle_s=3.0),
        "full": Crowd(repeats=12, users=60, seconds=60.0, spawn_per_s=25.0, settle_s=6.0),
    },
)
