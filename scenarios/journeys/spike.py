"""A calm crowd, then five times as many at once, then calm again: what do the users in the spike wait?"""

from lab.behaviour import Crowd, Journey

JOURNEY = Journey(
    name="journeys_spike",
    question="What do users wait in each datapath when five times as many come at once?",
    datapaths=("none", "ebpf", "pernode", "sidecar"),
    claims=(),
    locustfile="spike.py",
    shaped=True,
    sizes=(512, 2048),
    profiles={
        "smoke": Crowd(repeats=1, users=30, seconds=5.0, settle_s=0.5),
        "quick": Crowd(repeats=4, users=120, seconds=15.0),
        "full": Crowd(repeats=12, users=200, seconds=60.0),
    },
)
