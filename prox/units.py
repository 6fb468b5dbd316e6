"""Documents on disk: an artefact's ``documents/`` folder of Parquet units, each written whole or not at all.

Columns: ``id`` (string), ``text`` (string) and ``metadata`` (a JSON object as a string, so that every unit has the same
schema whatever the source's fields are). datatrove's ParquetReader and Hugging Face datasets read them as they are.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document

from prox.errors import UserError

DOCUMENTS = "documents"
DROPPED = "dropped"
LEDGER = "ledger"

DOCUMENT_SCHEMA = pa.schema([("id", pa.string()), ("text", pa.string()), ("metadata", pa.string())])
DROPPED_SCHEMA = DOCUMENT_SCHEMA.append(pa.field("reason", pa.string()))


def unit_name(number: int) -> str:
    """File name of a unit: ``00007.parquet``."""
    return f"{number:05d}.parquet"


def unit_files(artifact: Path, kind: str = DOCUMENTS) -> list[Path]:
    """The artefact's units in order."""
    return sorted((artifact / kind).glob("*.parquet"))


def write_unit(path: Path, rows: Iterable[dict[str, Any]], schema: pa.Schema) -> int:
    """Writes one unit (zstd Parquet) aside and renames it; returns the number of rows.

    The same rows give the same bytes. An error, a full disk included, leaves no file at ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    table = pa.Table.from_pylist(list(rows), schema=schema)
    try:
        pq.write_table(table, aside, compression="zstd")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    return table.num_rows


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


def source_hash(text: str) -> str:
    """Hash that ties a ledger row to the text it was made for (16 hex digits of BLAKE2b)."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
