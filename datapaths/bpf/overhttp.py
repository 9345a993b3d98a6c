"""OTLP over HTTP: the receiver that most spans go to, with all that it imports."""

from __future__ import annotations

import codecs
import http.client
from collections.abc import Sequence

from datapaths.bpf import otlp
from datapaths.bpf.receivers import Later, Refused
from datapaths.bpf.spans import Span

TIMEOUT_S = 2.0
_RETRY = frozenset({429, 502, 503, 504})  # https://opentelemetry.io/docs/specs/otlp/#retryable-response-codes
_LONGEST_AFTER_S = 60.0


class Http:
    """OTLP/HTTP with protobuf, over one connection that is kept."""

    def __init__(self, secure: bool, host: str, port: int | None, path: str, node: str, side: str) -> None:
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        otlp.as_protobuf((), node)  # imports while this process may still read the files; so does the next
        codecs.lookup("idna")
        self._connection = kind(host, port or 4318, timeout=TIMEOUT_S)
        self._path, self._node, self._side = path, node, side

    def send(self, spans: Sequence[Span]) -> int:
        body = otlp.as_protobuf(spans, self._node, self._side)
        headers = {"Content-Type": "application/x-protobuf", "User-Agent": "mesh-datapath-lab"}
        try:
            self._connection.request("POST", self._path, body, headers)
            answer = self._connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Later(error) from error
        if answer.status in _RETRY:
            raise Later(answer.status, _after(answer.getheader("Retry-After")))
        if not 200 <= answer.status < 300:
            raise Refused(answer.status)
        return min(otlp.rejected(said), len(spans))


def _after(text: str | None) -> float:
    """Seconds of a Retry-After field; its other form, a date, is not read."""
    return min(float(text), _LONGEST_AFTER_S) if text is not None and text.strip().isdigit() else 0.0
