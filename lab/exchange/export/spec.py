"""The messages of Service Mesh Performance that an export fills, described here and built at run time.

Names and numbers of fields are those of its specification, package `smp`, version 0.6.1 (protos/metadata.proto,
service_mesh.proto, service_mesh_performance.proto at
https://github.com/service-mesh-performance/service-mesh-performance).
Fields that the lab has nothing for are not described; proto3 readers take them as empty.
"""

from __future__ import annotations

from google.protobuf import (  # type: ignore[import-untyped, unused-ignore]
    descriptor_pb2,
    descriptor_pool,
    message,
    message_factory,
    timestamp_pb2,
)

VERSION = "0.6.1"
PACKAGE, FILE = "smp", "mesh-datapath-lab/smp.proto"
F = descriptor_pb2.FieldDescriptorProto
SCALARS = {
    "string": F.TYPE_STRING,
    "int32": F.TYPE_INT32,
    "int64": F.TYPE_INT64,
    "double": F.TYPE_DOUBLE,
    "bool": F.TYPE_BOOL,
}
MESSAGES: dict[str, tuple[tuple[int, str, str], ...]] = {  # (number, type, name); map: string to string
    "PerformanceTestConfig.Client": (
        (1, "bool", "internal"),
        (2, "string", "load_generator"),
        (3, "enum PerformanceTestConfig.Client.Protocol", "protocol"),
        (4, "int32", "connections"),
        (5, "int64", "rps"),
        (10, "repeated string", "endpoint_urls"),
        (12, "string", "additional_options"),
    ),
    "PerformanceTestConfig": (
        (1, "string", "smp_version"),
        (2, "string", "id"),
        (3, "string", "name"),
        (4, "map", "labels"),
        (5, "repeated PerformanceTestConfig.Client", "clients"),
        (6, "string", "duration"),
    ),
    "PerformanceTestResult.Latency": (
        (1, "double", "min"),
        (2, "double", "average"),
        (3, "double", "p50"),
        (4, "double", "p90"),
        (5, "double", "p99"),
        (6, "double", "max"),
    ),
    "PerformanceTestResult": (
        (1, "string", "smp_version"),
        (2, "string", "id"),
        (3, "map", "labels"),
        (4, "google.protobuf.Timestamp", "start_time"),
        (5, "google.protobuf.Timestamp", "end_time"),
        (6, "PerformanceTestResult.Latency", "latencies_ms"),
        (7, "double", "actual_qps"),
        (8, "string", "details_uri"),
        (9, "string", "test_id"),
    ),
}
PROTOCOLS = ("PROTOCOL_INVALID", "PROTOCOL_HTTP", "PROTOCOL_TCP", "PROTOCOL_UDP", "PROTOCOL_GRPC")
HTTP = 1


def classes() -> dict[str, type[message.Message]]:
    """A class for each of MESSAGES, in a pool of its own: another package's `smp` does not meet it."""
    pool = descriptor_pool.DescriptorPool()
    stamps = descriptor_pb2.FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(stamps)
    pool.Add(stamps)
    pool.Add(_file(stamps.name))
    names = {name: f"{PACKAGE}.{name}" for name in MESSAGES}
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(full)) for name, full in names.items()}


def _file(stamps: str) -> descriptor_pb2.FileDescriptorProto:
    made = descriptor_pb2.FileDescriptorProto(name=FILE, package=PACKAGE, syntax="proto3", dependency=[stamps])
    for outer in ("PerformanceTestConfig", "PerformanceTestResult"):
        whole = made.message_type.add(name=outer)
        _fill(whole, outer)
        for inner in (name for name in MESSAGES if name.startswith(f"{outer}.")):
            _fill(whole.nested_type.add(name=inner.rpartition(".")[2]), inner)
    client = made.message_type[0].nested_type[-1]
    kinds = client.enum_type.add(name="Protocol")
    for number, name in enumerate(PROTOCOLS):
        kinds.value.add(name=name, number=number)
    return made


def _fill(made: descriptor_pb2.DescriptorProto, name: str) -> None:
    for number, told, field in MESSAGES[name]:
        if told == "map":
            _map(made, name, number, field)
            continue
        kind = told.removeprefix("repeated ")
        added = made.field.add(name=field, number=number)
        added.label = F.LABEL_OPTIONAL if kind == told else F.LABEL_REPEATED
        if kind in SCALARS:
            added.type = SCALARS[kind]
        elif kind.startswith("enum "):
            added.type, added.type_name = F.TYPE_ENUM, f".{PACKAGE}.{kind.removeprefix('enum ')}"
        else:
            full = kind if kind.startswith("google.") else f"{PACKAGE}.{kind}"
            added.type, added.type_name = F.TYPE_MESSAGE, f".{full}"


def _map(made: descriptor_pb2.DescriptorProto, name: str, number: int, field: str) -> None:
    """`map<string, string>`: a repeated message of key and value, as protobuf writes it."""
    entry = made.nested_type.add(name=f"{field.title()}Entry")
    entry.options.map_entry = True
    for key, place in (("key", 1), ("value", 2)):
        entry.field.add(name=key, number=place, type=F.TYPE_STRING, label=F.LABEL_OPTIONAL)
    made.field.add(
        name=field,
        number=number,
        label=F.LABEL_REPEATED,
        type=F.TYPE_MESSAGE,
        type_name=f".{PACKAGE}.{name}.{entry.name}",
    )
