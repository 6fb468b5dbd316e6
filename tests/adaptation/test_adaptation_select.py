"""Scoring with a real (random) model, and the choice of a checkpoint."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from adaptation.__main__ import VERBS
from adaptation.configs import SelectConfig, TrainConfig, ValidateConfig
from adaptation.examples import Example
from adaptation.select import copy_checkpoint, select_best, store_as
from adaptation.validate import chunk_scores
from prox.command import main, settings_of
from prox.confusion import best_checkpoint, count_decisions
from prox.dialogue import Dialogue
from prox.engines import EngineConfig
from prox.errors import UserError


def validate(split: Path, checkpoint: Path, output: Path, task: str, *options: str) -> dict:
    arguments = ["--checkpoint", checkpoint, "--examples", split, "--task", task, "--output", output]
    limits = ["--max_new_tokens", "16", "--dialogue.layout", "plain", "--dialogue.system", "", *options]
    assert main("adaptation", VERBS, ["validate", *map(str, arguments), *limits]) == 0
    return json.loads((output / "metrics.json").read_text())


def predictions_of(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "checkpoint/predictions.jsonl").read_text().splitlines()]


def test_document_scores_follow_from_the_predictions(split: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    metrics = validate(split, tiny_checkpoint, tmp_path / "out", "document")
    rows = predictions_of(tmp_path / "out")
    assert [row["id"] for row in rows] == [f"doc-{number}" for number in range(9)]
    assert all((row["p_keep"] >= 0.5) == (row["predicted"] == "keep_doc()") for row in rows)
    counts = count_decisions(
        [row["reference"] == "keep_doc()" for row in rows], [row["predicted"] == "keep_doc()" for row in rows]
    )
    assert metrics["checkpoints"][0]["f1"] == counts.f1
    assert metrics["annotation"] == {"annotator": "rule-based stand-in"}


def test_ways_to_ask_are_scored_side_by_side_and_the_best_is_kept(
    split: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """Which template a checkpoint was taught with need not be known: each is tried on the same examples."""
    ways = "{plain: {layout: plain, system: ''}, asked_twice: {layout: llama2, extra_bos: true}}"
    metrics = validate(split, tiny_checkpoint, tmp_path / "out", "document", "--dialogues", ways)
    rows = {row["name"]: row for row in metrics["checkpoints"]}
    assert list(rows) == ["checkpoint-plain", "checkpoint-asked_twice"]
    assert {name: row["dialogue"]["layout"] for name, row in rows.items()} == {
        "checkpoint-plain": "plain",
        "checkpoint-asked_twice": "llama2",
    }
    asked = [
        [
            json.loads(line)["p_keep"]
            for line in (tmp_path / "out" / name / "predictions.jsonl").read_text().splitlines()
        ]
        for name in rows
    ]
    assert asked[0] != asked[1]
    options = ["--metrics", str(tmp_path / "out"), "--output", str(tmp_path / "refiner")]
    assert main("adaptation", VERBS, ["select", *options]) == 0
    best = max(metrics["checkpoints"], key=lambda row: row["f1"])
    assert json.loads((tmp_path / "refiner/dialogue.json").read_text()) == best["dialogue"]
    card = (tmp_path / "refiner/README.md").read_text()
    assert "## By length" in card
    assert "## Calibration" in card


def test_penalties_of_keeping_are_scored_side_by_side(split: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    refiner = tmp_path / "refiner"
    shutil.copytree(tiny_checkpoint, refiner)
    Dialogue(layout="plain", system="", style="compact").save(refiner)
    options = ["--keep_penalties", "[-60, 0, 60]", "--max_new_tokens", "8"]
    metrics = validate(split, refiner, tmp_path / "out", "chunk", *options)
    rows = {row["name"]: row for row in metrics["checkpoints"]}
    assert list(rows) == ["checkpoint-keep-60", "checkpoint-keep0", "checkpoint-keep60"]
    assert [row["dialogue"]["keep_penalty"] for row in rows.values()] == [-60, 0, 60]
    answers = [(tmp_path / "out" / name / "predictions.jsonl").read_text() for name in rows]
    predicted = [{json.loads(line)["predicted"][:1] for line in text.splitlines()} for text in answers]
    assert predicted[0] == {"="}
    assert "=" not in predicted[2]


def test_a_random_model_writes_no_programs(split: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    metrics = validate(split, tiny_checkpoint, tmp_path / "out", "chunk", "--max_examples", "5")
    scores = metrics["checkpoints"][0]
    assert scores["num_examples"] == len(predictions_of(tmp_path / "out")) == 5
    assert scores["share_unparsable"] == 1
    assert 0 < scores["mean_generated_tokens"] <= 16


def test_chunk_examples_are_no_document_examples(
    split: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (split / "document_valid.jsonl").write_text((split / "chunk_valid.jsonl").read_text())
    arguments = ["--checkpoint", tiny_checkpoint, "--examples", split, "--output", tmp_path / "out"]
    options = ["--task", "document", "--max_new_tokens", "16"]
    assert main("adaptation", VERBS, ["validate", *map(str, arguments), *options]) == 1
    assert "is no document program" in capsys.readouterr().err


def test_one_of_the_two_ways_to_name_checkpoints(
    split: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--examples", str(split), "--output", str(tmp_path / "out")]
    assert main("adaptation", VERBS, ["validate", *options]) == 2
    assert "--checkpoints" in capsys.readouterr().err


def test_of_equal_scores_the_earliest_wins() -> None:
    scores = [{"name": name, "f1": f1} for name, f1 in (("a", 0.5), ("b", 0.7), ("c", 0.7))]
    assert best_checkpoint(scores)["name"] == "b"


def test_a_copy_leaves_the_trainers_state_behind(tiny_checkpoint: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    for path in tiny_checkpoint.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    for name in ("optimizer.pt", "rng_state_0.pth", "trainer_state.json", "training_args.bin"):
        (source / name).write_bytes(b"x")
    copy_checkpoint(source, target)
    assert sorted(path.name for path in target.iterdir()) == sorted(path.name for path in tiny_checkpoint.iterdir())


def test_a_checkpoint_that_is_gone_is_named(tmp_path: Path) -> None:
    row = {"name": "checkpoint-6", "checkpoint": str(tmp_path / "gone"), "f1": 0.5}
    (tmp_path / "metrics.json").write_text(json.dumps({"checkpoints": [row]}))
    with pytest.raises(UserError, match="gone"):
        select_best(SelectConfig(output=tmp_path / "out", metrics=tmp_path))


@pytest.mark.parametrize(("finish_reason", "removed"), [("length", 0), ("stop", 1)])
def test_scores_are_of_the_program_that_inference_runs(finish_reason: str, removed: int) -> None:
    # `[003]-[007]` cut to `[003]` would be another edit: inference leaves a cut-off last line out.
    example = Example("a", "one\ntwo", "remove_lines(line_start=3, line_end=3)", 3)
    answer = {"predicted": "[003]", "style": "compact", "num_tokens": 1, "finish_reason": finish_reason}
    scores = chunk_scores([example], [answer | {"prompt_cut": False}])
    assert scores["recall"] == removed
    assert scores["share_cut_off"] == 1 - removed


def test_how_a_step_runs_leaves_work_valid() -> None:
    assert settings_of(TrainConfig(output=Path("x"), log_every=1)) == settings_of(TrainConfig(output=Path("x")))
    before = ValidateConfig(output=Path("x"))
    elsewhere = ValidateConfig(output=Path("x"), engine=EngineConfig(device="cuda", batch_size=3))
    assert (settings_of(elsewhere), elsewhere.input_marks()) == (settings_of(before), before.input_marks())
    assert ValidateConfig(output=Path("x"), engine=EngineConfig(max_context=256)).input_marks() != before.input_marks()


def test_a_refiner_in_half_the_bytes(tiny_checkpoint: Path, tmp_path: Path) -> None:
    copy_checkpoint(tiny_checkpoint, tmp_path)
    whole = (tmp_path / "model.safetensors").stat().st_size
    store_as(tmp_path, "bfloat16")
    assert (tmp_path / "model.safetensors").stat().st_size < 0.55 * whole
    first, second = (
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32) for folder in (tiny_checkpoint, tmp_path)
    )
    for name, weight in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], weight.bfloat16().float())
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
