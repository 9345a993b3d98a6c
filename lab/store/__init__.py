"""Runs on disk: one folder a run, every trial written once and at once, nothing overwritten.

    results/<run>/manifest.json                        every file with its hash (`lab.store.manifest`)
                  plan.json  system.json  summary.json
                  trials/<trial>/trial.json            the trial as it was run
                                 <arm>.json            its Run
                                 <arm>.parquet         its raw requests (`lab.store.table`)
                                 host.parquet          the host's series
                                 config/…  logs/…      what was rendered, what was printed
                  studies/<repeat>/repeat.json         the cases of one repeat of a study, in their order
                                   facts.json          versions, sizes
                                   observations.parquet
                  journeys/<turn>/walk.json            the turn of a journey as planned, and what was seen of it
                                  requests.parquet     its raw request events (`lab.behaviour.COLUMNS`)
                                  host.parquet  config/…  logs/…
                  imports/<name>/told.json             what a file of another load generator says
                                 original/…            that file, byte for byte
                  report/…                             derived from all above; may be built again

Every JSON file and Parquet table but the plan itself carries the SHA-256 of `plan.json`. A trial is written into a
hidden folder, synced, and renamed: a killed writer leaves only a hidden folder, which `Store.resume` removes.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from lab import codec
from lab.behaviour import COLUMNS, Turn, Walk
from lab.foreign import Document, Original, Told
from lab.plan import Plan
from lab.question import Observation, Repeat
from lab.record import Mistake, Run, Trial
from lab.store import entry, manifest, table
from lab.store.table import Rows

if TYPE_CHECKING:
    from lab.summary import Summary  # it imports this module

PLAN, SYSTEM, SUMMARY, TRIALS, REPORT = "plan.json", "system.json", "summary.json", "trials", "report"
STUDIES, JOURNEYS, IMPORTS = "studies", "journeys", "imports"


class Store:
    """One results folder. Reading never changes it; writers exclude each other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: manifest.Manifest = manifest.read(folder)
        self._runs: dict[str, tuple[Run, ...]] = {}
        self._plan: Plan | None = None

    @classmethod
    def create(cls, folder: Path, plan: Plan, system: object) -> Store:
        """A new results folder. `system` is what the machine is: anything made of records, mappings and numbers."""
        if folder.exists():
            raise Mistake(f"{folder} exists; choose another with --out, or go on with it by --resume {folder}")
        manifest.run_id(plan.run)
        raw = codec.text({"schema": manifest.SCHEMA, "plan": codec.dump(plan)})
        scratch = folder.with_name(f".{folder.name}.new")
        shutil.rmtree(scratch, ignore_errors=True)
        (scratch / TRIALS).mkdir(parents=True)
        sha = codec.sha256(raw)
        manifest.save(scratch / PLAN, raw)
        manifest.save(scratch / SYSTEM, entry.stamped(sha, "system", codec.plain(system)))
        files = manifest.hashes(scratch, scratch)
        manifest.write(scratch, manifest.Manifest(manifest.SCHEMA, plan.run, sha, files))
        scratch.rename(folder)
        manifest.settle(folder.parent)
        return cls(folder)

    @classmethod
    def open(cls, folder: Path) -> Store:
        """A folder made by `create`, to read it; `Mistake` where it is none, or of another schema, or changed."""
        return cls(folder)

    @classmethod
    def resume(cls, folder: Path) -> Store:
        """A folder made by `create`, to add the trials that are missing; removes what an interrupted write has left."""
        store = cls(folder)
        with store._alone():
            for left in (left for top in (TRIALS, STUDIES, JOURNEYS, IMPORTS) for left in folder.glob(f"{top}/.*")):
                shutil.rmtree(left)
            for trial in store.missing():
                store._enter(TRIALS, trial.name)  # renamed, so complete, but killed before it was listed
            for repeat in store.missing_repeats():
                store._enter(STUDIES, repeat.name)
            for turn in store.missing_turns():
                store._enter(JOURNEYS, turn.name)
            for original in store.missing_imports():
                store._enter(IMPORTS, original.name)
        return store

    @property
    def plan(self) -> Plan:
        """The plan as it was asked and resolved."""
        if self._plan is None:
            self._plan = codec.load(Plan, self._data(PLAN, "plan"))
        return self._plan

    @property
    def system(self) -> Any:
        """The description of the machine, as JSON data."""
        return self._data(SYSTEM, "system")

    def done(self, top: str = TRIALS) -> frozenset[str]:
        """Names of the trials (or of the repeats, STUDIES, or of the turns, JOURNEYS) that are stored."""
        parts = [path.split("/") for path in self.manifest.files]
        return frozenset(part[1] for part in parts if part[0] == top)

    def missing(self) -> tuple[Trial, ...]:
        """Planned trials that are not stored, in the plan's order."""
        return tuple(trial for trial in self.plan.trials if trial.name not in self.done())

    def missing_repeats(self) -> tuple[Repeat, ...]:
        """Planned repeats of studies that are not stored, in the plan's order."""
        return tuple(repeat for repeat in self.plan.repeats if repeat.name not in self.done(STUDIES))

    def repeats(self) -> tuple[Repeat, ...]:
        """Stored repeats of studies as they were run, in the plan's order."""
        names = [repeat.name for repeat in self.plan.repeats if repeat.name in self.done(STUDIES)]
        return tuple(codec.load(Repeat, self._data(f"{STUDIES}/{name}/repeat.json", "repeat")) for name in names)

    def observations(self, repeat: str) -> tuple[Observation, ...]:
        """Everything that was seen in one stored repeat, in order."""
        rows = pq.read_table(self.folder / STUDIES / repeat / "observations.parquet", partitioning=None).to_pylist()
        return tuple(Observation(**row) for row in rows)

    def facts(self, repeat: str) -> Mapping[str, str]:
        """What was said of the cluster and the subjects in one stored repeat."""
        return dict(self._data(f"{STUDIES}/{repeat}/facts.json", "facts"))

    def missing_turns(self) -> tuple[Turn, ...]:
        """Planned turns of journeys that are not stored, in the plan's order."""
        return tuple(turn for turn in self.plan.turns if turn.name not in self.done(JOURNEYS))

    def turns(self) -> tuple[tuple[Turn, Walk], ...]:
        """Stored turns of journeys, each with what was seen of it, in the plan's order."""
        names = [turn.name for turn in self.plan.turns if turn.name in self.done(JOURNEYS)]
        paths = [f"{JOURNEYS}/{name}/walk.json" for name in names]
        return tuple((codec.load(Turn, self._data(p, "turn")), codec.load(Walk, self._data(p, "walk"))) for p in paths)

    def events(self, turn: str) -> Rows:
        """The raw request events of one stored turn: an array with the columns `lab.behaviour.COLUMNS`."""
        return table.unpack_series(self.folder / JOURNEYS / turn / "requests.parquet", COLUMNS)

    def missing_imports(self) -> tuple[Original, ...]:
        """Planned imports that are not stored, in the plan's order."""
        return tuple(original for original in self.plan.imports if original.name not in self.done(IMPORTS))

    def imports(self) -> tuple[tuple[Original, Told], ...]:
        """Stored imports, each with what was read from its files, in the plan's order."""
        names = [original.name for original in self.plan.imports if original.name in self.done(IMPORTS)]
        paths = [f"{IMPORTS}/{name}/told.json" for name in names]
        return tuple(
            (codec.load(Original, self._data(p, "original")), codec.load(Told, self._data(p, "told"))) for p in paths
        )

    def documents(self, name: str) -> tuple[Document, ...]:
        """The files of one stored import as they were given, from their kept bytes."""
        place = self.folder / IMPORTS / name
        given = [file for file, _, _ in self.plan.original(name).files]
        return tuple(Document(file, (place / entry.kept(n, file)).read_bytes()) for n, file in enumerate(given, 1))

    def trials(self) -> tuple[Trial, ...]:
        """Stored trials as they were run, in the plan's order: blocks that an arm could not carry lack its windows."""
        return tuple(self.trial(trial.name) for trial in self.plan.trials if trial.name in self.done())

    def trial(self, name: str) -> Trial:
        """One stored trial as it was run."""
        return codec.load(Trial, self._data(f"{self._place(name)}/trial.json", "trial"))

    def runs(self) -> tuple[Run, ...]:
        """Every stored Run, in the order of trials and their arms."""
        return tuple(run for trial in self.plan.trials if trial.name in self.done() for run in self._of(trial.name))

    def requests(self, run: Run) -> dict[str, Rows]:
        """The raw requests of a run by block: arrays of `lab.store.table.REQUEST`, exactly as measured."""
        return table.unpack(self.folder / self._place(run.trial) / run.requests_file)

    def table(self, run: Run, columns: Sequence[str] | None = None) -> pa.Table:
        """The same as one Arrow table (`block` and the columns of `lab.store.table.REQUEST`), e.g. for pandas."""
        found = table.read(self.folder / self._place(run.trial) / run.requests_file)
        return found.select(list(columns)) if columns else found

    def host(self, trial: str) -> pa.Table:
        """The host's series during a trial, as the meter gave it."""
        return pq.read_table(self.folder / self._place(trial) / "host.parquet", partitioning=None)

    def host_meanwhile(self, turn: str) -> pa.Table:
        """The same during a turn of a journey."""
        return pq.read_table(self.folder / JOURNEYS / turn / "host.parquet", partitioning=None)

    def files(self, trial: str) -> dict[str, bytes]:
        """Rendered configurations and logs of a trial, by path."""
        place = self._place(trial)
        tops = (f"{place}/config/", f"{place}/logs/")
        paths = [path for path in self.manifest.files if path.startswith(tops)]
        return {path.removeprefix(f"{place}/"): (self.folder / path).read_bytes() for path in paths}

    @property
    def sealed(self) -> bool:
        """Has it a summary?"""
        return SUMMARY in self.manifest.files

    def summary(self) -> Summary:
        """What the trials say, as `seal` was given it."""
        from lab.summary import Summary  # noqa: PLC0415 - it imports this module

        if not self.sealed:
            raise Mistake(f"{self.folder} has no summary yet; finish it with --resume {self.folder}")
        return codec.load(Summary, self._data(SUMMARY, "summary"))

    def add(
        self,
        trial: Trial,
        runs: Sequence[Run],
        requests: Mapping[str, Mapping[str, Rows]],
        host: entry.HostRows = (),
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        """Store one trial: at once or not at all, and only once.

        `trial` is as it was run; `requests` are arm → block → array of `lab.store.table.REQUEST`; `files` have paths
        below `config/` or `logs/`. A summary and report made before are dropped: they are of fewer trials.
        """
        entry.fits(self.plan.trial(trial.name), trial, runs, requests)
        sha = self.manifest.plan_sha256
        around = entry.surroundings(sha, host, files or {})
        self._put(TRIALS, trial.name, chain(entry.contents(sha, trial, runs, requests), around))

    def add_repeat(self, repeat: Repeat, observations: Sequence[Observation], facts: Mapping[str, str]) -> None:
        """Store one repeat of a study: at once or not at all, and only once; as planned, with all of its cases."""
        if self.plan.repeat(repeat.name) != repeat:
            raise Mistake(f"repeat {repeat.name} is not the plan's; measure the cases of the plan in its order")
        self._put(STUDIES, repeat.name, entry.studied(self.manifest.plan_sha256, repeat, observations, facts))

    def add_walk(
        self, turn: Turn, walk: Walk, rows: Rows, host: entry.HostRows = (), files: Mapping[str, bytes] | None = None
    ) -> None:
        """Store one turn of a journey: at once or not at all, and only once; `host` and `files` as for a trial."""
        if self.plan.turn(turn.name) != turn or walk.turn != turn.name:
            raise Mistake(
                f"turn {turn.name} is not the plan's, or walk {walk.turn} is another's; walk what was planned"
            )
        sha = self.manifest.plan_sha256
        around = entry.surroundings(sha, host, files or {})
        self._put(JOURNEYS, turn.name, chain(entry.walked(sha, turn, walk, rows), around))

    def add_import(self, original: Original, told: Told, documents: Sequence[Document]) -> None:
        """Store one imported repetition: at once or not at all, and only once; its files byte for byte."""
        if self.plan.original(original.name) != original:
            raise Mistake(f"import {original.name} is not the plan's; import the files that were planned")
        self._put(IMPORTS, original.name, entry.imported(self.manifest.plan_sha256, original, told, documents))

    def _put(self, top: str, name: str, contents: Iterable[tuple[str, bytes]]) -> None:
        """Write one folder, sync it, give it its name and list it."""
        with self._alone():
            if name in self.done(top) or (self.folder / top / name).exists():
                raise Mistake(f"trial {name} is stored in {self.folder} already; a trial is written once")
            scratch = self.folder / top / f".{name}"
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(parents=True)
            for path, raw in contents:
                manifest.save(scratch / path, raw)
            scratch.rename(self.folder / top / name)
            manifest.settle(self.folder / top)
            self._enter(top, name)

    def seal(self, summary: Summary) -> None:
        """Store what the trials say. It may be computed again; `lab.check` holds it to the trials."""
        with self._alone():
            raw = entry.stamped(self.manifest.plan_sha256, "summary", codec.dump(summary))
            manifest.save(self.folder / f".{SUMMARY}", raw)
            (self.folder / f".{SUMMARY}").replace(self.folder / SUMMARY)
            self._list(self.manifest.with_files({SUMMARY: codec.sha256(raw)}))

    def report(self, files: Mapping[str, bytes]) -> None:
        """Store the rendered report, paths below `report/`, in place of the one before."""
        with self._alone():
            self._drop_report()
            for path, raw in files.items():
                manifest.save(self.folder / manifest.inside(f"{REPORT}/{path}", (REPORT,)), raw)
            self._list(self.manifest.with_files(manifest.hashes(self.folder / REPORT, self.folder)))

    def _enter(self, top: str, name: str) -> None:
        """List a trial's or a repeat's files; what was made from fewer of them goes."""
        place = self.folder / top / name
        if place.is_dir():
            self._drop_report()
            self._list(self.manifest.without(SUMMARY).with_files(manifest.hashes(place, self.folder)))
            (self.folder / SUMMARY).unlink(missing_ok=True)

    def _drop_report(self) -> None:
        self._list(self.manifest.without(f"{REPORT}/"))
        shutil.rmtree(self.folder / REPORT, ignore_errors=True)

    def _list(self, listed: manifest.Manifest) -> None:
        if listed != self.manifest:
            manifest.write(self.folder, listed)
            self.manifest = listed

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the folder against other writers; begin from what they have left."""
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            self.manifest = manifest.read(self.folder)
            yield
        finally:
            os.close(handle)

    def _of(self, trial: str) -> tuple[Run, ...]:
        if trial not in self._runs:
            place = self._place(trial)
            arms = [arm.name for arm in self.plan.trial(trial).arms]
            paths = [f"{place}/{arm}.json" for arm in arms if f"{place}/{arm}.json" in self.manifest.files]
            self._runs[trial] = tuple(codec.load(Run, self._data(path, "run")) for path in paths)
        return self._runs[trial]

    def _place(self, trial: str) -> str:
        if trial not in self.done():
            raise Mistake(f"no trial {trial!r} in {self.folder}; there are {', '.join(sorted(self.done())) or 'none'}")
        return f"{TRIALS}/{trial}"

    def _data(self, path: str, key: str) -> Any:
        try:
            return codec.parse((self.folder / path).read_bytes())[key]
        except (OSError, KeyError, TypeError, Mistake) as wrong:
            raise Mistake(
                f"{self.folder / path} cannot be read ({wrong}); see `mesh-lab check {self.folder}`"
            ) from None


def runs_in(folder: Path) -> tuple[Path, ...]:
    """Every results folder directly below `folder`, sorted by name."""
    return tuple(sorted(path.parent for path in folder.glob(f"[!.]*/{manifest.NAME}")))
