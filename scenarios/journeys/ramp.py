"""Users who come one after another until all are there: from which crowd on does a step take longer in an arm?"""

from lab.behaviour import Crowd, Journey

JOURNEY = Journey(
    name="journeys_ramp",
    question="How do waiting times grow in each datapath while ever more users come?",
    datapaths=("none", "ebpf", "pernode", "sidecar"),
    claims=(),
    locustfile="ramp.py",
    shaped=True,
    sizes=(512, 2048),
    profiles={
        "smoke": Crowd(repeats=1, users=30, seconds=4.0, settle_s=0.5),
        "quick": Crowd(repeats=4, users=120, seconds=20.0),
        "full": Crowd(repeats=12, users=200, seconds=90.0),
    },
)
