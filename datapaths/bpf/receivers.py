"""Where spans go: an OTLP/HTTP receiver or a file."""

from __future__ import annotations

import codecs
import http.client
import os
from collections.abc import Sequence
from typing import Protocol
from urllib.parse import urlsplit

from datapaths.bpf import otlp
from datapaths.bpf.spans import Span

TIMEOUT_S = 2.0
_RETRY = frozenset({429, 502, 503, 504})  # https://opentelemetry.io/docs/specs/otlp/#retryable-response-codes
_LONGEST_AFTER_S = 60.0


class Later(Exception):
    """It could not be delivered and may be tried again, `after_s` from now at the earliest."""

    def __init__(self, why: object, after_s: float = 0.0) -> None:
        super().__init__(str(why))
        self.after_s = after_s


class Refused(Exception):
    """It will never be taken."""


class Receiver(Protocol):
    """Takes batches."""

    def send(self, spans: Sequence[Span]) -> int:
        """Deliver; how many of them were rejected. Raises `Later` or `Refused`."""


def receiver(url: str, node: str, side: str) -> Receiver:
    """For `http://host:port` or `https://…` (`/v1/traces` is added where there is no path), or `file:/path`."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return File(os.open(parts.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644), node, side)
    otlp.as_protobuf((), node)  # imports what it needs while this process may still read the files; so does the next
    codecs.lookup("idna")
    path = parts.path if parts.path not in {"", "/"} else "/v1/traces"
    return Http(parts.scheme == "https", parts.hostname or "", parts.port, path, node, side)


class File:
    """OTLP/JSON, a line for each batch."""

    def __init__(self, file: int, node: str, side: str) -> None:
        self._file, self._node, self._side = file, node, side

    def send(self, spans: Sequence[Span]) -> int:
        text = otlp.as_json(spans, self._node, self._side).encode()
        try:
            while text:
                text = text[os.write(self._file, text) :]
        except OSError as error:
            raise Refused(error) from error  # trying again would leave half a line in the middle
        return 0


class Http:
    """OTLP/HTTP with protobuf, over one connection that is kept."""

    def __init__(self, secure: bool, host: str, port: int | None, path: str, node: str, side: str) -> None:
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
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
