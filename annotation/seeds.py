"""Choosing seed documents: random by a hash, so that the choice is stable however the corpus is cut or grows."""

import hashlib
import heapq
import json
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
from datatrove.data import Document

from prox import units
from prox.errors import UserError


def random_rank(seed: int, purpose: str, key: str) -> int:
    """A number from 0 to 2**64 - 1 that only the seed, the purpose and the key decide."""
    content = f"{seed}\0{purpose}\0{key}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")


def draw(keys: Iterable[str], count: int, seed: int, purpose: str) -> set[str]:
    """``count`` distinct keys at random (all of them for -1); a larger count draws a superset."""
    if count == -1:
        return set(keys)
    ranked = ((random_rank(seed, purpose, key), key) for key in dict.fromkeys(keys))
    return {key for _, key in heapq.nsmallest(count, ranked)}


def key_of(*parts: Hashable) -> str:
    """One string for a random draw, such as a chunk's document and first line."""
    return json.dumps(parts, ensure_ascii=False)


def document_ids(documents: Path) -> Iterator[str]:
    """Ids of an artefact's documents, in order, without reading their text."""
    for path in units.unit_files(documents):
        yield from pq.read_table(path, columns=["id"])["id"].to_pylist()


def chosen_documents(documents: Path, ids: set[str]) -> Iterator[Document]:
    """The documents whose id is in ``ids``, in corpus order; of documents with the same id, the first."""
    left = set(ids)
    for document in units.iterate_documents(documents):
        if document.id in left:
            left.remove(document.id)
            yield document


def require_documents(documents: Path) -> None:
    """Raises ``UserError`` when the artefact holds no documents."""
    if not any(True for _ in document_ids(documents)):
        raise UserError(f"{documents} holds no documents: check the corpus it was made from")


def count_documents(documents: Path | None) -> tuple[int, int]:
    """(number of documents, mean characters of one), read off the Parquet footers; (0, 0) when there are none yet."""
    rows, size = 0, 0
    for path in units.unit_files(documents) if documents and documents.is_dir() else []:
        footer = pq.read_metadata(path)
        rows += footer.num_rows
        column = footer.schema.names.index("text")
        size += sum(
            footer.row_group(group).column(column).total_uncompressed_size for group in range(footer.num_row_groups)
        )
    return rows, size // rows if rows else 0
