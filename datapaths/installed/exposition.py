"""Counters on a page of metrics, in Prometheus' text format or OpenMetrics'; the reading is prometheus-client's."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client.parser import text_string_to_metric_families

from lab.record import Failed

Labels = Mapping[str, str]


def total(page: bytes, name: str, of: Callable[[Labels], bool] = lambda _: True) -> int:
    """The sum of a counter's samples whose labels are as wanted; counters may end in `_total` or, as Envoy's, not.

    None is 0: proxies show a counter only once it has counted. A page without any metric at all is `Failed`.
    """
    try:
        families = list(text_string_to_metric_families(page.decode(errors="replace")))
    except ValueError:
        families = []
    if not any(family.samples for family in families):
        raise Failed(
            f"there is no metric on a page that should have {name}: {page[:80]!r}; are its metrics switched on?"
        )
    samples = (sample for family in families for sample in family.samples)
    return round(sum(s.value for s in samples if s.name in (name, f"{name}_total") and of(s.labels)))
