"""Columns of a corpus file: which there are, and values behind dotted names."""

from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.io import get_datafolder

from prox.compressed import Lines, open_binary
from prox.corpus_access import BROKEN_FILE, open_file
from prox.warc_records import read_warc_records

MISSING = object()


def take(data: dict[str, Any], name: str) -> Any:
    """Takes a value out of a record, or gives ``MISSING``. A dotted name is a key of that name, or leads through
    objects, also through those that are stored as JSON in a string.
    """
    if name in data:
        return data.pop(name)
    for dot in (index for index, sign in enumerate(name) if sign == "."):
        parent, rest = name[:dot], name[dot + 1 :]
        inner = parse_object(data.get(parent))
        if inner is not None and (value := take(inner, rest)) is not MISSING:
            data[parent] = inner
            return value
    return MISSING


def parse_object(value: Any) -> dict[str, Any] | None:
    """The object that a value is, or holds as JSON; else None."""
    if isinstance(value, str | bytes) and value.lstrip()[:1] in ("{", b"{"):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return None
    return value if isinstance(value, dict) else None


def is_among(name: str, columns: list[str]) -> bool:
    """True unless the name can't be there; below a column without known keys anything may be."""
    if name in columns:
        return True
    parents = [name[:index] for index, sign in enumerate(name) if sign == "."]
    return any(
        parent in columns and not any(column.startswith(f"{parent}.") for column in columns) for parent in parents
    )


def columns_at(format: str, file: Path) -> tuple[list[str], str]:
    """(column names, fault) by the Parquet schema, or by the JSON objects of the first 100 lines; a WARC file has none.

    Keys of objects are named with dots.
    """
    folder = get_datafolder(str(file.parent))
    try:
        if format == "parquet":
            with open_file(folder, file.name) as content:
                return _names_of_fields(pq.read_schema(content)), ""
        if format == "warc":
            with open_file(folder, file.name) as content:
                faults = [record.fault for record in islice(read_warc_records(content), 1)]
            return [], (faults or ["empty file"])[0]
        with open_binary(folder, file.name) as content:
            columns = _names_in_lines(Lines(content))
    except BROKEN_FILE as error:
        return [], f"{type(error).__name__}: {error}"
    return columns, "" if columns else "no JSON object in its first 100 lines"


def _names_of_fields(fields: Any, prefix: str = "") -> list[str]:
    names = []
    for member in fields:
        names.append(prefix + member.name)
        if pa.types.is_struct(member.type):
            names += _names_of_fields(member.type, f"{prefix}{member.name}.")
    return names


def _names_in_lines(lines: Lines) -> list[str]:
    names: dict[str, None] = {}
    try:
        for line, _ in islice(lines, 100):
            try:
                names |= dict.fromkeys(_names_of_keys(orjson.loads(line.removeprefix(b"\xef\xbb\xbf"))))
            except orjson.JSONDecodeError:
                continue
    except BROKEN_FILE:
        if not names:
            raise
    return list(names)


def _names_of_keys(record: Any, prefix: str = "") -> list[str]:
    names = []
    for key, value in record.items() if isinstance(record, dict) else ():
        names += [prefix + key, *_names_of_keys(value, f"{prefix}{key}.")]
    return names
