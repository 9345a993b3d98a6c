"""A server that does not find things, is slow, or closes the connection: what does each arm make of it for the user?

A proxy turns a closed connection into an answer (503); without one the user's client sees the connection end.
"""

from lab.behaviour import Crowd, Journey

JOURNEY = Journey(
    name="journeys_failures",
    question="What do users see in each datapath when the server fails, is slow or closes the connection?",
    datapaths=("none", "ebpf", "pernode", "sidecar"),
    claims=(),
    locustfile="failures.py",
    sizes=(128,),
    sleeps=True,
    closes=True,
    profiles={
        "smoke": Crowd(repeats=1, users=10, seconds=3.0, spawn_per_s=50.0, settle_s=0.5),
        "quick": Crowd(repeats=4, users=30, seconds=12.0, spawn_per_s=30.0, settle_s=3.0),
        "full": Crowd(repeats=12, users=60, seconds=60.0, spawn_per_s=25.0, settle_s=6.0),
    },
)
