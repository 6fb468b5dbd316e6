"""The stage's tables: JSON lines, one row a document, a chunk or an example."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prox import artifact
from prox.errors import UserError

Row = dict[str, Any]

ASIDE = "aside.jsonl"
"""What could not be annotated, each row with its ``reason``."""


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Writes JSON lines atomically."""
    artifact.write_atomically(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_rows(path: Path) -> list[Row]:
    """Reads JSON lines; a missing file or a broken line is a ``UserError`` that names it."""
    if not path.is_file():
        raise UserError(f"{path} does not exist: give the folder of the step that writes it")
    rows = []
    # Not splitlines(): a document may hold the other line breaks Unicode knows, unescaped.
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise UserError(
                    f"{path}, line {number}: not valid JSON ({error}); run the step that writes it again"
                ) from None
    return rows
