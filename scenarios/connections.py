"""How many TCP connections does one connection of the application become, and what memory do their sockets hold?"""

from lab.record import Load, Profile, Scenario


def _over(connections: int) -> Load:
    return Load(rate_per_s=200, connections=connections)


SCENARIO = Scenario(
    name="connections",
    question="How many connections and how much socket memory does one application connection cost in each datapath?",
    datapaths=("none", "ebpf", "pernode", "sidecar"),
    claims=("C5",),
    profiles={
        "smoke": Profile(
            deployments=1, rounds=1, slice_s=0.2, ladder=(), compare=(), hold=(_over(1), _over(20)), window_s=1.0
        ),
        "quick": Profile(
            deployments=1,
            rounds=1,
            slice_s=0.2,
            ladder=(),
            compare=(),
            hold=(_over(1), _over(10), _over(100)),
            window_s=1.5,
        ),
        "full": Profile(
            deployments=5,
            rounds=1,
            slice_s=0.2,
            ladder=(),
            compare=(),
            hold=(_over(1), _over(10), _over(100), _over(1000)),
            window_s=5.0,
        ),
    },
)
