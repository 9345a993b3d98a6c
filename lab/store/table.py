"""Raw requests as a Parquet table: one row a request, one row group a block, lossless and about 10 bytes a row.

In the file `sent_ns`, `first_byte_ns` and `done_ns` are differences (sent - scheduled, first byte - sent, done - first
byte), which are small, and empty where it never happened (-1). Readers of this module get back what was written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from lab.record import Mistake

REQUEST = np.dtype(
    [
        ("window", "<i4"),
        ("scheduled_ns", "<i8"),
        ("sent_ns", "<i8"),
        ("first_byte_ns", "<i8"),
        ("done_ns", "<i8"),
        ("connection", "<i4"),
        ("status", "<i2"),  # 0: no answer
        ("outcome", "i1"),  # position in lab.record.OUTCOMES
    ]
)
"""One request; times are since the block's epoch, -1 where it never happened."""

Rows = npt.NDArray[Any]
NEVER = -1
TIMES = ("scheduled_ns", "sent_ns", "first_byte_ns", "done_ns")
_LATER = TIMES[1:]
_RISING = ("window", "scheduled_ns")
_FEW = ("block", "status", "outcome")
_ENCODING = {
    **dict.fromkeys(_RISING, "DELTA_BINARY_PACKED"),
    **dict.fromkeys((*_LATER, "connection"), "BYTE_STREAM_SPLIT"),
}
_BLOCKS = b"blocks"


def pack(blocks: Mapping[str, Rows], facts: Mapping[str, str]) -> bytes:
    """A Parquet file of every block's requests; `facts` go into its metadata."""
    sink = pa.BufferOutputStream()
    names = json.dumps({name: len(rows) for name, rows in blocks.items()})
    schema = _schema().with_metadata({**facts, _BLOCKS.decode(): names})
    with pq.ParquetWriter(
        sink, schema, compression="zstd", use_dictionary=list(_FEW), column_encoding=_ENCODING
    ) as writer:
        for name, rows in blocks.items():
            if len(rows):
                writer.write_table(_differences(name, _checked(name, rows), schema), row_group_size=len(rows))
    return bytes(sink.getvalue())


def unpack(path: Path) -> dict[str, Rows]:
    """What `pack` was given, by block."""
    table = read(path)
    sizes = json.loads(table.schema.metadata[_BLOCKS])
    found, start = {}, 0
    for name, size in sizes.items():
        rows = np.empty(size, dtype=REQUEST)
        for column in REQUEST.names or ():
            rows[column] = table.column(column).slice(start, size).to_numpy()
        found[name] = rows
        start += size
    return found


def read(path: Path) -> pa.Table:
    """All requests as one table with the columns `block` and those of REQUEST; times since each block's epoch."""
    table = pq.read_table(path, partitioning=None)
    before = table.column("scheduled_ns").to_numpy()
    for name in _LATER:
        gap = table.column(name)
        happened = gap.is_valid().to_numpy(zero_copy_only=False)
        times = np.where(happened, gap.fill_null(0).to_numpy() + before, NEVER)
        table = table.set_column(table.column_names.index(name), name, pa.array(times))
        before = np.where(happened, times, before)
    return table


def pack_series(rows: Sequence[Mapping[str, Any]] | Rows, facts: Mapping[str, str]) -> bytes:
    """A Parquet file of a series: mappings with equal keys, or a structured array."""
    if isinstance(rows, np.ndarray):
        series = pa.table({name: rows[name] for name in rows.dtype.names or ()})
    else:
        series = pa.Table.from_pylist([dict(row) for row in rows])
    sink = pa.BufferOutputStream()
    pq.write_table(series.replace_schema_metadata(dict(facts)), sink, compression="zstd")
    return bytes(sink.getvalue())


def unpack_series(path: Path, columns: Sequence[tuple[str, str]]) -> Rows:
    """What `pack_series` was given as a structured array of these columns."""
    found = pq.read_table(path, partitioning=None)
    rows = np.empty(len(found), dtype=list(columns))
    for name, _ in columns:
        rows[name] = found.column(name).to_numpy()
    return rows


def facts(path: Path) -> dict[str, str]:
    """What the file says of itself."""
    metadata = pq.read_schema(path).metadata or {}
    return {key.decode(): value.decode() for key, value in metadata.items() if key != b"ARROW:schema"}


def _schema() -> pa.Schema:
    block = pa.field("block", pa.dictionary(pa.int32(), pa.string()), nullable=False)
    columns = [pa.field(name, pa.from_numpy_dtype(REQUEST[name]), name in _LATER) for name in REQUEST.names or ()]
    return pa.schema([block, *columns])


def _differences(block: str, rows: Rows, schema: pa.Schema) -> pa.Table:
    columns = {name: pa.array(rows[name]) for name in REQUEST.names or ()}
    before = rows["scheduled_ns"]
    for name in _LATER:
        never = rows[name] == NEVER
        columns[name] = pa.array(rows[name] - before, mask=never)
        before = np.where(never, before, rows[name])
    columns["block"] = pa.DictionaryArray.from_arrays(np.zeros(len(rows), dtype=np.int32), [block])
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _checked(block: str, rows: Rows) -> Rows:
    if rows.dtype.names != REQUEST.names:
        raise Mistake(f"requests of block {block} have columns {rows.dtype.names}; they must be {REQUEST.names}")
    return rows.astype(REQUEST, copy=False)
