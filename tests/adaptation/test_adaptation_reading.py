"""What validation writes for people: random examples, and the learning curve."""

import csv
import json
from pathlib import Path

from adaptation.curve import CSV_FILE, PICTURE, curve_rows, write_curve
from adaptation.examples import Example
from adaptation.samples import NUM_SAMPLES, render_samples

TEXT = "Home\nThe river.\nShare\nBy A.\nIt flows."


def chunk(number: int) -> tuple[Example, dict]:
    example = Example(f"page-{number}", TEXT, "remove_lines(7, 7)\nremove_lines(9, 9)", 7, frozenset({10}))
    predicted = {"reference": example.program, "predicted": "[007]-[008]", "style": "compact", "num_tokens": 4}
    return example, predicted | {"finish_reason": "stop"}


def test_each_line_says_who_is_right() -> None:
    text = render_samples("chunk", *zip(chunk(0), strict=True), 0)
    assert "## page-0, lines 7 to 11: 2 of 5 lines wrong" in text
    assert "    - [007]Home\n    x [008]The river.\n    o [009]Share\n    ? [010]By A.\n      [011]It flows.\n" in text
    assert "Refiner:\n\n    [007]-[008]\n" in text
    assert "Reference:\n\n    remove_lines(7, 7)\n    remove_lines(9, 9)\n" in text


def test_the_examples_are_drawn_by_the_seed() -> None:
    examples, predictions = zip(*(chunk(number) for number in range(30)), strict=True)
    texts = [render_samples("chunk", examples, predictions, seed) for seed in (0, 0, 1)]
    assert texts[0].count("\n## page-") == NUM_SAMPLES
    assert texts[0] == texts[1] != texts[2]


def test_a_document_with_its_probability() -> None:
    example = Example("page", "\n".join(f"line {number}" for number in range(20)), "keep_doc()")
    prediction = {"reference": "keep_doc()", "predicted": "drop_doc()", "p_keep": 0.25}
    text = render_samples("document", [example], [prediction], 0)
    assert "## page: wrong" in text
    assert "(probability of keeping 0.250)" in text
    assert "    line 11\n    (8 more lines)\n" in text


def test_the_curve_joins_losses_and_scores_by_step(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    losses = [{"step": step, "epoch": step / 6, "loss": 1 / step, "learning_rate": 0.1} for step in (1, 6, 12)]
    metrics.write_text("".join(json.dumps(row) + "\n" for row in losses))
    scores = [
        {"checkpoint": f"/x/checkpoint-{step}", "f1": step / 20, "precision": 0.5, "recall": 0.5} for step in (12, 6)
    ]
    rows = curve_rows(metrics, scores)
    assert [(row["step"], row["loss"], row.get("f1")) for row in rows] == [
        (1, 1, None),
        (6, 1 / 6, 0.3),
        (12, 1 / 12, 0.6),
    ]
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        write_curve(folder, rows, "a refiner")
    table = list(csv.DictReader((tmp_path / "a" / CSV_FILE).open()))
    assert [row["f1"] for row in table] == ["", "0.3", "0.6"]
    picture = (tmp_path / "a" / PICTURE).read_bytes()
    assert b"optimizer step" in picture
    assert picture == (tmp_path / "b" / PICTURE).read_bytes()


def test_scores_without_a_log_of_the_training(tmp_path: Path) -> None:
    scores = [{"checkpoint": "checkpoint-3", "f1": 0.5, "precision": 0.5, "recall": 0.5}]
    rows = curve_rows(tmp_path / "none.jsonl", scores)
    write_curve(tmp_path, rows, "a refiner")
    assert rows == [{"step": 3, "f1": 0.5, "precision": 0.5, "recall": 0.5}]
