"""Counts as text: OpenMetrics 1.0, or Prometheus' older format (0.0.4) for readers that ask for that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Histogram:
    """`hits[i]` is what fell between `bounds[i - 1]` and `bounds[i]`; one more than bounds: what was above the last."""

    bounds: Sequence[float]
    hits: Sequence[int]
    sum: float

    @property
    def count(self) -> int:
        return sum(self.hits)


@dataclass(frozen=True)
class Family:
    """All samples of one name. A counter's name is without `_total`; a name ends in its unit (seconds, bytes)."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    samples: Sequence[tuple[Labels, float | Histogram]]
    unit: str = ""


def counters(prefix: str, values: Mapping[str, int], helps: Mapping[str, str]) -> list[Family]:
    """A family without labels for each value: `<prefix>_<name>_total`. What has no help is called what it is called."""
    return [
        Family(f"{prefix}_{name}", "counter", helps.get(name, name.replace("_", " ").capitalize() + "."), [({}, value)])
        for name, value in values.items()
    ]


def negotiated(accept: str) -> str:
    """The content type for an Accept header: OpenMetrics where it is named, else the older format."""
    return OPENMETRICS if "application/openmetrics-text" in accept else PROMETHEUS


def text(families: Iterable[Family], kind: str = OPENMETRICS) -> str:
    """A page of one of the two content types. Families of one name are joined: a name may appear once."""
    joined: dict[str, list[Family]] = {}
    for family in families:
        joined.setdefault(family.name, []).append(family)
    new = kind == OPENMETRICS
    lines = [line for found in joined.values() for line in _family(found, new)]
    return "".join(f"{line}\n" for line in (*lines, *(["# EOF"] if new else [])))


def _family(found: Sequence[Family], new: bool) -> Iterator[str]:
    first = found[0]
    name = first.name + ("_total" if first.kind == "counter" and not new else "")
    yield f"# TYPE {name} {first.kind}"
    if new and first.unit:
        yield f"# UNIT {name} {first.unit}"
    yield f"# HELP {name} {_escaped(first.help)}"
    samples = [sample for family in found for sample in family.samples]
    written = _written([value for _, value in samples if isinstance(value, Histogram)])
    for labels, value in samples:
        given = ",".join(f'{key}="{_escaped(word)}"' for key, word in labels.items())
        if isinstance(value, Histogram):
            yield from _histogram(first.name, given, value, written)
        else:
            yield f"{first.name}{'_total' if first.kind == 'counter' else ''}{_braces(given)} {_number(value)}"


def _written(histograms: Sequence[Histogram]) -> list[int]:
    """The bounds on both sides of whatever any of them has hit: the same for all, so that they can be added up.

    Without the lower bound a reader that interpolates would begin at the last bucket that was hit, however far below.
    """
    hit = {i for h in histograms for i, hits in enumerate(h.hits) if hits}
    most = max((len(h.bounds) for h in histograms), default=0)
    return sorted(i for i in hit | {i - 1 for i in hit} if 0 <= i < most)


def _histogram(name: str, labels: str, value: Histogram, written: Sequence[int]) -> Iterator[str]:
    comma, below, done = "," if labels else "", 0, 0
    for i in written:
        below += sum(value.hits[done : i + 1])
        done = i + 1
        yield f'{name}_bucket{{{labels}{comma}le="{value.bounds[i]:.9g}"}} {below}'
    yield f'{name}_bucket{{{labels}{comma}le="+Inf"}} {value.count}'
    yield f"{name}_sum{_braces(labels)} {_number(value.sum)}"
    yield f"{name}_count{_braces(labels)} {value.count}"


def _braces(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.9g}" if value < 1e6 else f"{value:.6f}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
