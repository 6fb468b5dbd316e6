"""Documents on disk: an artefact's ``documents/`` folder of Parquet units, each written whole or not at all.

Columns: ``id`` (string), ``text`` (string) and ``metadata`` (a JSON object as a string, so that every unit has the same
schema whatever the source's fields are). datatrove's ParquetReader and Hugging Face datasets read them as they are.
"""

import hashlib
import json
import os
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document

from prox.artifact import name_aside
from prox.errors import UserError

DOCUMENTS = "documents"
DROPPED = "dropped"
LEDGER = "ledger"

DOCUMENT_SCHEMA = pa.schema([("id", pa.string()), ("text", pa.string()), ("metadata", pa.string())])
DROPPED_SCHEMA = DOCUMENT_SCHEMA.append(pa.field("reason", pa.string()))


GROUP_ROWS = 1_000
GROUP_CHARACTERS = 32_000_000
"""A row group ends at the first of these: what a unit being written holds in memory."""


def unit_name(number: int) -> str:
    """File name of a unit: ``00007.parquet``."""
    return f"{number:05d}.parquet"


def unit_files(artifact: Path, kind: str = DOCUMENTS) -> list[Path]:
    """The artefact's units in order."""
    return sorted((artifact / kind).glob("*.parquet"))


class UnitFile:
    """A unit being written: rows go to a file aside, group by group, which ``commit`` renames (zstd Parquet).

    The same rows give the same bytes. Use as a context: left without ``commit``, a full disk included, no file stays.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self.schema = path, schema
        self.num_rows = 0
        self._aside = name_aside(path)
        self._rows: list[Mapping[str, Any]] = []
        self._characters = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(self._aside, schema, compression="zstd")

    def add(self, row: Mapping[str, Any]) -> None:
        """Adds a row; whole groups of rows are written at once."""
        self._rows.append(row)
        self._characters += sum(len(value) for value in row.values() if isinstance(value, str))
        if len(self._rows) >= GROUP_ROWS or self._characters >= GROUP_CHARACTERS:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self.schema))
        self.num_rows += len(self._rows)
        self._rows, self._characters = [], 0

    def commit(self) -> None:
        """Ends the file and puts it in its place."""
        if self._rows or not self.num_rows:
            self._flush()
        self._writer.close()
        os.replace(self._aside, self.path)

    def __enter__(self) -> "UnitFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._writer.close()
        except (OSError, pa.ArrowException):
            if kind is None:
                raise
        finally:
            self._aside.unlink(missing_ok=True)


def write_unit(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> int:
    """Writes one unit from its rows; returns their number."""
    with UnitFile(path, schema) as file:
        for row in rows:
            file.add(row)
        file.commit()
        return file.num_rows


def check_columns(path: Path, schema: pa.Schema) -> None:
    """Raises ``UserError`` for a unit that has not these columns: other versions wrote others."""
    if not pq.read_schema(path).equals(schema):
        raise UserError(
            f"{path} was written by another version of this project: run the step that wrote it again, in a new folder"
        )


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of one unit, read in small batches."""
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=256):
                yield from batch.to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(
            f"{path} can't be read as Parquet ({error}): delete its folder and run the step again"
        ) from error


def document_row(document: Document) -> dict[str, str]:
    """A document as a row of ``DOCUMENT_SCHEMA``."""
    metadata = json.dumps(document.metadata, ensure_ascii=False, sort_keys=True, default=str)
    return {"id": document.id, "text": document.text, "metadata": metadata}


def read_documents(path: Path) -> Iterator[Document]:
    """Documents of one unit."""
    for row in read_rows(path):
        yield Document(text=row["text"], id=row["id"], metadata=json.loads(row["metadata"] or "{}"))


def iterate_documents(artifact: Path) -> Iterator[Document]:
    """All documents of an artefact, in order."""
    for path in unit_files(artifact):
        yield from read_documents(path)


def unique_id(identity: str, taken: Container[str]) -> str:
    """The id, with a suffix as `ingest` gives it where it is ``taken``: ids are unique in one artefact only."""
    name, number = identity, 2
    while name in taken:
        name, number = f"{identity}#{number}", number + 1
    return name


def source_hash(text: str) -> str:
    """Hash that ties a ledger row to the text it was made for (16 hex digits of BLAKE2b)."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
