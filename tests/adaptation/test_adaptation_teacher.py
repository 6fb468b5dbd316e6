"""A teacher's probabilities beside the labels: read, mixed, trained on, and refused where they can't be."""

import json
from pathlib import Path

import pytest

from adaptation.__main__ import VERBS
from adaptation.examples import read_examples
from adaptation.line_examples import LineExample, read_line_examples
from prox.chunking import Chunk
from prox.command import main
from prox.errors import UserError
from tests.adaptation.taggers import TRAINING, export, run


def test_what_labels_and_a_teacher_say_together() -> None:
    chunk = Chunk(0, "a\nb\nc")
    assert LineExample("x", chunk, "=-?").targets(0.5) == [0, 1, None]
    example = LineExample("x", chunk, "=-?", (0.2, 0.4, 0.9))
    assert example.targets(0.0) == [0, 1, None]
    assert example.targets(0.25) == pytest.approx([0.05, 0.85, 0.9])
    assert example.targets(1.0) == [0.2, 0.4, 0.9]


def test_a_teacher_reaches_the_training(
    split: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [json.loads(line) for line in (split / "chunk_train.jsonl").read_text().splitlines()]
    for row in rows:
        row["teacher"] = [0.25] * (row["text"].count("\n") + 1)
    numbers = range(rows[0]["first_line"], rows[0]["first_line"] + len(rows[0]["teacher"]))
    whole = rows[0] | {"id": "unlabelled", "ambiguous_lines": list(numbers)}
    (split / "chunk_train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, whole]))
    data = export(split, tiny_checkpoint, tmp_path / "data")
    exported = list(read_line_examples(data / "train.jsonl"))
    assert len(exported) == len(rows) + 1  # what only a teacher has judged is an example, too
    assert set(exported[-1].verdicts) == {"?"}
    assert exported[-1].teacher == (0.25,) * len(exported[-1].verdicts)
    # Taught by the teacher alone, it says what the teacher says.
    options = ["train", "--data", data, "--base", tiny_checkpoint, *TRAINING, "--teacher_weight", 1]
    run(*options, "--output", tmp_path / "train")
    checkpoint = sorted((tmp_path / "train/checkpoints").iterdir())[-1]
    run("validate", "--checkpoint", checkpoint, "--examples", split, "--output", tmp_path / "scored")
    (predictions,) = (tmp_path / "scored").glob("*/predictions.jsonl")
    judged = [json.loads(line)["line_probabilities"] for line in predictions.read_text().splitlines()]
    assert all(0.15 < probability < 0.35 for of_chunk in judged for probability in of_chunk)
    for weight in ("1.5", "0"):
        assert main("adaptation", VERBS, [*map(str, options), "--teacher_weight", weight, "--output", "unused"]) == 2
    said = capsys.readouterr().err
    assert "teacher_weight is 1.5: it must be between 0 and 1" in said
    assert "1 examples of --data" in said
    assert "have no labels, only a teacher's word: give --teacher_weight" in said


def test_a_weight_of_no_teacher_is_refused(
    split: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = export(split, tiny_checkpoint, tmp_path / "data")
    options = ["--data", data, "--base", tiny_checkpoint, "--teacher_weight", 0.5, "--output", tmp_path / "train"]
    assert main("adaptation", VERBS, ["train", *map(str, options)]) == 2
    assert "no example of --data" in capsys.readouterr().err


def test_guesses_are_not_taught_as_programs(
    split: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (split / "card.json").write_text('{"documents": {"taught_by_the_teacher_alone": 3}}')
    options = ["export", "--examples", split, "--base", tiny_checkpoint, "--max_new_tokens", 40]
    assert main("adaptation", VERBS, [*map(str, options), "--output", str(tmp_path / "data")]) == 1
    assert "have no labels, only a teacher's probabilities, which are for taggers" in capsys.readouterr().err
    export(split, tiny_checkpoint, tmp_path / "tagger")


@pytest.mark.parametrize("teacher", [[0.5], [0.5, 2, 0], [0.5, "x", 0], "high", 3])
def test_a_teacher_has_a_probability_a_line(tmp_path: Path, teacher: object) -> None:
    row = {"id": "x", "text": "a\nb\nc", "program": "keep_chunk()", "teacher": teacher}
    (tmp_path / "chunk_train.jsonl").write_text(json.dumps(row))
    with pytest.raises(UserError, match="must be a list of 3 numbers from 0 to 1, one a line"):
        list(read_examples(tmp_path / "chunk_train.jsonl"))
