"""Where spans go: an OTLP/HTTP receiver or a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol
from urllib.parse import urlsplit

from datapaths.bpf import otlp
from datapaths.bpf.spans import Span


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
    from datapaths.bpf.overhttp import Http  # noqa: PLC0415 - weighs some megabytes, and files go without

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
