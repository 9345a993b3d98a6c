"""What the kernel is given: shares exact to 2^-32, one number for one name, and errors before anything is changed."""

from __future__ import annotations

import random
from typing import Any

import pytest

from datapaths.bpf.alias import WHOLE, slots
from datapaths.bpf.tables import number, place, tables
from lab.record import Mistake

END = {"address": "10.0.0.1", "port": 80}
SERVICE = {"name": "s", "address": "10.1.0.1", "port": 80, "endpoints": [END]}


@pytest.mark.parametrize("seed", range(20))
def test_slots_give_every_choice_its_weight(seed: int) -> None:
    chance = random.Random(seed)
    weights = [chance.choice((1, chance.randint(1, 10), chance.randint(1, 1_000_000))) for _ in range(1 + seed * 13)]
    table, share = slots(weights), [0] * len(weights)
    for i, slot in enumerate(table):
        share[i] += slot.keep
        share[slot.alias] += WHOLE - slot.keep
    for weight, got in zip(weights, share, strict=True):
        wanted = weight * WHOLE * len(weights) / sum(weights)
        assert abs(got - wanted) <= len(weights)  # each slot is cut off to 2^-32


def test_equal_weights_need_no_second_choice() -> None:
    assert all(slot.alias == i for i, slot in enumerate(slots([7] * 5)))


def test_no_choice_is_no_slot() -> None:
    assert slots([]) == ()


def test_the_two_banks_share_no_key() -> None:
    policy = {"connections": [{"from": "a", "to": "*"}]}
    mesh = {"services": [SERVICE], "identities": {"10.0.0.1": "a"}, "policy": policy}
    one, other = (tables(mesh, bank).hashes() for bank in (0, 1))
    assert all(not one[name].keys() & other[name].keys() for name in one)


def test_an_identity_has_the_same_number_everywhere() -> None:
    assert number("client") == 3_331_365_319  # pinned maps of a former agent hold it
    assert number("unknown") == 1
    assert number("client") != number("server")


def test_an_ipv4_address_is_written_as_ipv6_writes_it() -> None:
    assert place("10.0.0.1", 80) == place("::ffff:10.0.0.1", 80)


@pytest.mark.parametrize(
    ("mesh", "says"),
    [
        ({"services": [SERVICE | {"port": 0}]}, "port of s"),
        ({"services": [SERVICE | {"protocol": "sctp"}]}, "tcp, udp"),
        ({"services": [SERVICE, SERVICE]}, "of another"),
        ({"services": [SERVICE | {"prefer": "far"}]}, "near, any"),
        ({"services": [SERVICE | {"address": "s.local"}]}, "no address"),
        ({"services": [SERVICE | {"endpoints": [END | {"weight": 1.5}]}]}, "weight of 10.0.0.1"),
        ({"services": [SERVICE | {"endpoints": [END | {"port": n + 1} for n in range(5000)]}]}, "4096"),
        ({"policy": {"connections": [], "mode": "maybe"}}, "enforce, audit"),
        ({"policy": {"connections": [], "default": "ask"}}, "deny, allow"),
    ],
)
def test_what_cannot_be_done_is_said(mesh: dict[str, Any], says: str) -> None:
    with pytest.raises(Mistake, match=says):
        tables(mesh, 0)
