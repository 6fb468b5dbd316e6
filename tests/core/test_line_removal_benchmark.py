"""The benchmark of line removal, on a few small pages: every way is scored on the same lines."""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import line_removal
from benchmarks.labelled_pages import Page
from benchmarks.line_removal import Row, interval_of_f1
from prox.confusion import Counts

MENU = ["Start", "Products and prices", "© 2020 Example. All rights reserved.", "Share this"]
SENTENCE = "In number {} of this series we look at how water moves through soil and where it goes."


def page(identity: str, number: int) -> dict[str, Any]:
    """Twelve lines: six of content between menus; line 8 is ambiguous. One menu line is long, one sentence short."""
    lines = [
        *MENU,
        *(SENTENCE.format(f"{number}{line}") for line in range(6)),
        "Read more",
        "Next page of our long menu",
    ]
    lines[5] = "It rains."
    return {"id": identity, "text": "\n".join(lines), "noise_lines": [0, 1, 2, 3, 10, 11], "ambiguous_lines": [8]}


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Options that name the three splits; the train split is compressed."""
    options = []
    for split, number in (("train", 20), ("valid", 3), ("test", 2)):
        lines = "".join(json.dumps(page(f"{split}-{index}", index)) + "\n" for index in range(number))
        path = tmp_path / (f"{split}.jsonl.gz" if split == "train" else f"{split}.jsonl")
        path.write_bytes(gzip.compress(lines.encode()) if split == "train" else lines.encode())
        options += [f"--{split}", str(path)]
    return options


def write_refiner(folder: Path, predictions: list[tuple[str, int, str]], examples: Path | None = None) -> str:
    """An artefact as `adaptation validate` leaves it, with a worse checkpoint beside; returns the option's value."""
    rows = [
        {"id": identity, "first_line": first, "predicted": answer, "style": "calls", "num_tokens": 9}
        | {"reference": "keep_chunk()", "finish_reason": "stop", "prompt_cut": False}
        for identity, first, answer in predictions
    ]
    (folder / "checkpoint-2").mkdir(parents=True)
    (folder / "checkpoint-2" / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    checkpoints = [{"name": "checkpoint-1", "f1": 0.1}, {"name": "checkpoint-2", "f1": 0.9}]
    metrics = {"task": "chunk", "checkpoints": checkpoints, "examples": examples and str(examples)}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return f"small={folder}"


def run(monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    monkeypatch.setattr(sys, "argv", ["line_removal.py", *options])
    line_removal.main()


def rows_of(path: Path) -> dict[str, dict[str, Any]]:
    return {row["way"]: row for row in json.loads(path.read_text())["rows"]}


def test_the_table_has_a_row_for_each_way_over_the_same_lines(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Of valid-0 both chunks, of valid-1 the second only, of valid-2 nothing; the last call reaches beyond its chunk.
    answers = [
        ("valid-0", 0, "remove_lines(0, 3)"),
        ("valid-0", 6, "remove_lines(8, 10)"),
        ("valid-1", 6, "remove_lines(4, 11)"),
        ("elsewhere", 0, "remove_lines(0, 3)"),
    ]
    refiner = write_refiner(tmp_path / "validate", answers)
    run(monkeypatch, *files, "--refiner", refiner, "--output", str(tmp_path / "rows.json"))
    rows = rows_of(tmp_path / "rows.json")
    table = capsys.readouterr().out
    assert [line.split(" | ")[0] for line in table.splitlines()[4:]] == [f"| {way}" for way in rows]
    assert {row["lines"] for row in rows.values()} == {3 * 11}
    assert rows["remove nothing"]["f1"] == 0
    assert rows["remove all"]["f1"] == pytest.approx(2 * 6 / (2 * 6 + 5))
    assert rows["fewer than 8 words"]["precision"] == pytest.approx(6 / 7)  # "It rains." is short
    assert rows["fewer than 8 words"]["recall"] == 1
    assert rows["under 12 words and no end punctuation"]["precision"] == 1
    assert rows["under 12 words and no end punctuation"]["recall"] == pytest.approx(5 / 6)  # the footer ends in a stop
    assert rows["rule-based stand-in"]["recall"] == pytest.approx(1 / 6)  # it knows footers
    assert rows["boosted trees"]["f1"] > 0.95
    ours = rows["refiner small (checkpoint-2)"]
    # valid-0: 0-3, 9 and 10, for 8 is ambiguous; valid-1: 6, 7, 9, 10 and 11.
    assert (ours["precision"], ours["recall"]) == (pytest.approx(7 / 11), pytest.approx(7 / 18))
    assert ours["f1_macro_documents"] == pytest.approx((2 * 5 / 12 + 2 * 2 / 11 + 0) / 3)
    assert ours["lines_not_covered"] == 6 + 11


def test_examples_say_how_far_a_chunk_goes(files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = tmp_path / "split"
    examples.mkdir()
    lines = page("valid-0", 0)["text"].split("\n")
    example = {"id": "valid-0", "first_line": 0, "text": "\n".join(lines[:3]), "program": "keep_chunk()"}
    (examples / "chunk_valid.jsonl").write_text(json.dumps(example) + "\n")
    refiner = write_refiner(tmp_path / "validate", [("valid-0", 0, "remove_lines(0, 11)")], examples)
    run(monkeypatch, *files, "--refiner", refiner, "--output", str(tmp_path / "rows.json"))
    ours = rows_of(tmp_path / "rows.json")["refiner small (checkpoint-2)"]
    assert (ours["precision"], ours["recall"], ours["lines_not_covered"]) == (1, pytest.approx(3 / 18), 8 + 22)
    example["text"] = "another\ntext"
    (examples / "chunk_valid.jsonl").write_text(json.dumps(example) + "\n")
    with pytest.raises(SystemExit, match="'valid-0' are not the page's"):
        run(monkeypatch, *files, "--refiner", refiner)


def test_the_test_split_chooses_nothing(files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refiner = write_refiner(tmp_path / "validate", [("test-0", 0, "remove_lines(0, 3)")])
    with pytest.raises(SystemExit, match="2 checkpoints, and the test split must not choose"):
        run(monkeypatch, *files, "--score", "test", "--refiner", refiner)
    metrics = json.loads((tmp_path / "validate" / "metrics.json").read_text())
    metrics["checkpoints"] = metrics["checkpoints"][1:]
    (tmp_path / "validate" / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(SystemExit, match="has no answer about a page of the valid split"):
        run(monkeypatch, *files, "--refiner", refiner)
    run(monkeypatch, *files, "--score", "test", "--refiner", refiner, "--output", str(tmp_path / "rows.json"))
    rows = rows_of(tmp_path / "rows.json")
    assert rows["refiner small (checkpoint-2)"]["recall"] == pytest.approx(4 / 12)
    assert rows["remove all"]["lines"] == 2 * 11


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise_lines": [12]}, "noise_lines of 'valid-0' must be a list of numbers below 12"),
        ({"ambiguous_lines": None}, "ambiguous_lines of 'valid-0' must be"),
        ({"ambiguous_lines": [3]}, "has line 3 as noise and ambiguous"),
        ({"id": "valid-1"}, "'valid-1' comes twice"),
    ],
)
def test_pages_that_cannot_be_scored_are_named(
    change: dict[str, Any], message: str, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(files[files.index("--valid") + 1])
    first, *others = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps(json.loads(first) | change), *others]))
    with pytest.raises(SystemExit, match=message):
        run(monkeypatch, *files)


def test_a_missing_file_or_field_is_said_plainly(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(files[files.index("--test") + 1])
    path.write_text('{"id": "a", "text": "b"}\n')
    with pytest.raises(SystemExit, match="line 1: a row must be an object with id, text, noise_lines, ambiguous_lines"):
        run(monkeypatch, *files)
    path.write_text('{"id": \n')
    with pytest.raises(SystemExit, match="can't be read after line 0"):
        run(monkeypatch, *files)
    path.unlink()
    with pytest.raises(SystemExit, match="does not exist"):
        run(monkeypatch, *files)


def test_intervals_draw_documents() -> None:
    good, bad = Counts(true_positives=9, true_negatives=1), Counts(false_positives=5, false_negatives=5)
    assert interval_of_f1([good] * 5, seed=0) == (1, 1)
    low, high = interval_of_f1([good] * 10 + [bad] * 10, seed=0)
    assert low < 2 * 9 / (2 * 9 + 10) < high
    assert interval_of_f1([good] * 10 + [bad] * 10, seed=0) == (low, high)


def test_the_threshold_is_the_best_and_counts_no_ambiguous_line() -> None:
    labelled = Page("a", "one\ntwo\nthree\nfour", noise=frozenset({0, 1}), ambiguous=frozenset({3}))
    probabilities = [line_removal.np.array([0.9, 0.3, 0.2, 0.1])]
    assert line_removal.best_threshold([labelled], probabilities) == 0.3
    row: Row = line_removal.score("trees", [labelled], line_removal.above(0.3, probabilities), seed=0)
    assert (row.f1, row.lines) == (1, 3)


def test_what_is_lost_and_left_in_words() -> None:
    content, noise = frozenset({1, 3}), frozenset({0, 4})
    one = Page("a", "home page\nkeep these four words\nopen\nkeep\nthree noise words", noise, frozenset({2}), "article")
    row = line_removal.score("some", [one], [{0, 2, 3}], seed=0)
    assert content == frozenset(one.counted) - noise
    assert (row.words_lost, row.noise_left) == (1 / 5, 3 / 5)
    assert (row.f1, row.f1_kept) == (0.5, 0.5)
    assert row.groups == {"article": 0.5}
