"""One stream of aggregated discovery: requests are answered, changes are pushed, the proxy's answers are timed."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from datapaths.proxy.xds import resources as xds

PATH = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"


@dataclass
class Sent:
    """An update on its way: when it was sent, its size on the wire, how many resources it has."""

    at_ns: int
    bytes: int
    resources: int


@dataclass
class Stream:
    """`known` are the resources by kind and name; `say` is told of every answer of the proxy."""

    known: Mapping[str, Mapping[str, Any]]
    say: Callable[[Mapping[str, Any]], None]
    events: queue.Queue[Any] = field(default_factory=queue.Queue)
    asked: dict[str, tuple[str, ...]] = field(default_factory=dict)  # names by kind that the proxy wants
    version: int = 0
    waiting: dict[str, Sent] = field(default_factory=dict)  # by nonce

    def push(self, kind: str, names: Sequence[str]) -> None:
        """Send these resources, as they are now, without being asked."""
        self.events.put((kind, tuple(names)))

    def answers(self, requests: Iterator[bytes]) -> Iterator[bytes]:
        """Updates for the proxy, until `None` is put into `events`. `requests` are read by whoever calls `hear`."""
        while (event := self.events.get()) is not None:
            kind, names = event if isinstance(event, tuple) else self._asked(event)
            if names is not None:
                yield self._update(kind, names)

    def hear(self, requests: Iterator[bytes]) -> None:
        """Read the proxy's requests until it hangs up."""
        try:
            for raw in requests:
                self.events.put(xds.request(raw))
        finally:
            self.events.put(None)

    def _asked(self, request: Any) -> tuple[str, tuple[str, ...] | None]:
        """What to send for a request; None where it only answers an update."""
        kind = xds.URLS.get(request.type_url, "")
        self._judge(kind, request)
        names = tuple(request.resource_names)
        before = self.asked.get(kind)
        if not kind or before == names:
            return kind, None
        self.asked[kind] = names
        if kind in xds.ALWAYS_WHOLE:
            return kind, tuple(self.known[kind])
        return kind, tuple(n for n in names if n not in (before or ())) or None

    def _judge(self, kind: str, request: Any) -> None:
        sent = self.waiting.pop(request.response_nonce, None)
        if sent is not None:
            refused = request.error_detail.message if request.error_detail else ""
            took_s = (time.monotonic_ns() - sent.at_ns) / 1e9
            told = {"kind": kind, "bytes": sent.bytes, "resources": sent.resources, "applied_s": took_s}
            self.say(told | {"version": request.response_nonce, "refused": refused})

    def _update(self, kind: str, names: Sequence[str]) -> bytes:
        self.version += 1
        raw = xds.response(kind, self.version, [self.known[kind][n] for n in names if n in self.known[kind]])
        self.waiting[f"{kind}-{self.version}"] = Sent(time.monotonic_ns(), len(raw), len(names))
        return raw
