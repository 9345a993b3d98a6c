"""Addresses as the programs compare them."""

from __future__ import annotations

import ipaddress

from lab.record import Mistake


def written(address: str) -> bytes:
    """An address as IPv6 writes it: 16 bytes, IPv4 as ::ffff:a.b.c.d."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError as error:
        raise Mistake(f"{address!r} is no address; give IPv4 or IPv6 in numbers") from error
    return known.packed if known.version == 6 else bytes(10) + b"\xff\xff" + known.packed
