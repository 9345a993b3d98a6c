"""What the benches of the eBPF datapath found, in words for docs/ebpf.md: functions of their stored JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Found = Mapping[str, Any]
FAST = "ebpf_fastpath"


def counts(found: Found) -> str:
    """`tests/bpf_disorder.py`: what was sent through a bad network, and what each side counted."""
    links = found["network"].values()
    dropped, late = (sum(link[what] for link in links) for what in ("dropped", "delayed"))
    sides = "; ".join(f"the {side}'s side {_counted(seen)}" for side, seen in sorted(found["counted"].items()))
    return (
        f"{found['requests']:,} requests at {found['rate_per_s']:,}/s through links that dropped {dropped:,} packets "
        f"and let {late:,} be overtaken, {found['succeeded']:,} of them answered. {sides[:1].upper()}{sides[1:]}."
    )


def _counted(seen: Found) -> str:
    lost = sum(seen[what] for what in ("unanswered", "not_http", "holes", "untold", "no_room", "unwatched"))
    return f"counted {seen['requests']:,} requests and {seen['answered']:,} answers, {lost:,} lost or not understood"


def fastpath(found: Found) -> str:
    """`datapaths.bpf.fastpath_bench`: each path's throughput and processor time beside no mesh, round by round."""
    lines = ["| answer | arm | throughput / none | processor time / none |", "| --- | --- | ---: | ---: |"]
    for path, arms in found["found"].items():
        for arm, seen in arms.items():
            if arm != "none":
                ratios = (_ratio(seen[f"{metric}_ratio"]) for metric in ("rate_per_s", "cpu_s_per_request"))
                lines.append(f"| {path.strip('/')} | {arm} | {' | '.join(ratios)} |")
    about = f"{found['connections']} connections; the median of the rounds, the least and the most in brackets."
    return "\n".join([*lines, "", about])


def parser(found: Found) -> str:
    """`tests/bench_bpf_parser.py --against`: what visibility takes a request, now and as it was, block by block."""
    now, then = (found[which]["ns_a_request"]["median"] / 1000 for which in ("now", "then"))
    return (
        f"At {found['rate']:,.0f}/s on {found['connections']} connections visibility takes "
        f"{_ratio(found['ratio']['ns_a_request'])} of what it took in `{found['against']}`: "
        f"{now:.2f} µs a request, and {then:.2f} µs. "
        f"{found['blocks']} blocks of {found['rounds']} rounds; the median, the least and the most of them."
    )


def _ratio(seen: Found) -> str:
    return f"{seen['median']:.2f} [{seen['least']:.2f}, {seen['most']:.2f}]"
