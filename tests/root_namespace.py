"""What a deployment must not change: the root namespace as text, to be compared byte for byte."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

# Counters that other programs of the machine move at any time; all else below /proc/sys/net must stay.
_ALIVE = ("nf_conntrack_count", "rt_cache_rebuild_count", "tcp_fastopen_key", "base_reachable_time")


def snapshot() -> str:
    """Links, addresses, routes, rules, nftables, sysctls, names of namespaces and mounts, one fact a line."""
    return "\n".join([*_netlink(), *_nftables(), *_sysctls(), *_names(), *_mounts()])


def _netlink() -> Iterator[str]:
    with IPRoute() as link:
        for message in link.get_links():
            yield f"link {message.get('ifname')} {message['index']} {message['flags']} {message.get('mtu')}"
        for what, messages in (("address", link.get_addr()), ("route", link.get_routes()), ("rule", link.get_rules())):
            yield from sorted(f"{what} {_stable(dict(message['attrs']))}" for message in messages)


def _stable(attributes: dict[str, Any]) -> str:
    kept = {name: value for name, value in attributes.items() if not name.endswith(("CACHEINFO", "STATS"))}
    return json.dumps(kept, sort_keys=True, default=str)


def _nftables() -> Iterator[str]:
    if shutil.which("nft"):
        done = subprocess.run(["nft", "-j", "list", "ruleset"], capture_output=True, text=True, check=True)
        yield from (f"rule {json.dumps(each, sort_keys=True)}" for each in json.loads(done.stdout)["nftables"])


def _sysctls() -> Iterator[str]:
    for path in sorted(Path("/proc/sys/net").rglob("*")):
        if path.is_file() and path.name not in _ALIVE and not path.name.startswith("base_reachable"):
            try:
                yield f"sysctl {path} {path.read_text().strip()}"
            except OSError:  # write-only, such as route/flush
                continue


def _names() -> Iterator[str]:
    for folder in (Path("/run/netns"), Path("/var/run/netns")):
        yield from (f"namespace {path}" for path in sorted(folder.glob("*")))


def _mounts() -> Iterator[str]:
    yield from (f"mount {line}" for line in Path("/proc/self/mountinfo").read_text().splitlines())
