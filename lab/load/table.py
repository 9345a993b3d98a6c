"""The bench's stored numbers as a Markdown table, for the terminal and for docs/load-generators.md."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, median
from typing import Any

SAMPLED = ("user_us", "system_us")  # the kernel splits CPU time by sampling at its ticks: single runs say little

COLUMNS = {  # heading: (measure, decimals)
    "requests/s": ("rate_per_s", 0),
    "user CPU": ("user_us", 1),
    "system CPU": ("system_us", 1),
    "lag p50": ("lag_p50_us", 1),
    "lag p99": ("lag_p99_us", 0),
    "p50 from schedule": ("from_schedule_p50_us", 0),
    "p50 from send": ("from_send_p50_us", 0),
    "p99 from schedule": ("from_schedule_p99_us", 0),
    "p99 from send": ("from_send_p99_us", 0),
    "sent < 20 µs after another": ("bursts", 2),
}

PROMISES = (  # generator, measure, at most, in words
    ("steady, sleeping", "user_us", 15.0, "user CPU a request"),
    ("steady, sleeping", "lag_p50_us", 60.0, "lag p50"),
    ("steady, spinning", "lag_p50_us", 5.0, "lag p50"),
)

START = "<!-- made by lab.load.table:markdown from data/load-generators.json -->"
END = "<!-- end of what was made -->"


def table(result: Mapping[str, Any]) -> str:
    """A row per generator: the median over repetitions (of CPU the mean), smallest and largest in brackets; µs."""
    head = ["generator", *COLUMNS]
    rows = [
        [name, *(_cell(result, name, measure, digits) for measure, digits in COLUMNS.values())]
        for name in dict.fromkeys(run["generator"] for run in sorted(result["runs"], key=lambda r: r["generator"]))
    ]
    lines = [head, ["---", *["---:"] * len(COLUMNS)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def promises(result: Mapping[str, Any]) -> list[str]:
    """What the engine promises of itself at 10,000/s on 100 connections, and whether this run kept it."""
    lines = []
    for name, measure, most, words in PROMISES:
        word = "kept" if _middle(result, name, measure) <= most else "missed"
        lines.append(f"{name}: {words} at most {most:g} µs: {word} ({_cell(result, name, measure, 1)} µs)")
    return lines


def about(result: Mapping[str, Any]) -> str:
    """One sentence that says what was run, where and when."""
    asked, machine = result["asked"], result["machine"]
    kind = "virtual machine" if machine["virtual"] else "machine"
    return (
        f"{result['date']}, a {kind} with {machine['cores']} cores ({machine['processor']}, "
        f"Linux {machine['kernel']}), shared with other work (load average {machine['load_average']:.1f}, "
        f"{machine['steal_share']:.1%} of its time stolen): "
        f"{asked['rate_per_s']:,.0f} requests/s asked on {asked['connections']} connections, one nginx worker, "
        f"{asked['repetitions']} interleaved repetitions of {asked['duration_s']:g} s."
    )


def renew(page: str, result: Mapping[str, Any]) -> str:
    """The page with what stands between its two table marks made anew."""
    before, rest = page.split(START)
    _, after = rest.split(END)
    return f"{before}{START}\n{markdown(result)}\n{END}{after}"


def markdown(result: Mapping[str, Any]) -> str:
    """What stands between the marks: where it was run, the table, and which promises were kept."""
    said = "\n".join(f"- {line}" for line in promises(result))
    return f"{about(result)}\n\n{table(result)}\n\n{said}"


def _values(result: Mapping[str, Any], name: str, measure: str) -> list[float]:
    return [run[measure] for run in result["runs"] if run["generator"] == name and measure in run]


def _middle(result: Mapping[str, Any], name: str, measure: str) -> float:
    values = _values(result, name, measure)
    return fmean(values) if measure in SAMPLED else median(values)


def _cell(result: Mapping[str, Any], name: str, measure: str, digits: int) -> str:
    values = _values(result, name, measure)
    if not values:
        return "–"
    middle, least, most = (f"{v:,.{digits}f}" for v in (_middle(result, name, measure), min(values), max(values)))
    return f"{middle} [{least}, {most}]"


if __name__ == "__main__":  # python -m lab.load.table docs/load-generators.md docs/data/load-generators.json
    import json

    page, data = (Path(name) for name in sys.argv[1:3])
    page.write_text(renew(page.read_text(), json.loads(data.read_text())))
