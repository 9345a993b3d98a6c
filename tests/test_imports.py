"""The rooms of the house and who may know whom (the table stands in DESIGN.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

DATA = {"lab.record", "lab.question", "lab.behaviour", "lab.foreign"}
PLACES = DATA | {"lab.cluster"}
JUDGES = DATA | {"lab.gates", "lab.stats", "lab.codec"}
ROOMS = {  # room: what it may import of this project, beside itself and lab.compile
    "lab.record": set(),
    "lab.question": {"lab.record"},
    "lab.behaviour": {"lab.record"},
    "lab.foreign": {"lab.record"},
    "lab.compile": DATA,
    "lab.bcc": DATA,
    "lab.codec": DATA,
    "lab.packages": DATA,
    "lab.kernel": DATA,
    "lab.scenario": DATA | {"scenarios"},
    "lab.cluster": DATA,
    "lab.datapath": PLACES | {"datapaths"},
    "lab.workload": PLACES,
    "lab.subject": PLACES | {"datapaths"},
    "lab.study": PLACES | {"lab.datapath", "lab.gates", "lab.load", "lab.meter", "lab.subject", "lab.workload"},
    "lab.load": PLACES,
    "lab.journey": PLACES | {"lab.datapath", "lab.gates", "lab.meter", "lab.workload"},
    "lab.meter": PLACES | {"lab.bcc"},
    "lab.plan": DATA | {"lab.scenario", "lab.datapath"},
    "lab.trial": PLACES | {"lab.datapath", "lab.load", "lab.meter", "lab.gates", "lab.workload"},
    "lab.gates": DATA,
    "lab.stats": DATA,
    "lab.store": JUDGES | {"lab.plan", "lab.summary"},
    "lab.summary": JUDGES | {"lab.store", "lab.plan", "lab.exchange.audit"},
    "lab.sim": JUDGES | {"lab.store", "lab.plan", "lab.summary"},
    "lab.check": JUDGES | {"lab.store", "lab.plan", "lab.summary", "lab.exchange.read"},
    "lab.exchange.read": DATA,
    "lab.exchange.audit": DATA,
    "lab.exchange": JUDGES
    | {"lab.store", "lab.plan", "lab.summary", "lab.report", "lab.exchange.read", "lab.exchange.audit"},
    "lab.claims": JUDGES | {"lab.summary"},
    "lab.regression": JUDGES
    | {"lab.store", "lab.plan", "lab.sim", "lab.summary", "lab.check", "lab.scenario", "lab.datapath"},
    "lab.report": JUDGES
    | {"lab.store", "lab.plan", "lab.sim", "lab.summary", "lab.claims", "lab.check", "lab.regression"},
    "datapaths": PLACES | {"lab.bcc", "lab.datapath", "lab.subject"},
    "scenarios": DATA,
}
FREE = {"lab.cli", "lab.forecast", "lab.doctor", "lab.session", "lab.__main__", "lab"}  # these may know everybody


@cache
def modules() -> dict[str, Path]:
    found = {}
    for folder in ("lab", "datapaths", "scenarios"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def room(module: str) -> str:
    """The room a module is in: the longest known name that it starts with."""
    known = (r for r in (*ROOMS, *FREE) if module == r or module.startswith(f"{r}."))
    return max(known, key=len, default=module)


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            named = ((f"{node.module}.{alias.name}", node.module) for alias in node.names)
            yield from (full if full in modules() else module for full, module in named)


@pytest.mark.parametrize(
    ("module", "file"), list(modules().items()), ids=lambda value: str(value) if isinstance(value, str) else ""
)
def test_every_module_imports_only_what_its_room_may(module: str, file: Path) -> None:
    home = room(module)
    if home in FREE:
        return
    assert home in ROOMS, f"{module} is in no room of the table; add one or move it"
    ours = {room(name) for name in imported(file) if name.split(".")[0] in {"lab", "datapaths", "scenarios"}}
    assert ours <= ROOMS[home] | {home, "lab.compile"}, f"{module} reaches into {sorted(ours - ROOMS[home] - {home})}"


def test_nothing_in_the_lab_names_a_concrete_datapath() -> None:
    names = {f.stem for f in (ROOT / "datapaths").glob("*.py")} - {"__init__"}
    for module, file in modules().items():
        if room(module) in ROOMS and module.startswith("lab."):
            reached = {n for n in imported(file) if n.startswith("datapaths.")}
            assert not reached & {f"datapaths.{n}" for n in names}, module
