"""What `results/` holds, as one list: measured runs, forecasts, and folders of any other kind that has a manifest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import claims, codec
from lab.behaviour import Journey
from lab.foreign import ORIGIN
from lab.question import Study
from lab.record import LabError, Mistake, Scenario, Verdict
from lab.store import Store, manifest

RUN, FORECAST = "run", "forecast"
UNKNOWN = "unknown"
MEASURED = "measured"
DEPTH = 2  # results/RUN and results/forecasts/RUN


@dataclass(frozen=True)
class Machine:
    """The class of a machine: what a reader needs to know which others it stands for."""

    processor: str
    cores: int | None
    virtual: bool
    kernel: str
    cluster: str  # its kind

    @property
    def words(self) -> str:
        """In one line: cores, processor, kernel, kind of cluster."""
        kind = "virtual machine" if self.virtual else "machine"
        cores = f"{self.cores} cores of a {kind}" if self.cores else kind
        return f"{cores} ({self.processor}), Linux {self.kernel}, cluster {self.cluster}"


@dataclass(frozen=True)
class Published:
    """One folder of results. `kind` is `run`, or what its manifest says; what is not known of it is empty."""

    name: str
    kind: str
    folder: Path
    created: str = ""
    asked: tuple[tuple[str, str], ...] = ()  # (scenario, question)
    command: str = ""
    machine: Machine | None = None
    origin: str = ""
    closed: bool = False  # its load was a closed loop: users who wait
    verdicts: tuple[Verdict, ...] = ()
    store: Store | None = None

    @property
    def report(self) -> Path | None:
        """Its own report page, where it has one."""
        page = self.folder / "report" / "index.html"
        return page if page.is_file() else None


def published(results: Path) -> tuple[Published, ...]:
    """Everything below `results` that has a manifest, the newest last. Unfinished runs are left out."""
    found = (describe(folder) for folder in folders(results))
    return tuple(sorted((one for one in found if one is not None), key=lambda one: (one.created, one.name)))


def folders(results: Path) -> tuple[Path, ...]:
    """Folders with a manifest at most `DEPTH` below `results`, sorted; none inside another."""
    return tuple(sorted(_walk(results, DEPTH)))


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    for one in folder.iterdir() if folder.is_dir() else ():
        if one.is_dir() and not one.name.startswith("."):
            if (one / manifest.NAME).is_file():
                yield one
            elif depth > 1:
                yield from _walk(one, depth - 1)


def describe(folder: Path) -> Published | None:
    """What one folder is; None for a run without a summary. `Mistake` where a run cannot be read."""
    kind = kind_of(folder)
    if kind != RUN:
        return Published(folder.name, kind, folder, created=_date(folder.name))
    store = Store.open(folder)
    return of_run(store) if store.sealed else None


def of_run(store: Store) -> Published:
    """A stored run with its verdicts."""
    plan, summary = store.plan, store.summary()
    questions: tuple[Scenario | Study | Journey, ...] = (*plan.scenarios, *plan.studies, *plan.journeys)
    return Published(
        name=store.folder.name,
        kind=RUN,
        folder=store.folder,
        created=plan.created,
        asked=(*((q.name, q.question) for q in questions), *_imported(store)),
        command=plan.command,
        machine=machine(store.system, plan.cluster),
        origin=summary.origin,
        closed=bool(plan.journeys),
        verdicts=claims.judge(summary),
        store=store,
    )


def _imported(store: Store) -> Iterator[tuple[str, str]]:
    """What was imported, in one line; of nothing, none."""
    tools = sorted({f"{told.tool} {told.version}".strip() for _, told in store.imports()})
    if tools:
        yield ORIGIN, f"what {', '.join(tools)} told; nothing of it was measured here, and it judges no claim"


def machine(system: Mapping[str, Any], cluster: str) -> Machine:
    """The class of the machine that a run's system describes."""
    return Machine(
        processor=str(system.get("processor") or system.get("architecture") or "unknown processor"),
        cores=system.get("cores"),
        virtual=bool(system.get("virtual")),
        kernel=".".join(str(system.get("kernel", "unknown")).split(".")[:2]),
        cluster=cluster,
    )


def kind_of(folder: Path) -> str:
    """The kind that a folder's manifest names; `run` for a run's."""
    try:
        data = codec.parse((folder / manifest.NAME).read_bytes())
    except (OSError, LabError) as wrong:
        raise Mistake(f"{folder / manifest.NAME} cannot be read ({wrong}); see `mesh-lab check {folder}`") from None
    inner = data.get("manifest", {}) if isinstance(data, dict) else {}
    named = [d["kind"] for d in (data, inner) if isinstance(d, dict) and isinstance(d.get("kind"), str)]
    return named[0] if named else RUN if inner else UNKNOWN


def runs(found: Iterable[Published]) -> tuple[Published, ...]:
    """Those that are runs, in their order."""
    return tuple(one for one in found if one.kind == RUN)


def _date(name: str) -> str:
    """The day that a folder's name begins with, as ISO 8601; empty where it does not."""
    day = re.match(r"(\d{4})(\d{2})(\d{2})\D", name)
    return "-".join(day.groups()) if day else ""
