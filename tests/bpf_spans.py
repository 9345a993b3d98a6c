"""Spans in tests: requests with and without a context, one end of them, and what was exported, read back."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{PARENT}-01"


@dataclass(frozen=True)
class Case:
    """A request's traceparent fields, and what is to be seen: the caller's (trace, parent), or a new root."""

    name: str
    fields: tuple[str, ...]
    called: bool = False
    refused: bool = False
    recorded: bool = True


def _field(value: str) -> tuple[str, ...]:
    return (f"traceparent: {value}",)


def cases() -> tuple[Case, ...]:
    """What W3C Trace Context says of each (level 2, 3.2)."""
    bad = {
        "short": GOOD[:-1],
        "long": GOOD + "0",
        "suffix-of-version-0": GOOD + "-00",
        "upper-trace": GOOD.replace("bf", "BF"),
        "upper-flags": GOOD[:-2] + "0A",
        "no-hex": GOOD.replace("4bf", "4bg"),
        "zero-trace": f"00-{'0' * 32}-{PARENT}-01",
        "zero-parent": f"00-{TRACE}-{'0' * 16}-01",
        "version-ff": "ff" + GOOD[2:],
        "version-no-hex": "0x" + GOOD[2:],
        "later-without-dash": "cc" + GOOD[2:] + "what",
        "other-dashes": GOOD.replace("-", "_"),
        "empty": "",
        "far": " " * 40 + GOOD,
    }
    good = {
        "plain": _field(GOOD),
        "name-in-capitals": (f"TraceParent: {GOOD}",),
        "no-blank": (f"traceparent:{GOOD}",),
        "blanks": (f"traceparent: \t {GOOD} \t ",),
        "later-version": _field("cc" + GOOD[2:]),
        "later-with-suffix": _field("cc" + GOOD[2:] + "-what-the-future-will-be-like"),
        "later-with-long-suffix": _field("cc" + GOOD[2:] + "-" + "x" * 3000),
        "more-flags": _field(GOOD[:-2] + "ff"),
        "among-others": ("A: b", f"traceparent: {GOOD}", "tracestate: x=y", "traceparents: no"),
        "behind-a-long-one": (f"Cookie: {'c' * 3000}", f"traceparent: {GOOD}"),
    }
    return (
        *(Case(name, fields, called=True) for name, fields in good.items()),
        *(Case(name, _field(value), refused=True) for name, value in bad.items()),
        Case("twice", _field(GOOD) * 2, refused=True),
        Case("twice-first-bad", (*_field("x"), *_field(GOOD)), refused=True),
        Case("thrice", _field(GOOD) * 3, refused=True),
        Case("none", ()),
        Case("flag-clear", _field(GOOD[:-2] + "00"), recorded=False),
        Case("flag-clear-others-set", _field(GOOD[:-2] + "fe"), recorded=False),
    )


def request(path: str, *fields: str) -> bytes:
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: server", *fields, "", "")).encode()


def ask(address: str, port: int, requests: list[bytes], cut: int = 0, at_once: bool = False) -> None:
    """Send requests over one connection: in pieces of `cut` bytes, or all `at_once`; await the answers."""
    with socket.create_connection((address, port), 10) as end:
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for group in [requests] if at_once else [[r] for r in requests]:
            data = b"".join(group)
            for at in range(0, len(data), cut or len(data)):
                end.sendall(data[at : at + (cut or len(data))])
                if cut:
                    time.sleep(0.0002)
            left = len(ANSWER) * len(group)
            while left:
                more = end.recv(left)
                assert more, "the server closed"
                left -= len(more)


def serve(address: str, port: int) -> None:
    """Answers every head that ends, until killed; one that asks for /silence gets none and is closed."""
    listening = socket.create_server((address, port), backlog=64)
    print("ready", flush=True)
    while True:
        end, _ = listening.accept()
        threading.Thread(target=_answer, args=(end,), daemon=True).start()


def _answer(end: socket.socket) -> None:
    seen = b""
    with end:
        while more := end.recv(1 << 16):
            seen += more
            while b"\r\n\r\n" in seen:
                head, seen = seen.split(b"\r\n\r\n", 1)
                if b"/silence" in head:
                    return
                end.sendall(ANSWER)


class Collector(HTTPServer):
    """An OTLP/HTTP receiver that decodes protobuf; `answers` are statuses for the next requests, then 200."""

    def __init__(self, port: int = 0) -> None:
        self.spans: list[tuple[dict[str, Any], Any]] = []  # (resource, span)
        self.answers: list[int] = []
        self.asked = 0
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Collector
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp  # noqa: PLC0415

        self.server.asked += 1
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.server.answers.pop(0) if self.server.answers else 200
        if self.path != "/v1/traces" or self.headers["Content-Type"] != "application/x-protobuf":
            status = 400
        if status == 200:
            for group in otlp.ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = plain(group.resource.attributes)
                self.server.spans += [(resource, span) for scope in group.scope_spans for span in scope.spans]
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


def plain(attributes: Any) -> dict[str, Any]:
    """Attributes of protobuf as a dict."""
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in attributes}


def read_back(file: Path) -> list[dict[str, Any]]:
    """Spans of a file of OTLP/JSON lines, each with its attributes as a dict and its resource's under `resource`."""
    found = []
    for line in file.read_text().splitlines():
        for group in json.loads(line)["resourceSpans"]:
            resource = _plain_json(group["resource"]["attributes"])
            for scope in group["scopeSpans"]:
                found += [
                    span | {"attributes": _plain_json(span["attributes"]), "resource": resource}
                    for span in scope["spans"]
                ]
    return found


def _plain_json(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    return {a["key"]: a["value"].get("stringValue", a["value"].get("intValue")) for a in attributes}


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
