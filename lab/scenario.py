"""Finding a scenario by its file name in `scenarios/`, and narrowing it to what a user asks."""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from lab.behaviour import Crowd, Journey
from lab.question import Amount, Forecast, Study
from lab.record import Load, Mistake, Placement, Profile, Scenario

HELD_S = 20.0  # how long one asked rate is held when no duration was asked
JOURNEYS = "journeys_"  # begins the name of a journey: `journeys_browse` is in `scenarios/journeys/browse.py`


def scenario_names() -> tuple[str, ...]:
    """Every question that can be measured, sorted: the modules of the package `scenarios` but the forecasts."""
    import scenarios

    found = (name for name in _modules(scenarios.__path__) if name not in forecast_names())
    return tuple(sorted((*found, *journey_names())))


def journey_names() -> tuple[str, ...]:
    """Every journey there is, sorted: the modules of the package `scenarios.journeys`, `journeys_` before each."""
    import scenarios.journeys

    return tuple(f"{JOURNEYS}{name}" for name in _modules(scenarios.journeys.__path__))


def forecast_names() -> tuple[str, ...]:
    """Every forecast there is, sorted: modules of the package `scenarios` that define FORECAST."""
    import scenarios

    found = {name: importlib.import_module(f"scenarios.{name}") for name in _modules(scenarios.__path__)}
    return tuple(name for name, module in found.items() if hasattr(module, "FORECAST"))


def _modules(path: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(m.name for m in pkgutil.iter_modules(path) if not m.ispkg))


def find_scenario(name: str) -> Scenario:
    """The scenario defined as SCENARIO in `scenarios/<name>.py`."""
    if name not in scenario_names():
        raise Mistake(f"no scenario {name!r}; there are {', '.join(scenario_names())}")
    if name in journey_names():
        raise Mistake(f"{name} is a journey; find it with find_question or find_journey")
    found = getattr(importlib.import_module(f"scenarios.{name}"), "SCENARIO", None)
    if not isinstance(found, Scenario) or found.name != name:
        raise Mistake(f"scenarios/{name}.py must define SCENARIO, a Scenario named {name!r}; it has {found!r:.60}")
    return found


def find_forecast(name: str) -> Forecast:
    """The FORECAST defined in `scenarios/<name>.py`."""
    if name not in forecast_names():
        raise Mistake(f"no forecast {name!r}; there are {', '.join(forecast_names())}")
    found = importlib.import_module(f"scenarios.{name}").FORECAST
    if not isinstance(found, Forecast) or found.name != name:
        raise Mistake(f"FORECAST in scenarios/{name}.py must be a Forecast named {name!r}; it is {found!r:.60}")
    return found


def find_journey(name: str) -> Journey:
    """The JOURNEY defined in `scenarios/journeys/<name without its prefix>.py`."""
    if name not in journey_names():
        raise Mistake(f"no journey {name!r}; there are {', '.join(journey_names())}")
    module = f"scenarios.journeys.{name.removeprefix(JOURNEYS)}"
    found = getattr(importlib.import_module(module), "JOURNEY", None)
    if not isinstance(found, Journey) or found.name != name:
        raise Mistake(f"{module} must define JOURNEY, a Journey named {name!r}; it has {found!r:.60}")
    return found


def find_question(name: str) -> Scenario | Study | Journey:
    """The scenario, or the STUDY, defined in `scenarios/<name>.py`; or the journey of that name."""
    if name in forecast_names():
        raise Mistake(f"{name} is a forecast and cannot be measured; answer it with: mesh-lab simulate {name}")
    if name not in scenario_names():
        raise Mistake(f"no scenario {name!r}; there are {', '.join(scenario_names())}")
    if name in journey_names():
        return find_journey(name)
    found = getattr(importlib.import_module(f"scenarios.{name}"), "STUDY", None)
    if found is None:
        return find_scenario(name)
    if not isinstance(found, Study) or found.name != name:
        raise Mistake(f"STUDY in scenarios/{name}.py must be a Study named {name!r}; it is {found!r:.60}")
    return found


def find_amount(study: Study, name: str) -> Amount:
    """How much of `study` the profile `name` runs."""
    if name not in study.profiles:
        raise Mistake(f"no profile {name!r} in study {study.name}; there are {', '.join(study.profiles)}")
    return study.profiles[name]


def find_crowd(journey: Journey, name: str) -> Crowd:
    """How much of `journey` the profile `name` runs."""
    if name not in journey.profiles:
        raise Mistake(f"no profile {name!r} in journey {journey.name}; there are {', '.join(journey.profiles)}")
    return journey.profiles[name]


def find_profile(scenario: Scenario, name: str) -> Profile:
    """How much of `scenario` the profile `name` runs."""
    if name not in scenario.profiles:
        raise Mistake(f"no profile {name!r} in scenario {scenario.name}; there are {', '.join(scenario.profiles)}")
    return scenario.profiles[name]


WHOLE = ("deployments", "users", "processes", "workers", "web_ui", "engines")
OF_JOURNEYS = frozenset({"users", "processes", "workers", "web_ui"})  # options that say nothing to another question


@dataclass(frozen=True)
class Options:
    """What a user may change about a scenario; None keeps its own.

    `rate` narrows ladder, comparison, cost and the rest to one rate, held for HELD_S unless `duration_s` is given.
    `duration_s` is how long each arm carries each load: once in slices, summed over all deployments, and once more in
    one whole window of every deployment's cost (or hold) block. Of a journey it is how long its users stay.
    `web_ui` is the port of this machine's loopback on which Locust's pages are shown. `engines` are client pods that
    share each load; those of a journey share Locust's workers.
    """

    datapaths: Sequence[str] | None = None
    rate: float | None = None
    connections: int | None = None
    placement: Placement | None = None
    duration_s: float | None = None
    deployments: int | None = None
    users: int | None = None  # of journeys, as what follows
    processes: int | None = None
    workers: int | None = None
    web_ui: int | None = None
    engines: int | None = None  # of both

    def __post_init__(self) -> None:
        for name, least in (("rate", 0.0), ("duration_s", 0.0), *((whole, 0.5) for whole in WHOLE)):
            value = getattr(self, name)
            if value is not None and not (least < value < math.inf):
                raise Mistake(f"{name}={value}; it must be a finite number above 0")

    def given(self) -> dict[str, str]:
        """Only what was asked, as words."""
        named = {**vars(self), "datapaths": self.datapaths and ",".join(self.datapaths)}
        return {key: str(value) for key, value in named.items() if value is not None}

    @property
    def held_s(self) -> float | None:
        """How long each arm carries each load, where the profile does not say."""
        return self.duration_s or (HELD_S if self.rate else None)


def narrow(profile: Profile, options: Options) -> Profile:
    """`profile` as the options change it. A cost block is added where a rate or duration is asked of a comparison."""
    if options.deployments:
        profile = replace(profile, deployments=options.deployments)
    held_s = options.held_s
    if held_s and profile.compare:
        rounds = math.ceil(held_s / (profile.slice_s * profile.deployments))
        profile = replace(profile, rounds=rounds, cost=profile.cost or profile.compare)
    return replace(
        profile,
        ladder=profile.ladder if options.rate is None else profile.ladder and (options.rate,),
        compare=_loads(profile.compare, options),
        cost=_loads(profile.cost, options),
        hold=_loads(profile.hold, options),
        referee=_loads(profile.referee, options),
    )


def _loads(loads: Sequence[Load], options: Options) -> tuple[Load, ...]:
    """The loads as the options change them, each once. Loads of the asked rate stay; else the first is moved to it."""
    if options.rate is not None:
        rate = options.rate
        loads = [load for load in loads if load.rate_per_s == rate] or [replace(a, rate_per_s=rate) for a in loads[:1]]
    if options.connections is not None:
        loads = [replace(load, connections=options.connections) for load in loads]
    if options.engines is not None:
        loads = [replace(load, engines=options.engines) for load in loads]
    return tuple(dict.fromkeys(loads))
