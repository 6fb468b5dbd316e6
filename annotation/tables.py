"""The stage's tables: JSON lines, one row a document, a chunk or an example."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from prox import artifact
from prox.errors import UserError

Row = dict[str, Any]

KEEP_DOC, DROP_DOC, KEEP_CHUNK = "keep_doc()", "drop_doc()", "keep_chunk()"
"""The programs of one call, as rows hold them."""

ASIDE = "aside.jsonl"
"""What could not be annotated, each row with its ``reason``."""


class RowWriter:
    """Writes JSON lines aside, one by one, and renames the file when it is left without an error."""

    def __init__(self, path: Path) -> None:
        self._path, self._aside = path, artifact.name_aside(path)
        self._file = self._aside.open("w", encoding="utf-8", newline="\n")

    def add(self, row: Row) -> None:
        """Adds a row."""
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def __enter__(self) -> "RowWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        if kind is None:
            os.replace(self._aside, self._path)
        self._aside.unlink(missing_ok=True)


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Writes JSON lines atomically."""
    artifact.write_atomically(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def iterate_rows(path: Path) -> Iterator[Row]:
    """Rows of a table, one at a time; a missing file or a broken line is a ``UserError`` that names it."""
    for _, row in numbered_rows(path):
        yield row


def numbered_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Rows with the numbers of their lines, from 1 on; see ``iterate_rows``."""
    if not path.is_file():
        raise UserError(f"{path} does not exist: give the folder of the step that writes it")
    # Lines of bytes: a document may hold the other line breaks that Unicode knows, unescaped.
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UserError(
                    f"{path}, line {number}: not valid JSON ({error}); run the step that writes it again"
                ) from None
            if not isinstance(row, dict) or not isinstance(row.get("id"), str):
                raise UserError(f"{path}, line {number}: no object with an id; run the step that writes it again")
            yield number, row


def read_rows(path: Path) -> list[Row]:
    """All rows of a table; see ``iterate_rows``."""
    return list(iterate_rows(path))


def annotator_of(row: Row) -> str:
    """Who annotated a row: the model and how it was asked, or what stood in its place."""
    return row["annotator"] if row.get("model") is None else f"{row['model']} ({row['annotator']})"
