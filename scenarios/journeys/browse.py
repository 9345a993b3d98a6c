"""People in a shop: most look around, some put things into a basket, few pay. What does each step cost in each arm?"""

from lab.behaviour import Crowd, Journey

JOURNEY = Journey(
    name="journeys_browse",
    question="What do users of a shop, who think between their steps, wait for each step in each datapath?",
    datapaths=("none", "ebpf", "pernode", "sidecar"),
    claims=(),
    locustfile="browse.py",
    sizes=(128, 512, 1024, 2048, 16_384),
    profiles={
        "smoke": Crowd(repeats=1, users=20, seconds=3.0, spawn_per_s=50.0, settle_s=0.5),
        "quick": Crowd(repeats=4, users=60, seconds=12.0, spawn_per_s=30.0, settle_s=3.0),
        "full": Crowd(repeats=12, users=100, seconds=60.0, spawn_per_s=25.0, settle_s=6.0),
    },
)
