"""The table of refiners, from metrics and statistics made by hand."""

import csv
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from evaluation import refiner_configs
from evaluation.refiner_configs import RefinersConfig
from prox.artifact import commit, write_json, write_snapshot

if TYPE_CHECKING:
    from conftest import Evaluation

STAND_IN = "rule-based stand-in"
OUTPUTS = ("table.md", "table.csv", "table.json")


def commit_json(folder: Path, file: str, content: Any) -> Path:
    """A committed artefact of one JSON file."""
    folder.mkdir(parents=True)
    write_snapshot(folder, "some step", {}, folder.name)
    write_json(folder / file, content)
    commit(folder, folder.name, {})
    return folder


def scored(name: str, f1: float, checkpoint: Path | str = "someone/model", **more: float) -> dict[str, Any]:
    return {"name": name, "checkpoint": str(checkpoint), "f1": f1, "num_examples": 1200, **more}


def chunk_scored(name: str, f1: float, checkpoint: Path | str = "someone/model") -> dict[str, Any]:
    more = {"f1_macro_documents": f1 + 0.1, "precision": f1 + 0.05, "recall": f1 - 0.05, "share_unparsable": 0.012}
    return scored(name, f1, checkpoint, **more) | {"num_examples": 345}


def validated(folder: Path, task: str, rows: list[dict[str, Any]], annotation: dict[str, Any] | None = None) -> Path:
    return commit_json(
        folder, "metrics.json", {"task": task, "training": None, "annotation": annotation, "checkpoints": rows}
    )


def save_weights(folder: Path, *shapes: tuple[int, ...]) -> Path:
    """A checkpoint with one file for each shape."""
    folder.mkdir(parents=True)
    for number, shape in enumerate(shapes, start=1):
        save_file({"weight": np.zeros(shape, np.float16)}, folder / f"model-{number}-of-{len(shapes)}.safetensors")
    return folder


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, Path]:
    """All three artefacts of a refiner whose checkpoints have 1,200 (document) and 1,206 (chunk) parameters."""
    small, large = save_weights(tmp_path / "small", (30, 40)), save_weights(tmp_path / "large", (30, 40), (6,))
    # Weights that some models' folders hold a second time.
    shutil.copy(small / "model-1-of-1.safetensors", small / "consolidated.safetensors")
    documents = [scored("checkpoint-1", 0.7), scored("checkpoint-2", 0.9, small), scored("checkpoint-3", 0.9)]
    chunks = [chunk_scored("checkpoint-7", 0.5, large), chunk_scored("checkpoint-8", 0.4)]
    card = {"annotator": STAND_IN}
    arms = {"raw": {"tokens": 2000}, "prox-d": {"tokens": 1000}, "prox-d+c": {"tokens": 750}}
    return {
        "document": validated(tmp_path / "document", "document", documents, card),
        "chunk": validated(tmp_path / "chunk", "chunk", chunks, card),
        "statistics": commit_json(tmp_path / "statistics", "stats.json", {"arms": arms}),
    }


def options(name: str, parts: dict[str, Path]) -> list[str]:
    return [word for part, folder in parts.items() for word in (f"--refiners.{name}.{part}", str(folder))]


def cells(table: Path) -> list[list[str]]:
    """The Markdown's lines of cells, without the rule."""
    lines = [line for line in (table / "table.md").read_text().splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not line.startswith("| --")]


def test_a_row_by_hand_and_the_papers_beside_it(
    evaluation: "Evaluation", parts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluation("refiners", "--output", tmp_path / "table", *options("tlm-0.5", parts)) == 0
    markdown = (tmp_path / "table/table.md").read_text()
    assert markdown in capsys.readouterr().out
    header, own, *paper = cells(tmp_path / "table")
    assert header == [
        "refiner",
        "parameters",
        "document F1",
        "chunk F1 (micro)",
        "chunk F1 (mean over documents)",
        "chunk precision",
        "chunk recall",
        "unparsable",
        "tokens kept",
    ]
    scores = ["90.0", "50.0", "60.0", "55.0", "45.0", "1.2%", "37.5%"]
    assert own == ["tlm-0.5 [1]", "1,200 (document), 1,206 (chunk)", *scores]
    unknown = ["-"] * 4
    assert paper == [
        ["TLM-xs (paper) [2]", "354,284,800", "about 80", "about 75", *unknown, "23.2%"],
        [
            "larger models (paper) [2]",
            "758,982,144 (TLM-s), 1,741,785,088 (TLM-m)",
            *("about 80", "about 75", *unknown, "28.8%"),
        ],
    ]


def test_notes_say_whose_examples_an_f1_agrees_with(
    evaluation: "Evaluation", parts: dict[str, Path], tmp_path: Path
) -> None:
    unknown = {"chunk": validated(tmp_path / "unknown", "chunk", [chunk_scored("only", 0.3)])}
    command = [*options("a", parts), *options("b", unknown), *options("c", {"statistics": parts["statistics"]})]
    assert evaluation("refiners", "--output", tmp_path / "table", *command) == 0
    notes = [line for line in (tmp_path / "table/table.md").read_text().splitlines() if line.startswith("- [")]
    assert notes[:3] == [
        "- [1] a: document F1 on 1,200 examples annotated by rule-based stand-in (checkpoint-2); "
        "chunk F1 on 345 examples annotated by rule-based stand-in (checkpoint-7).",
        "- [2] b: chunk F1 on 345 examples annotated by an annotator that was not recorded (only).",
        "- [3] c: not validated.",
    ]
    assert notes[3].startswith("- [4] Zhou et al. (2024): statements of the text")
    assert [row[0].split()[-1] for row in cells(tmp_path / "table")[1:]] == ["[1]", "[2]", "[3]", "[4]", "[4]"]


def test_of_equal_checkpoints_the_first_is_the_best(
    evaluation: "Evaluation", parts: dict[str, Path], tmp_path: Path
) -> None:
    assert evaluation("refiners", "--output", tmp_path / "table", *options("a", parts)) == 0
    row = json.loads((tmp_path / "table/table.json").read_text())["rows"][0]
    assert row["validated"]["document"] == {"annotator": STAND_IN, "checkpoint": "checkpoint-2", "num_examples": 1200}
    assert row["validated"]["chunk"]["checkpoint"] == "checkpoint-7"


@pytest.mark.parametrize("only", ["document", "chunk", "statistics"])
def test_what_a_refiner_lacks_is_a_dash(
    only: str, evaluation: "Evaluation", parts: dict[str, Path], tmp_path: Path
) -> None:
    assert evaluation("refiners", "--output", tmp_path / "table", *options("a", {only: parts[only]})) == 0
    expected = {
        "document": ["1,200", "90.0", "-", "-", "-", "-", "-", "-"],
        "chunk": ["1,206", "-", "50.0", "60.0", "55.0", "45.0", "1.2%", "-"],
        "statistics": ["-", "-", "-", "-", "-", "-", "-", "37.5%"],
    }
    assert cells(tmp_path / "table")[1][1:] == expected[only]


def test_rows_stand_in_the_order_given_with_the_arm_asked_for(
    evaluation: "Evaluation", parts: dict[str, Path], tmp_path: Path
) -> None:
    command = [*options("z", parts), *options("a", parts), "--arm", "prox-d"]
    assert evaluation("refiners", "--output", tmp_path / "table", *command) == 0
    assert [(row[0], row[-1]) for row in cells(tmp_path / "table")[1:3]] == [("z [1]", "50.0%"), ("a [2]", "50.0%")]
    assert "the arm prox-d," in (tmp_path / "table/table.md").read_text()


def test_a_size_is_shown_as_far_as_weights_are_here(
    evaluation: "Evaluation", parts: dict[str, Path], tmp_path: Path
) -> None:
    assert evaluation("refiners", "--output", tmp_path / "table", *options("a", parts)) == 0
    shutil.rmtree(tmp_path / "large")
    # The checkpoint is an input: a table with its size is not taken for this one.
    assert evaluation("refiners", "--output", tmp_path / "table", *options("a", parts)) == 0
    assert cells(tmp_path / "table")[1][1] == "1,200 (document), - (chunk)"
    shutil.rmtree(tmp_path / "small")
    assert evaluation("refiners", "--output", tmp_path / "table", *options("a", parts)) == 0
    assert cells(tmp_path / "table")[1][1] == "-"


def test_weights_cut_short_are_told(
    evaluation: "Evaluation", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = save_weights(tmp_path / "cut", (30, 40)) / "model-1-of-1.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    rows = [scored("checkpoint-1", 0.5, weights.parent)]
    parts = {"document": validated(tmp_path / "document", "document", rows)}
    assert evaluation("refiners", "--output", tmp_path / "table", *options("a", parts)) == 1
    assert f"the size of {weights.parent} can't be read from {weights.name}" in capsys.readouterr().err


def test_csv_and_json_hold_full_numbers(evaluation: "Evaluation", parts: dict[str, Path], tmp_path: Path) -> None:
    assert evaluation("refiners", "--output", tmp_path / "table", *options("a", parts)) == 0
    with (tmp_path / "table/table.csv").open(newline="") as file:
        own, small, large = csv.DictReader(file)
    assert (own["source"], own["parameters"]) == ("measured", "document 1200; chunk 1206")
    assert float(own["chunk_f1_macro_documents"]) == 0.5 + 0.1
    assert float(own["tokens_kept"]) == 0.375
    assert (own["document_annotator"], own["chunk_num_examples"], own["about"]) == (STAND_IN, "345", "")
    assert (small["source"], small["parameters"], small["chunk_recall"]) == ("paper", "354284800", "")
    assert (large["about"], large["document_f1"], large["tokens_kept"]) == ("document_f1 chunk_f1", "0.8", "0.288")
    content = json.loads((tmp_path / "table/table.json").read_text())
    assert content["arm"] == "prox-d+c"
    assert content["rows"][0]["parameters"] == {"document": 1200, "chunk": 1206}


def test_another_run_writes_the_same_bytes(evaluation: "Evaluation", parts: dict[str, Path], tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert evaluation("refiners", "--output", tmp_path / name, *options("a", parts)) == 0
    for file in OUTPUTS:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_an_unchanged_table_is_skipped(
    evaluation: "Evaluation", parts: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert evaluation("refiners", "--output", tmp_path / "table", *options("a", parts)) == 0
    caplog.set_level("INFO", logger="prox")
    assert evaluation("refiners", "--output", tmp_path / "table", *options("a", parts)) == 0
    assert "skipped" in caplog.text


def test_edited_numbers_of_the_paper_make_the_table_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = RefinersConfig(output=tmp_path).input_marks()
    edited = tmp_path / "table_4.yaml"
    edited.write_text(refiner_configs.PAPER_REFINERS.read_text() + "# edited\n")
    monkeypatch.setattr(refiner_configs, "PAPER_REFINERS", edited)
    assert RefinersConfig(output=tmp_path).input_marks() != before


def test_every_unusable_folder_is_told_at_once(
    evaluation: "Evaluation", parts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plain").mkdir()
    unfinished = shutil.copytree(parts["chunk"], tmp_path / "unfinished")
    (unfinished / "_SUCCESS").unlink()
    broken = commit_json(tmp_path / "broken", "metrics.json", {})
    (broken / "metrics.json").write_text("{")
    raw_less = {"arms": {"prox-d+c": {"tokens": 1}}}
    wrong = {
        "a.document": parts["chunk"],
        "b.chunk": parts["statistics"],
        "c.document": tmp_path / "plain",
        "d.chunk": tmp_path / "absent",
        "e.chunk": unfinished,
        "f.document": broken,
        "g.chunk": validated(tmp_path / "old", "chunk", [scored("only", 0.5, precision=0.5, recall=0.5)]),
        "h.document": validated(tmp_path / "empty", "document", []),
        "i.statistics": commit_json(tmp_path / "ingest", "stats.json", {"documents": 3}),
        "j.statistics": commit_json(tmp_path / "raw-less", "stats.json", raw_less),
        "k": parts["chunk"],
        "l.metrics": parts["chunk"],
        "m|.chunk": parts["chunk"],
        "n.chunk": commit_json(tmp_path / "list", "metrics.json", []),
    }
    command = [word for key, folder in wrong.items() for word in (f"--refiners.{key}", folder)]
    assert evaluation("refiners", "--output", tmp_path / "table", *command) == 2
    message = capsys.readouterr().err
    says = {
        "a.document": "holds scores of the task 'chunk', not 'document': give the folder that",
        "b.chunk": "has no metrics.json: give the folder that `adaptation validate --task chunk` writes",
        "c.document": "is no artefact: give the folder that `adaptation validate --task document` writes",
        "d.chunk": "does not exist: run",
        "e.chunk": "is unfinished (no _SUCCESS): run",
        "g.chunk": ": a checkpoint has no f1_macro_documents, share_unparsable: run",
        "h.document": "holds no scored checkpoint: run",
        "i.statistics": "has no `arms` with `tokens`: give the folder that `refinement stats` writes",
        "j.statistics": "counts no tokens of the arm 'raw'",
        "k": "names no part of a refiner: give NAME.document, NAME.chunk or NAME.statistics",
        "l.metrics": "names no part of a refiner",
        "m|.chunk": "names no part of a refiner",
        "n.chunk": ": metrics.json is not what",
    }
    for key, text in says.items():
        join = "" if text.startswith(":") else " "
        assert f"--refiners.{key} {wrong[key]}{join}{text}" in message
    assert f"--refiners.f.document: {broken / 'metrics.json'} is not valid JSON" in message
    assert message.count("\n  - ") == len(wrong)
    assert not (tmp_path / "table").exists()


def test_an_arm_that_was_not_counted_is_told(
    evaluation: "Evaluation", parts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*options("a", parts), "--arm", "rules"]
    assert evaluation("refiners", "--output", tmp_path / "table", *command) == 2
    assert "has no arm 'rules': give one of prox-d, prox-d+c, raw as --arm" in capsys.readouterr().err


def test_no_refiner_is_told(evaluation: "Evaluation", tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluation("refiners", "--output", tmp_path / "table") == 2
    assert "--refiners is empty: name at least one artefact" in capsys.readouterr().err
