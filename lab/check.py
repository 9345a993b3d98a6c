"""Has anything in a results folder changed since it was measured, and does what it says follow from what was measured?

Always: every listed file is there with its hash; all name the same plan; each trial is one of the plan; its requests
add up; its gates, judged again, say what is stored. Strict also: nothing is there that is not listed, no planned trial
is missing, the report is the one that was built, and the summary, computed again, says what is stored. The report is
derived, so only strict looks at it: a spoilt one is built again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lab import codec, gates
from lab.exchange.read import read as read_again
from lab.gates import walk as walks
from lab.record import OUTCOMES, Block, BlockKind, Finding, LabError, Outcome, Run, Trial
from lab.store import IMPORTS, JOURNEYS, PLAN, REPORT, STUDIES, SUMMARY, SYSTEM, TRIALS, Store, manifest, table
from lab.store.entry import PLAN_HASH
from lab.store.table import Rows

CLOSE = 1e-6  # numbers computed again may differ by this share: other versions of numpy add up in another order
EDGE_NS = 1000  # windows are kept in seconds as float
AGAIN = "-again"  # a step of the ladder that was offered twice
FEWEST_SIGMAS = 6.0  # a Poisson number of requests this far from its mean is no chance


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: in which file, what, and what it means for the reader."""

    file: str
    what: str
    means: str


def check(folder: Path, strict: bool = False) -> tuple[Problem, ...]:
    """Every problem of a results folder; none: it is as it was measured. Where bytes differ, nothing else is judged."""
    try:
        store = Store.open(folder)
    except LabError as wrong:
        return (Problem(manifest.NAME, str(wrong), "without it nothing here can be trusted"),)
    changed = (*_bytes(store, strict), *(_strays(store) if strict else ()))
    if changed:
        return changed
    try:
        found = (*_stamps(store), *_trials(store), *_repeats(store), *_turns(store), *_imports(store))
        return (*found, *(_whole(store) if strict else ()))
    except (LabError, ArithmeticError, LookupError, ValueError, OSError) as wrong:
        return (Problem("", f"{type(wrong).__name__}: {wrong}", "it is listed as written but cannot be understood"),)


def _bytes(store: Store, strict: bool) -> Iterator[Problem]:
    for path, sha in store.manifest.files.items():
        file = store.folder / path
        if path.startswith(f"{REPORT}/") and not strict:
            continue
        if not file.is_file():
            yield Problem(path, "is missing", "what was measured is no longer all here")
        elif codec.sha256(file.read_bytes()) != sha:
            yield Problem(path, "is not what was written", "it was changed after it was measured; do not use it")


def _strays(store: Store) -> Iterator[Problem]:
    known = {*store.manifest.files, manifest.NAME}
    for path in sorted(manifest.hashes(store.folder, store.folder).keys() - known):
        left = any(part.startswith(".") for part in path.split("/"))
        means = "a writer was interrupted; --resume removes it" if left else "the lab did not put it there; remove it"
        yield Problem(path, "is not in the manifest", means)


def _stamps(store: Store) -> Iterator[Problem]:
    """Every file names the plan that the manifest names."""
    sha = store.manifest.plan_sha256
    means = "it belongs to another run"
    if store.manifest.files.get(PLAN) != sha or store.plan.run != store.manifest.run:
        yield Problem(PLAN, "is not the plan that the manifest names", means)
    for path in store.manifest.files:
        tops = (f"{TRIALS}/", f"{STUDIES}/", f"{JOURNEYS}/", f"{IMPORTS}/")
        ours = path in (SYSTEM, SUMMARY) or (path.startswith(tops) and path.count("/") == 2)
        if ours and _plan_named(store.folder / path) != sha:
            yield Problem(path, "names another plan", means)


def _plan_named(path: Path) -> object:
    if path.suffix == ".parquet":
        return table.facts(path).get(PLAN_HASH)
    return codec.parse(path.read_bytes()).get(PLAN_HASH)


def _trials(store: Store) -> Iterator[Problem]:
    for name in sorted(store.done() - {trial.name for trial in store.plan.trials}):
        yield Problem(f"{TRIALS}/{name}", "is not in the plan", "it was put there by hand; remove it")
    for trial in store.trials():
        where = f"{TRIALS}/{trial.name}"
        if wrong := _unplanned(store.plan.trial(trial.name), trial):
            yield Problem(f"{where}/trial.json", wrong, "it was not run as planned")
        runs = [run for run in store.runs() if run.trial == trial.name]
        if {run.arm for run in runs} != {arm.name for arm in trial.arms}:
            yield Problem(where, "has not one run for each of its arms", "an arm is missing from the comparison")
        for run in runs:
            yield from (replace(p, file=f"{where}/{p.file}") for p in _run(store, trial, run))


def _repeats(store: Store) -> Iterator[Problem]:
    """Each stored repeat is the plan's, and has finite observations of exactly its cases."""
    planned = {repeat.name: repeat for repeat in store.plan.repeats}
    for name in sorted(store.done(STUDIES) - planned.keys()):
        yield Problem(f"{STUDIES}/{name}", "is not in the plan", "it was put there by hand; remove it")
    for repeat in store.repeats():
        where = f"{STUDIES}/{repeat.name}"
        if repeat != planned[repeat.name]:
            yield Problem(f"{where}/repeat.json", "is not the plan's", "it was not run as planned")
        seen = store.observations(repeat.name)
        if {o.case for o in seen} != {case.name for case in repeat.cases}:
            yield Problem(f"{where}/observations.parquet", "has not all its cases", "a case is missing from the fit")
        if strange := [o for o in seen if not math.isfinite(o.value)]:
            what = f"{strange[0].metric} of {strange[0].case} is {strange[0].value}"
            yield Problem(f"{where}/observations.parquet", what, "a reading that failed is no number")


def _turns(store: Store) -> Iterator[Problem]:
    """Each stored turn is the plan's, its requests are those that Locust counted, and its gates say what is stored."""
    planned = {turn.name: turn for turn in store.plan.turns}
    for name in sorted(store.done(JOURNEYS) - planned.keys()):
        yield Problem(f"{JOURNEYS}/{name}", "is not in the plan", "it was put there by hand; remove it")
    parity = {journey.name: journey.parity for journey in store.plan.journeys}
    for turn, walk in store.turns():
        where, rows = f"{JOURNEYS}/{turn.name}", store.events(turn.name)
        if turn != planned[turn.name]:
            yield Problem(f"{where}/walk.json", "its turn is not the plan's", "it was not run as planned")
        if (walk.turn, walk.journey, walk.arm, walk.repeat) != (turn.name, turn.journey, turn.arm.name, turn.repeat):
            yield Problem(f"{where}/walk.json", "is of another turn", "it does not belong here")
        if wrong := walks.contradiction(walk, rows):
            yield Problem(f"{where}/requests.parquet", wrong, "the requests do not add up")
        elif other := difference(_by_gate(walks.judge(walk, rows, parity[turn.journey])), _by_gate(walk.findings)):
            yield Problem(
                f"{where}/walk.json", f"gates, judged again, differ: {other}", "its labels are not its data's"
            )


def _imports(store: Store) -> Iterator[Problem]:
    """Each stored import is the plan's, its files are those that were planned, and say what is stored."""
    planned = {original.name: original for original in store.plan.imports}
    for name in sorted(store.done(IMPORTS) - planned.keys()):
        yield Problem(f"{IMPORTS}/{name}", "is not in the plan", "it was put there by hand; remove it")
    for original, told in store.imports():
        where, documents = f"{IMPORTS}/{original.name}", store.documents(original.name)
        if original != planned[original.name]:
            yield Problem(f"{where}/told.json", "is not the plan's", "it was not imported as planned")
        if tuple((d.name, codec.sha256(d.raw), len(d.raw)) for d in documents) != original.files:
            yield Problem(f"{where}/original", "is not what the plan names", "it is another file than was imported")
        _, again = read_again(documents, original.format)
        if other := difference(codec.dump(again), codec.dump(told)):
            yield Problem(f"{where}/told.json", f"read again, differs: {other}", "it is not what the file says")


def _unplanned(planned: Trial, ran: Trial) -> str:
    """In what a trial as run differs from its plan, beyond windows that were left out, moved together, or repeated."""
    if replace(ran, blocks=()) != replace(planned, blocks=()):
        return "its arms, pairs, seed or placement are not the plan's"
    blocks = {block.name: block for block in planned.blocks}
    for block in ran.blocks:
        origin = blocks.get(block.name.removesuffix(AGAIN))
        if origin is None or replace(block, name=origin.name, windows=()) != replace(origin, windows=()):
            return f"block {block.name} is not the plan's"
        allowed = {replace(window, start_s=0.0) for window in origin.windows}
        if not {replace(window, start_s=0.0) for window in block.windows} <= allowed:
            return f"block {block.name} has windows that are not the plan's"
    return ""


def _run(store: Store, trial: Trial, run: Run) -> Iterator[Problem]:
    requests = store.requests(run)
    blocks = [block for block in trial.blocks if block.only(run.arm)]
    if set(requests) != {block.name for block in blocks}:
        yield Problem(run.requests_file, f"has blocks {sorted(requests)}", "they are not those that the arm ran")
        return
    wrong = [f"{block.name}: {what}" for block in blocks for what in _sums(block, run, requests[block.name])]
    if wrong:
        yield from (Problem(run.requests_file, what, "the requests do not add up") for what in wrong)
        return
    parity = next(s.parity for s in store.plan.scenarios if s.name == trial.scenario)
    again = [gates.parity(run.features, parity, run.datapath)]
    for block in blocks:
        again += gates.judge(block, run.arm, requests[block.name], run.readings, run.features)
    if other := difference(_by_gate(again), _by_gate(run.findings)):
        yield Problem(f"{run.arm}.json", f"gates, judged again, differ: {other}", "its labels are not its data's")
    steps = [block for block in blocks if block.kind is BlockKind.LADDER]
    rates = [block.load.rate_per_s for block in steps if gates.kept(block, run.arm, requests[block.name])]
    if run.kept != max(rates, default=None):
        what = f"kept={run.kept}; its ladder says {max(rates, default=None)}"
        yield Problem(f"{run.arm}.json", what, "its knee is wrong")


def _sums(block: Block, run: Run, rows: Rows) -> Iterator[str]:
    """What does not add up in one block of one arm."""
    windows = block.only(run.arm)
    starts = {window.index: (window.start_s * 1e9, (window.start_s + window.duration_s) * 1e9) for window in windows}
    strange = set(rows["window"].tolist()) - set(starts)
    if strange:
        yield f"requests in windows {sorted(strange)} of other arms"
        return
    bounds = np.array([starts[index] for index in rows["window"].tolist()]).reshape(-1, 2)
    due = rows["scheduled_ns"]
    if outside := int(((due < bounds[:, 0] - EDGE_NS) | (due > bounds[:, 1] + EDGE_NS)).sum()):
        yield f"{outside} requests scheduled outside their windows"
    mean = block.load.rate_per_s * sum(window.duration_s for window in windows)
    if abs(len(rows) - mean) > FEWEST_SIGMAS * math.sqrt(mean) + len(windows):
        yield f"{len(rows)} requests where {mean:.0f} were planned"
    yield from _outcomes(rows)
    sent = int((rows["sent_ns"] >= 0).sum())
    said = [(r.metric, r.value) for r in run.readings if (r.meter, r.block) == ("engine", block.name)]
    told = {metric: sum(value for name, value in said if name == metric) for metric, _ in said}  # of all its engines
    warmups, wire = told.get("warmups", 0), told.get("on_wire_requests")
    if wire != sent + warmups:
        yield f"{sent} requests sent and {warmups:.0f} to warm up are not {wire} on the wire"


def _outcomes(rows: Rows) -> Iterator[str]:
    """Each request has an outcome that its times and status agree with."""
    if len(rows) and not 0 <= rows["outcome"].min() <= rows["outcome"].max() < len(OUTCOMES):
        yield "outcomes that do not exist"
    answered = rows["outcome"] == OUTCOMES.index(Outcome.OK)
    in_order = (rows["sent_ns"] >= 0) & (rows["sent_ns"] <= rows["first_byte_ns"])
    in_order &= (rows["first_byte_ns"] <= rows["done_ns"]) & (rows["status"] > 0)
    if wrong := int((answered & ~in_order).sum()):
        yield f"{wrong} answered requests whose times are not in order, or without a status"
    waited = rows["outcome"] == OUTCOMES.index(Outcome.NOT_SENT)
    if wrong := int((waited & (rows["sent_ns"] >= 0)).sum()):
        yield f"{wrong} requests both sent and not sent"


def _by_gate(findings: Iterable[Finding]) -> dict[str, list[Any]]:
    """What gates say, as data; their order and wording do not count."""
    found: dict[str, list[Any]] = {}
    for finding in findings:
        place = found.setdefault(f"{finding.gate} of {finding.block or 'the run'}", [])
        place.append([finding.passed, finding.value, finding.limit])
    return found


def _whole(store: Store) -> Iterator[Problem]:
    """Is the run complete, and does the summary follow from it?"""
    for trial in store.missing():
        yield Problem(f"{TRIALS}/{trial.name}", "was planned and is missing", "the run was interrupted; use --resume")
    for repeat in store.missing_repeats():
        yield Problem(f"{STUDIES}/{repeat.name}", "was planned and is missing", "the run was interrupted; use --resume")
    for turn in store.missing_turns():
        yield Problem(f"{JOURNEYS}/{turn.name}", "was planned and is missing", "the run was interrupted; use --resume")
    for original in store.missing_imports():
        what = "was planned and is missing"
        yield Problem(f"{IMPORTS}/{original.name}", what, "importing was interrupted; import the files anew")
    if not store.sealed:
        yield Problem(SUMMARY, "is missing", "the run was interrupted; use --resume")
        return
    from lab.summary import summarise  # noqa: PLC0415 - it brings scipy, which only strict needs

    if wrong := difference(codec.dump(summarise(store)), codec.dump(store.summary())):
        yield Problem(SUMMARY, f"differs when computed again: {wrong}", "it is not what the trials say; use the trials")


def difference(again: Any, stored: Any, where: str = "") -> str:
    """Where two pieces of JSON data differ, in words; empty: nowhere. Numbers may differ by a share of CLOSE."""
    if isinstance(again, Mapping) and isinstance(stored, Mapping) and again.keys() == stored.keys():
        pairs = [(f"{where}.{key}", again[key], stored[key]) for key in again]
    elif isinstance(again, list) and isinstance(stored, list) and len(again) == len(stored):
        pairs = [(f"{where}[{n}]", a, b) for n, (a, b) in enumerate(zip(again, stored, strict=True))]
    else:
        return "" if _same(again, stored) else f"{where.lstrip('.')}: {stored!r:.80} is stored, {again!r:.80} computed"
    return next((found for name, a, b in pairs if (found := difference(a, b, name))), "")


def _same(a: Any, b: Any) -> bool:
    if {type(a), type(b)} <= {int, float}:
        return math.isclose(a, b, rel_tol=CLOSE, abs_tol=1e-12) or (math.isnan(a) and math.isnan(b))
    return type(a) is type(b) and bool(a == b)
