"""Two annotations as folders of tables, and their comparison."""

import json
from pathlib import Path
from typing import Any

from annotation.agree import agree
from annotation.agree_config import AgreeConfig
from annotation.tables import read_rows, write_rows


def score_row(identity: str, edu: int, form: int, decision: str, **fields: Any) -> dict:
    row = {"id": identity, "edu_score": edu, "format_score": form, "decision": decision, "rule": "r"}
    return row | {"annotator": "server", "model": "big"} | fields


def chunk_row(identity: str, text: str, program: str, first_line: int = 0, **fields: Any) -> dict:
    return {"id": identity, "first_line": first_line, "text": text, "program": program, **fields}


def folder_of(path: Path, **tables: list[dict]) -> Path:
    path.mkdir(parents=True)
    for name, rows in tables.items():
        write_rows(path / f"{name}.jsonl", rows)
    return path


def run(first: Path, second: Path, **options: Any) -> dict[str, Any]:
    output = first.parent / f"out-{first.name}-{second.name}"
    output.mkdir()
    agree(AgreeConfig(output=output, first=first, second=second, **options))
    found = json.loads((output / "agreement.json").read_text())
    return found | {"rows": read_rows(output / "differences.jsonl"), "aside_rows": read_rows(output / "aside.jsonl")}


def run_programs(tmp_path: Path, first: list[dict], second: list[dict], **options: Any) -> dict[str, Any]:
    return run(folder_of(tmp_path / "a", programs=first), folder_of(tmp_path / "b", programs=second), **options)


LETTERS = "\n".join("abcdefghij")
"""Ten lines."""
