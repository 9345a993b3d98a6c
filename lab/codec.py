"""Frozen records to JSON and back, always to the same bytes; the reading and checking is pydantic's."""

from __future__ import annotations

import hashlib
import json
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from lab.record import Mistake

T = TypeVar("T")


def dump(value: object) -> Any:
    """A record as JSON data. Equal records give equal data: sets sorted, numbers of the type their field declares."""
    adapter = _adapter(type(value))
    once = _text(adapter.dump_python(value, warnings=False))
    return json.loads(_text(adapter.dump_python(adapter.validate_json(once), warnings=False)))


def load(kind: type[T], data: object) -> T:
    """The record that `dump` made `data` from; `Mistake` names the first field that does not fit."""
    try:
        found: T = _adapter(kind).validate_json(text(data), strict=True)
    except ValidationError as wrong:
        first = wrong.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Mistake(
            f"not a {kind.__name__}: {where}: {first['msg']}; the file was made by another version or changed"
        ) from None
    return found


def dumps(value: object) -> str:
    """Anything made of records as JSON text for other programs; not meant to be read back."""
    return _text(plain(value), indent=1)


def plain(value: object) -> Any:
    """Anything made of records, paths and numbers as JSON data; not meant to be read back into records."""
    return to_jsonable_python(value, inf_nan_mode="constants")


def text(data: object) -> bytes:
    """JSON data as bytes: sorted keys, one space of indent, a final newline. NaN is written as Python writes it."""
    return _text(data, indent=1).encode() + b"\n"


def parse(raw: bytes) -> Any:
    """JSON data of `raw`; `Mistake` where it is no JSON."""
    try:
        return json.loads(raw)
    except ValueError as wrong:
        raise Mistake(f"not JSON: {wrong}") from None


def sha256(raw: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(raw).hexdigest()


_ADAPTERS: dict[type, TypeAdapter[Any]] = {}  # making one takes milliseconds


def _adapter(kind: type) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def _text(data: object, indent: int | None = None) -> str:
    return json.dumps(data, default=_plain, sort_keys=True, indent=indent)


def _plain(value: Any) -> object:
    return sorted(value) if isinstance(value, set | frozenset) else value.item()  # .item(): numpy's numbers
