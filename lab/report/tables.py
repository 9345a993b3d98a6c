"""What a summary says, table by table: the page, Markdown and the terminal print the same cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Protocol, TypeVar

from lab.record import OUTCOMES, Outcome
from lab.report import looks, units
from lab.report.figures import cost as costs
from lab.report.table import Table
from lab.summary import Estimate, Latency, Summary


class _OfAnArm(Protocol):
    @property
    def arm(self) -> str: ...


Item = TypeVar("Item", bound=_OfAnArm)
MOST = 10.0  # a larger share of noise says no more than that nothing can be said
METRICS = ("p50", "mean", "p99")


def latency(summary: Summary) -> Table:
    """Every arm under every load: from schedule, from send, the engine's lateness."""
    entries = sorted(in_order(summary, summary.latencies), key=lambda x: (x.scenario, x.service_time_s, x.rate_per_s))
    rows = tuple((*_carried(x), *_times(x)) for x in entries)
    carried = ("load", "arm", "requests", "windows valid / void", "answered in time", "other outcomes")
    times = ("p50 ms", "mean ms", "p90 ms", "p99 ms", "p99.9 ms", "service p50 ms", "lag p50 ms", "lag p99 ms")
    hints = (
        ("p50 … p99.9", "response time, from schedule; p99.9 needs 100,000 requests"),
        ("service", "from the actual send"),
        ("lag", "sent − scheduled, waiting for a free connection included"),
    )
    return Table("latency", carried + times, rows, 2, hints)


def _carried(x: Latency) -> tuple[str, ...]:
    wrong = {name: n for name, n in x.outcomes.items() if name != Outcome.OK and n}
    return (
        units.load_words(x.rate_per_s, x.service_time_s),
        x.arm,
        units.count(x.requests),
        f"{units.count(x.windows)} / {units.count(x.windows_void)}",
        units.percent(x.achieved, 2),
        ", ".join(f"{n:,} {name}" for name, n in sorted(wrong.items(), key=_by_outcome)) or "none",
    )


def _times(x: Latency) -> tuple[str, ...]:
    response = (x.response_p50_s, x.response_mean_s, x.response_p90_s, x.response_p99_s, x.response_p999_s)
    return tuple(units.ms(t) for t in (*response, x.service_p50_s, x.lag_p50_s, x.lag_p99_s))


def _by_outcome(item: tuple[str, int]) -> int:
    return [str(o) for o in OUTCOMES].index(item[0]) if item[0] in OUTCOMES else len(OUTCOMES)


def contrasts(summary: Summary) -> Table:
    """Every arm against the baseline under every load it can carry."""
    entries = sorted(
        in_order(summary, summary.contrasts),
        key=lambda c: (
            c.scenario,
            c.service_time_s,
            c.rate_per_s,
            METRICS.index(c.metric) if c.metric in METRICS else 9,
        ),
    )
    rows = tuple(
        (
            units.load_words(c.rate_per_s, c.service_time_s),
            c.metric,
            c.arm,
            c.verdict,
            units.ratio(c.ratio.value),
            units.interval(c.ratio),
            units.ratio(c.geometric_ratio.value),
            units.difference_ms(c.difference_s.value),
            units.difference_interval(c.difference_s),
            _within(c.noise_floor),
            _within(c.detectable),
            units.p_value(c.wilcoxon_p if c.rounds else None),
            units.p_value(c.holm_p if c.rounds else None),
            f"{units.count(c.deployments)} / {units.count(c.rounds)}",
        )
        for c in entries
    )
    ratios = ("load", "metric", "arm", "verdict", "ratio", "95 % interval", "geometric mean")
    rest = (
        "difference ms",
        "95 % interval ms",
        "A/A noise",
        "detectable",
        "Wilcoxon p",
        "Holm p",
        "deployments / rounds",
    )
    hints = (
        ("ratio", "arm / baseline within the same round; Hodges-Lehmann median of the rounds"),
        ("A/A noise", "half width of the interval between two arms that are the same"),
        ("detectable", "the smallest effect that this much data can show"),
        ("Holm p", "Wilcoxon signed-rank, corrected for the number of contrasts"),
    )
    return Table("contrasts", ratios + rest, rows, 4, hints)


def _within(share: float) -> str:
    if not isfinite(share):
        return units.NOTHING
    return f"±{units.percent(share)}" if share < MOST else f"above {units.percent(MOST, 0)}"


def capacity(summary: Summary) -> Table:
    """How far each arm got up the ladder."""
    rows = tuple(
        (
            c.scenario,
            c.arm,
            units.rate(c.kept_per_s) if c.kept_per_s is not None else "no step",
            f"SATURATED at {units.rate(c.saturated_per_s)}" if c.saturated_per_s is not None else "not reached",
            ", ".join(map(_step, sorted(c.steps))) or units.NOTHING,
        )
        for c in in_order(summary, summary.capacities)
    )
    columns = ("scenario", "arm", "keeps", "knee", "rates offered, requests/s; why, where not kept")
    return Table("capacity", columns, rows, 5)


def _step(step: tuple[float, float, float, float, bool]) -> str:
    rate, achieved, p50, _, kept = step
    if kept:
        return units.count(rate)
    return f"{units.count(rate)} ({units.percent(achieved, 2)} in time, p50 {units.time(p50)})"


def cost(summary: Summary) -> Table:
    """CPU time per request in µs, by part and kind, each with its interval."""
    keys = list(dict.fromkeys(k for c in summary.costs for k in c.per_request_s))
    keys.sort(key=lambda k: (k == "bpf", k == "total", costs.place(k.partition(".")[0]), not k.endswith("user"), k))
    entries = sorted(in_order(summary, summary.costs), key=lambda c: (c.scenario, c.rate_per_s))
    rows = tuple(
        (
            c.scenario,
            units.rate(c.rate_per_s),
            c.arm,
            units.count(c.requests),
            *(_spent(c.per_request_s, k) for k in keys),
        )
        for c in entries
    )
    return Table("cost", ("scenario", "load", "arm", "requests", *keys), rows, 3)


def _spent(per_request_s: Mapping[str, Estimate], key: str) -> str:
    e = per_request_s.get(key)
    if e is None or not isfinite(e.value):
        return units.NOTHING
    low, value, high = (units.us(x) for x in (e.low, e.value, e.high))
    return value if low == high else f"{value} [{low} to {high}]"


def memory(summary: Summary) -> Table:
    """What each part of each arm holds, in MiB."""
    rows = tuple(
        (
            m.scenario,
            m.load,
            m.arm,
            m.part,
            units.count(m.processes),
            *(units.mib(size) for size in (m.private_bytes, m.pss_bytes, m.rss_bytes, m.bpf_bytes)),
        )
        for m in sorted(in_order(summary, summary.memories), key=lambda m: (m.scenario, m.load))
    )
    hints = (
        ("private", "pages of this process alone: what one more of it costs"),
        ("PSS", "shared pages split between those who share them"),
        ("RSS", "shared pages counted in full, once a process"),
        ("BPF", "maps and programs, as the kernel charges them"),
    )
    head = ("scenario", "load", "arm", "part", "processes", "private MiB", "PSS MiB", "RSS MiB", "BPF MiB")
    return Table("memory", head, rows, 4, hints)


def sockets(summary: Summary) -> Table:
    """Connections on the path and their memory, against the formula."""
    rows = tuple(
        (
            s.scenario,
            s.arm,
            units.count(s.connections),
            units.count(s.observed_per_connection),
            units.count(s.expected_per_connection),
            units.count(s.traced_per_connection),
            units.size(s.memory_bytes_per_connection),
            ", ".join(f"{place} {units.count(n)}" for place, n in s.hops.items() if n) or units.NOTHING,
        )
        for s in sorted(in_order(summary, summary.sockets), key=lambda s: (s.scenario, s.connections))
    )
    columns = ("scenario", "arm", "app connections", "observed each", "formula", "traced each")
    hints = (("observed", "TCP connections counted in every namespace"), ("traced", "the BPF tracepoint's own count"))
    return Table("sockets", (*columns, "socket memory each", "sockets by place"), rows, 2, hints, notes=1)


def in_order(summary: Summary, items: Iterable[Item]) -> list[Item]:
    """Anything of arms, in the order of arms that every table and figure keeps."""
    place = {arm: number for number, arm in enumerate(looks.order(summary))}
    return sorted(items, key=lambda one: place[one.arm])
