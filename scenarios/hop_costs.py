"""What does one pass through each datapath cost, at several rates? The simulator is calibrated with the answers.

One pair of pods on two nodes at each rate, and chains of services without a mesh, which price the service that asks the
next one. All rates are below every arm's knee on a machine with two cores.
"""

from lab.question import Amount, Case, Study
from lab.record import Need

ARMS = ("none", "ebpf", "pernode", "sidecar")
RATES = (250, 500, 1000, 2000, 4000)


def _case(arm: str, rate: int, **more: int | str) -> Case:
    name = "-".join([arm, str(rate), *(f"{key}{value}" for key, value in more.items())])
    return Case(name, "carried", arm, {"rate": rate, **more})


def _cases(rates: tuple[int, ...]) -> tuple[Case, ...]:
    return (*(_case(arm, rate) for arm in ARMS for rate in rates), _case("none", 250, hops=2))


STUDY = Study(
    name="hop_costs",
    question="What does one pass through each datapath cost in time, processor time and memory, from rate to rate?",
    claims=(),
    needs=frozenset({Need.ENVOY, Need.NGINX}),
    laws=(),
    profiles={
        "smoke": Amount(1, _cases((250,))),
        "quick": Amount(4, _cases(RATES)),
        "full": Amount(12, _cases(RATES)),
    },
)
