"""Spans as OpenTelemetry's OTLP says them, in protobuf (for HTTP) and in JSON (for files).

Attributes follow the semantic conventions for HTTP spans (1.23 and later) as far as the kernel knows them: it keeps
neither the URL nor the Host field. https://opentelemetry.io/docs/specs/semconv/http/http-spans/
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from datapaths.bpf.spans import Span

SCOPE = "datapaths.bpf.tracing"
SERVER, CLIENT = "server", "client"
NO_ANSWER = "no_answer"
_KIND = {SERVER: 2, CLIENT: 3}  # Span.SpanKind
_ERROR = 2  # Status.StatusCode
_REMOTE_KNOWN, _REMOTE = 0x100, 0x200  # SpanFlags: whether the parent is in another process is known; it is

Attributes = dict[str, str | int]


def resource(service: str, node: str) -> Attributes:
    """Whose spans they are."""
    return {"service.name": service, "host.name": node}


def attributes(span: Span, side: str) -> Attributes:
    """What is known of a request."""
    known: Attributes = {
        "http.request.method": span.method,
        "url.scheme": "http",
        "network.protocol.version": span.version,
        "server.address": span.destination,
        "http.response.body.size": span.answer_bytes,
    }
    if side == SERVER:
        known["client.address"] = span.source
    if span.route is not None:
        known["http.route"] = span.route
    if span.status:
        known["http.response.status_code"] = span.status
    if failed(span, side):
        known["error.type"] = str(span.status or NO_ANSWER)
    return known


def failed(span: Span, side: str) -> bool:
    """Whether its status is an error: no answer, 5xx, and for a client 4xx too."""
    return not span.status or span.status >= (500 if side == SERVER else 400)


def name(span: Span) -> str:
    """Method and route; never the path as it was, so that there are few."""
    method = "HTTP" if span.method == "_OTHER" else span.method
    return f"{method} {span.route}" if span.route is not None else method


def flags(span: Span) -> int:
    """The context's flags, and that the parent, where there is one, is another process's span."""
    return span.flags | _REMOTE_KNOWN | (_REMOTE if span.called else 0)


def by_service(spans: Iterable[Span], side: str) -> dict[str, list[Span]]:
    """Spans by the name of the service that they belong to: whose connections are watched."""
    found: dict[str, list[Span]] = {}
    for span in spans:
        found.setdefault(span.destination if side == SERVER else span.source, []).append(span)
    return found


def as_protobuf(spans: Iterable[Span], node: str, side: str = SERVER) -> bytes:
    """An ExportTraceServiceRequest."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: PLC0415

    request = ExportTraceServiceRequest()
    for service, own in by_service(spans, side).items():
        group = request.resource_spans.add()
        _fill(group.resource.attributes, resource(service, node))
        scope = group.scope_spans.add()
        scope.scope.name = SCOPE
        for span in own:
            _add(scope.spans.add(), span, side)
    return bytes(request.SerializeToString())


def rejected(answer: bytes) -> int:
    """How many spans a receiver's ExportTraceServiceResponse says it did not take."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse  # noqa: PLC0415

    return int(ExportTraceServiceResponse.FromString(answer).partial_success.rejected_spans)


def _add(message: Any, span: Span, side: str) -> None:
    message.trace_id, message.span_id, message.parent_span_id = span.trace, span.id, span.parent
    message.name, message.kind, message.flags = name(span), _KIND[side], flags(span)
    message.start_time_unix_nano, message.end_time_unix_nano = span.start_ns, span.end_ns
    _fill(message.attributes, attributes(span, side))
    if failed(span, side):
        message.status.code = _ERROR


def _fill(repeated: Any, pairs: Attributes) -> None:
    for key, value in pairs.items():
        pair = repeated.add()
        pair.key = key
        if isinstance(value, int):
            pair.value.int_value = value
        else:
            pair.value.string_value = value


def as_json(spans: Iterable[Span], node: str, side: str = SERVER) -> str:
    """One line of OTLP/JSON: ids in hex and 64-bit numbers as text, as its specification has it."""
    groups = [
        {
            "resource": {"attributes": _pairs(resource(service, node))},
            "scopeSpans": [{"scope": {"name": SCOPE}, "spans": [_object(span, side) for span in own]}],
        }
        for service, own in by_service(spans, side).items()
    ]
    return json.dumps({"resourceSpans": groups}, separators=(",", ":")) + "\n"


def _object(span: Span, side: str) -> dict[str, Any]:
    return {
        "traceId": span.trace.hex(),
        "spanId": span.id.hex(),
        "parentSpanId": span.parent.hex(),
        "flags": flags(span),
        "name": name(span),
        "kind": _KIND[side],
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": _pairs(attributes(span, side)),
        "status": {"code": _ERROR} if failed(span, side) else {},
    }


def _pairs(pairs: Attributes) -> list[dict[str, Any]]:
    kinds = {int: "intValue", str: "stringValue"}
    return [{"key": key, "value": {kinds[type(value)]: str(value)}} for key, value in pairs.items()]
