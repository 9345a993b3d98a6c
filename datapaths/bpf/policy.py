"""Policy by identity: `policy.bpf.c` loaded and attached to a node's pods, its rules, and what it has counted."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datapaths.bpf import grammar
from datapaths.bpf.address import written
from datapaths.bpf.closing import Closing
from datapaths.bpf.fixed import ANSWERS, FIRST_START, FIXED
from datapaths.bpf.grammar import Automaton, Rules
from datapaths.bpf.libbpf import Map, Object
from datapaths.bpf.names import Names
from datapaths.bpf.openmetrics import Family, counters
from datapaths.bpf.part import Told
from lab import compile
from lab.record import Mistake

SOURCE = Path(__file__).with_name("policy.bpf.c")
FLAGS = ("-mcpu=v3",)
SIDES = ("server", "client")
PROGRAMS = ("policy_in", "policy_connection")

REASONS = (  # as enum reason
    "malformed",
    "rule",
    "upgrade",
    "framing",
    "too_long",
    "unfinished",
    "unseen",
    "resent",
    "urgent",
    "shared",
    "stale",
    "no_memory",
    "connection",
)
TOTALS = (  # as enum total
    "allowed",
    "answered_403",
    "cut",
    "poisoned",
    "late_packets",
    "early_packets",
    "connections",
    *(f"denied_{reason}" for reason in REASONS),
    *(f"audited_{reason}" for reason in REASONS),
)
HELPS: Mapping[str, str] = {
    "allowed": "Requests that a rule allows.",
    "answered_403": "Denied requests that were answered 403.",
    "cut": "Connections whose client may send no more, because a 403 would not have stood in its place.",
    "poisoned": "Connections of which nothing more reaches the server.",
    "late_packets": "Packets dropped on poisoned connections.",
    "early_packets": "Packets dropped because bytes before them were missing; TCP sends them again.",
    "connections": "Connections under L7 policy.",
}
ANYBODY, UNKNOWN, NAMED, _FIRST_NAME = 0, 1, 2, 3
_SMALLEST_ROWS, _SMALLEST = 4096, 256
_GRACE_S = 0.05  # longer than a program runs

_PAIR, _CONNECTION, _U32 = struct.Struct("=III"), struct.Struct("=IIII"), struct.Struct("=I")
_SETTINGS, _GENERATION = struct.Struct("=IIII"), struct.Struct("=II")
_ZERO = _U32.pack(0)

Tables = dict[str, dict[bytes, bytes]]


class Policy(Closing):
    """Enforces `policy` of a mesh on its pods, or counts what it would deny (`mode: audit`); a context manager.

    `sides` are who acts: the server's side guarantees, the client's answers 403. Rules change by `update`, at once and
    for connections that are open too. Maps have room for twice what `mesh` holds.
    """

    def __init__(self, mesh: Told, pins: Path | None = None, sides: Sequence[str] = SIDES) -> None:
        if not sides or not set(sides) <= set(SIDES):
            raise Mistake(f"sides {list(sides)}; allowed are {', '.join(SIDES)}")
        self._names = Names("policy", _FIRST_NAME, pins)
        rules = _Rules(mesh, self._names)
        lines = grammar.automaton(rules.sets())
        self._half = max(_SMALLEST_ROWS, 2 * len(lines.rows))
        self._room = {name: max(_SMALLEST, 2 * len(table)) for name, table in rules.tables(lines, 0).items()}
        self.object = Object(compile.bpf(SOURCE, *FLAGS), pins)
        try:
            self.object.set(".rodata.options", struct.pack("=II", "server" in sides, "client" in sides))
            self.object.resize("rows", FIRST_START + 2 * self._half)
            for name, room in self._room.items():
                self.object.resize(name, 2 * room)
            self.object.load()
            for number, row in FIXED.items():
                self.object.map("rows")[_U32.pack(number)] = row
            self.update(mesh)
            if "client" in sides:
                self.object.attach_map("policy_message", "clients")
                self.object.attach_map("policy_pass", "clients")
            self.object.cover([Path(each) for each in mesh.get("cgroups", ())], PROGRAMS)
        except BaseException:
            self.object.close()
            raise

    @property
    def generation(self) -> int:
        """How many times rules were put in place; its lowest bit is the half of the maps in use."""
        return int(_GENERATION.unpack(self.object.map("generation")[_ZERO])[0])

    def update(self, mesh: Told) -> None:
        """Put other rules in force. `Mistake`, and nothing changed, where they are wrong or need more room."""
        now = self.generation
        following = (now + 1) % 2**32
        half = following & 1
        rules = _Rules(mesh, self._names)
        lines = grammar.automaton(rules.sets(), FIRST_START + half, 2)
        tables = rules.tables(lines, half)
        self._fits(lines, tables)
        self._turn(now, now)
        time.sleep(_GRACE_S)
        rows = self.object.map("rows")
        for number, row in enumerate(lines.rows):
            rows[_U32.pack(FIRST_START + half + 2 * number)] = row
        for name, table in tables.items():
            _replace(self.object.map(name), table, half)
        self.object.map("settings")[_U32.pack(half)] = rules.settings()
        self._turn(following, now)

    def totals(self) -> dict[str, int]:
        """Counters by the names in `TOTALS`."""
        return self.object.map("totals").counters(TOTALS)

    def denied(self) -> int:
        """Requests and connections denied, whatever the reason."""
        return sum(value for name, value in self.totals().items() if name.startswith("denied_"))

    def families(self) -> Iterable[Family]:
        """What /metrics shows: the plain counters, and denials with their reason as a label."""
        totals = self.totals()
        yield from counters("mesh_policy", {name: totals[name] for name in HELPS}, HELPS)
        for kind, words in (("denied", "Denied, by reason."), ("audited", "Would have been denied, by reason.")):
            samples = [({"reason": reason}, totals[f"{kind}_{reason}"]) for reason in REASONS]
            yield Family(f"mesh_policy_{kind}", "counter", words, samples)

    def close(self) -> None:
        """Detach, unless pinned. Idempotent."""
        self.object.close()

    def _turn(self, now: int, oldest: int) -> None:
        self.object.map("generation")[_ZERO] = _GENERATION.pack(now, oldest)

    def _fits(self, lines: Automaton, tables: Tables) -> None:
        sizes = [("rows", len(lines.rows), self._half), *((n, len(t), self._room[n]) for n, t in tables.items())]
        for name, size, room in sizes:
            if size > room:
                raise Mistake(f"{size} {name} of policy, and room for {room}; start the agent anew with these rules")


class _Rules:
    """A mesh's `policy`, read and checked."""

    def __init__(self, mesh: Told, names: Names) -> None:
        policy = mesh.get("policy") or {}
        self.mode, self.default = policy.get("mode", "enforce"), policy.get("default", "deny")
        for key, given, allowed in (
            ("mode", self.mode, ("enforce", "audit")),
            ("default", self.default, ("deny", "allow")),
        ):
            if given not in allowed:
                raise Mistake(f"policy {key} {given!r}; allowed are {', '.join(allowed)}")
        self.requests: list[Mapping[str, Any]] = list(policy.get("requests", ()))
        self.connections: list[Mapping[str, Any]] | None = policy.get("connections")
        self.identities: Mapping[str, str] = mesh.get("identities", {})
        named = [str(rule[end]) for rule in [*self.requests, *(self.connections or ())] for end in ("from", "to")]
        self._numbers = names.numbers([*self.identities.values(), *(n for n in named if n not in {"*", "unknown"})])
        self._numbers |= {"*": ANYBODY, "unknown": UNKNOWN}
        self._pairs = dict(self._pairs_of())

    def sets(self) -> list[Rules]:
        """The rules of each source and destination under L7 policy."""
        return list(self._pairs.values())

    def settings(self) -> bytes:
        """As `struct settings`."""
        return _SETTINGS.pack(self.mode == "enforce", self.connections is not None, self.default == "allow", ANSWERS)

    def tables(self, lines: Automaton, half: int) -> Tables:
        """What goes into the hash maps, by their names."""
        return {
            "identities": {
                written(address) + _U32.pack(half): _U32.pack(self._numbers[name])
                for address, name in self.identities.items()
            },
            "starts": {_PAIR.pack(*pair, half): _U32.pack(lines.starts[rules]) for pair, rules in self._pairs.items()},
            "connections": dict.fromkeys(self._permits(half), _U32.pack(1)),
        }

    def _pairs_of(self) -> Iterator[tuple[tuple[int, int], Rules]]:
        everybody = {name for name in self._numbers if name not in {"*", "unknown"}}
        destinations = {str(rule["to"]) for rule in self.requests}
        if "*" in destinations:
            destinations = everybody
        for to in sorted(destinations):
            wide = self._between("*", to)
            yield (ANYBODY, self._numbers[to]), wide
            # who is not known is nobody: `*` means all that have an identity, unless all is open by default
            stranger = wide if self.default == "allow" else frozenset()
            yield (UNKNOWN, self._numbers[to]), stranger | self._between("unknown", to)
            for source in sorted({str(rule["from"]) for rule in self.requests} - {"*", "unknown"}):
                yield (self._numbers[source], self._numbers[to]), wide | self._between(source, to)

    def _between(self, source: str, to: str) -> Rules:
        return frozenset(
            (str(method), str(route))
            for rule in self.requests
            if rule["from"] == source and rule["to"] in {to, "*"}
            for method in rule["methods"]
            for route in rule["routes"]
        )

    def _permits(self, half: int) -> Iterator[bytes]:
        for rule in self.connections or ():
            to = self._numbers[str(rule["to"])]
            yield _CONNECTION.pack(self._numbers[str(rule["from"])], to, half, int(rule.get("port", 0)))
            yield _CONNECTION.pack(NAMED, to, half, 0)


def _replace(target: Map, table: dict[bytes, bytes], half: int) -> None:
    """Only entries of this half; the half is the third word of pairs and connections and the last of identities."""
    at = 16 if target.name == "identities" else 8
    for key in [k for k in target if k[at : at + 4] == _U32.pack(half) and k not in table]:
        del target[key]
    for key, value in table.items():
        target[key] = value
