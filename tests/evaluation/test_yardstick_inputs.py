"""The yardstick from one's own text, and what is said when that text can't be used."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Evaluation, ReadRows


def test_own_text(evaluation: "Evaluation", read_rows: "ReadRows", tmp_path: Path) -> None:
    source = tmp_path / "clean.jsonl"
    source.write_text('{"id": "a", "text": "Some clean text."}\n\n{"id": 2, "text": "植物"}\n', encoding="utf-8")
    output = tmp_path / "yardstick"
    assert evaluation("yardstick", "--output", output, "--text", source, "--num_items", "0") == 0
    assert read_rows(output / "text.jsonl") == [{"id": "a", "text": "Some clean text."}, {"id": "2", "text": "植物"}]
    assert not (output / "choice").exists()
    assert json.loads((output / "card.json").read_text())["source"] == "clean.jsonl"


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        ('{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}\n', 1, "line 2"),
        ('{"id": "a"}\n', 1, "KeyError('text')"),
        ("not json\n", 1, "line 1"),
        ("\n", 1, "holds no document"),
        ('{"id": "a", "text": "Too short."}\n', 1, "--num_items 0"),
        (None, 2, "is not a file"),
    ],
)
def test_unusable_text(
    content: str | None,
    status: int,
    message: str,
    evaluation: "Evaluation",
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = tmp_path / "clean.jsonl"
    if content is not None:
        source.write_text(content, encoding="utf-8")
    assert evaluation("yardstick", "--output", tmp_path / "yardstick", "--text", source) == status
    assert message in capsys.readouterr().err
    assert not (tmp_path / "yardstick" / "_SUCCESS").exists()


def test_every_problem_is_told_at_once(
    evaluation: "Evaluation", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--num_items", "-1", "--length_tolerance", "2", "--max_sentence_chars", "3")
    assert evaluation("yardstick", "--output", tmp_path / "yardstick", *arguments) == 2
    message = capsys.readouterr().err
    assert all(part in message for part in ("--num_items -1", "--length_tolerance 2.0", "--max_sentence_chars 3"))
    assert not (tmp_path / "yardstick").exists()
