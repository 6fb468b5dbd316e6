"""A small annotation split for both tasks, as `annotation split` writes it."""

import json
from pathlib import Path

import pytest

NAVIGATION = "Start | Catalogue | Help"
SENTENCES = [
    "Rivers are fed by rain, springs and melting snow.",
    "Photosynthesis converts light energy into chemical energy.",
    "It reads many formats, and says where a text is wrong.",
    "A river flows towards an ocean, a lake or another river.",
]


def write_rows(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def document_rows(count: int) -> list[dict]:
    return [
        {
            "id": f"doc-{number}",
            "text": NAVIGATION if number % 2 else SENTENCES[number % 4],
            "program": "drop_doc()" if number % 2 else "keep_doc()",
        }
        for number in range(count)
    ]


def chunk_rows(count: int) -> list[dict]:
    rows = []
    for number in range(count):
        first, noisy = 3 * (number % 4), number % 3 != 2
        text = "\n".join([NAVIGATION if noisy else SENTENCES[0], SENTENCES[number % 4], SENTENCES[(number + 1) % 4]])
        program = f"remove_lines(line_start={first}, line_end={first})" if noisy else "keep_chunk()"
        rows.append({"id": f"doc-{number // 4}", "first_line": first, "text": text, "program": program})
    return rows


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """Folder with 24 training and 9 valid examples for each task, and the data card."""
    folder = tmp_path / "split"
    folder.mkdir()
    write_rows(folder / "document_train.jsonl", document_rows(24))
    write_rows(folder / "document_valid.jsonl", document_rows(9))
    write_rows(folder / "chunk_train.jsonl", chunk_rows(24))
    write_rows(folder / "chunk_valid.jsonl", chunk_rows(9))
    (folder / "card.json").write_text('{"annotator": "rule-based stand-in"}', encoding="utf-8")
    return folder
