"""What `services.h` and `permit.h` look up, made from a mesh: keys and values of each map, as bytes, for one bank."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from datapaths.bpf.address import written
from datapaths.bpf.alias import slots
from lab.record import Mistake

PROTOCOLS = {"tcp": 6, "udp": 17}
MODES = {"enforce": 1, "audit": 2}
DEFAULTS = {"deny": 0, "allow": 1}
PREFERENCES = ("near", "any")
UNKNOWN = "unknown"
_ANY, _UNKNOWN, _NAMED, _FIRST = range(4)  # as in permit.h; identities are numbered from _FIRST
_MOST_WEIGHT = 1_000_000
_MOST_ENDPOINTS = 4096  # of all services together
_NUMBER = struct.Struct("=I")

Json = Mapping[str, Any]
Entries = dict[bytes, bytes]


@dataclass
class Tables:
    """One bank: the hash maps by name, the slots in order, and the bank's settings."""

    services: Entries = field(default_factory=dict)
    members: Entries = field(default_factory=dict)
    identities: Entries = field(default_factory=dict)
    rules: Entries = field(default_factory=dict)
    slots: list[bytes] = field(default_factory=list)
    settings: bytes = bytes(8)

    def hashes(self) -> dict[str, Entries]:
        """Those that are emptied before they are filled."""
        return {name: getattr(self, name) for name in ("services", "members", "identities", "rules")}


def tables(mesh: Json, bank: int) -> Tables:
    """Everything for one bank. `Mistake` says what of the mesh cannot be done; nothing has been changed then."""
    made = Tables()
    for service in mesh.get("services", ()):
        _add_service(made, service, str(mesh.get("node", "")), bank)
    if len(made.members) > _MOST_ENDPOINTS:
        raise Mistake(f"{len(made.members)} endpoints; allowed are {_MOST_ENDPOINTS} of all services together")
    numbers = _numbers(set(mesh.get("identities", {}).values()))
    for address, name in mesh.get("identities", {}).items():
        made.identities[place(address, bank=bank)] = _NUMBER.pack(numbers[name])
    policy = mesh.get("policy", {})
    if "connections" in policy:
        mode, default = _one_of(policy, "mode", MODES, "enforce"), _one_of(policy, "default", DEFAULTS, "deny")
        made.settings = struct.pack("=II", MODES[mode], DEFAULTS[default])
        made.rules = dict.fromkeys(_rules(policy["connections"], bank), _NUMBER.pack(1))
    return made


def place(address: str, port: int = 0, protocol: int = 0, bank: int = 0) -> bytes:
    """`struct place`."""
    return written(address) + struct.pack("!HBB", port, protocol, bank)


def pod(mesh: Json, index: int) -> bytes:
    """`struct pod` of the index-th cgroup: `local` begins with the pods' addresses in the order of `cgroups`."""
    addresses = mesh.get("local", ())
    if index >= len(addresses):
        if "connections" in mesh.get("policy", {}):
            raise Mistake(
                f"{len(mesh['cgroups'])} cgroups and {len(addresses)} local addresses; name each pod's address"
            )
        return bytes(20)
    name = mesh.get("identities", {}).get(addresses[index], UNKNOWN)
    return place(addresses[index])[:16] + _NUMBER.pack(number(name))


def number(name: str) -> int:
    """Of an identity: the same in every agent and after every restart, because it is a hash."""
    if name == UNKNOWN:
        return _UNKNOWN
    digest = int.from_bytes(hashlib.blake2s(name.encode(), digest_size=4).digest(), "big")
    return _FIRST + digest % (2**32 - _FIRST)


def _numbers(names: set[str]) -> dict[str, int]:
    numbers = {name: number(name) for name in names}
    if len(set(numbers.values())) < len(names):
        raise Mistake(f"two of {len(names)} identities hash alike; rename one of them")
    return numbers


def _add_service(made: Tables, service: Json, node: str, bank: int) -> None:
    name, protocol = service.get("name", service["address"]), _one_of(service, "protocol", PROTOCOLS, "tcp")
    key = place(service["address"], _port(service, name), PROTOCOLS[protocol], bank)
    if key in made.services:
        raise Mistake(f"service {name} has the address, port and protocol of another; give each its own")
    endpoints = service.get("endpoints", ())
    for each in endpoints:
        if (":" in each["address"]) != (":" in service["address"]):
            raise Mistake(f"service {name} and its endpoint {each['address']} must be of the same IP version")
        made.members[key + place(each["address"], _port(each, name))] = _NUMBER.pack(1)
    chosen = _preferred(endpoints, node, _one_of(service, "prefer", PREFERENCES, "near"), name)
    first = len(made.slots)
    made.services[key] = struct.pack("=II", 2 * first + bank, len(chosen))
    for end, slot in zip(chosen, slots([_weight(each, name) for each in chosen]), strict=True):
        made.slots.append(
            place(end["address"], end["port"]) + struct.pack("=II", slot.keep, 2 * (first + slot.alias) + bank)
        )


def _preferred(endpoints: Iterable[Json], node: str, prefer: str, name: str) -> list[Json]:
    """Those that new connections go to: of weight above 0; of the same node where there are any."""
    able = [each for each in endpoints if _weight(each, name)]
    near = [each for each in able if prefer == "near" and each.get("node") == node]
    return near or able


def _rules(connections: Iterable[Json], bank: int) -> Iterator[bytes]:
    for rule in connections:
        source, to = (_ANY if rule[end] == "*" else number(rule[end]) for end in ("from", "to"))
        port = _port(rule, f"{rule['from']} to {rule['to']}") if "port" in rule else 0
        yield struct.pack("=IIHH", source, to, port, bank)
        yield struct.pack("=IIHH", _NAMED, to, 0, bank)


def _one_of(given: Json, key: str, allowed: Iterable[str], default: str) -> str:
    value = given.get(key, default)
    if value not in allowed:
        raise Mistake(f"{key} {value!r}; allowed are {', '.join(allowed)}")
    return str(value)


def _port(given: Json, name: str) -> int:
    return _whole(given["port"], 1, 65535, f"port of {name}")


def _weight(endpoint: Json, name: str) -> int:
    return _whole(endpoint.get("weight", 1), 0, _MOST_WEIGHT, f"weight of {endpoint['address']} in {name}")


def _whole(value: Any, lowest: int, highest: int, what: str) -> int:
    if not isinstance(value, int) or not lowest <= value <= highest:
        raise Mistake(f"{what} is {value!r}; allowed are whole numbers from {lowest} to {highest}")
    return value
