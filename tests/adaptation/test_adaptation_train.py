"""Checkpoints, settings and, marked slow, real LLaMA-Factory runs: one undisturbed, one killed and resumed."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate import skip_first_batches
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader, RandomSampler
from transformers.trainer_pt_utils import LengthGroupedSampler

from adaptation import launcher
from adaptation.__main__ import VERBS
from adaptation.checkpoints import (
    OPTIMIZER_FILES,
    RESUME_FILES,
    STATE_FILE,
    is_readable,
    list_checkpoints,
    remove_incomplete,
    remove_outdated,
    strip_resume_files,
)
from adaptation.configs import TrainConfig
from adaptation.recorder import ANSWER_LOGITS_LINE, EpochOrder
from adaptation.train import follow, launch_plan
from prox.command import main
from prox.dialogue import Dialogue
from prox.errors import UserError
from tests.adaptation.killing import kill_training


def fake_run(folder: Path, weights: Path, steps: list[int]) -> None:
    for step in steps:
        checkpoint = folder / f"checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        shutil.copy(weights / "model.safetensors", checkpoint)
        (checkpoint / STATE_FILE).write_text(json.dumps({"global_step": step, "epoch": step / 5}))
        (checkpoint / OPTIMIZER_FILES[0]).write_bytes(b"state")
        Dialogue().save(checkpoint)


def test_the_newest_complete_checkpoint_is_resumed(tmp_path: Path, tiny_checkpoint: Path) -> None:
    fake_run(tmp_path, tiny_checkpoint, [9, 10, 100])
    (tmp_path / "checkpoint-100/dialogue.json").unlink()
    assert remove_incomplete(tmp_path) == tmp_path / "checkpoint-10"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-9"]


def test_within_an_epoch_only_the_newest_is_kept(tmp_path: Path, tiny_checkpoint: Path) -> None:
    fake_run(tmp_path, tiny_checkpoint, [3, 5, 7, 10, 12])
    remove_outdated(tmp_path)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-5", "checkpoint-10", "checkpoint-12"]
    assert [(path / OPTIMIZER_FILES[0]).is_file() for path in list_checkpoints(tmp_path)] == [False, False, True]


def test_what_is_left_of_a_removed_checkpoint_goes(tmp_path: Path, tiny_checkpoint: Path) -> None:
    """Killed while it removes one that lies within an epoch, the run must not stumble over the rest."""
    fake_run(tmp_path, tiny_checkpoint, [5, 7, 10])
    (tmp_path / "checkpoint-7" / STATE_FILE).unlink()
    (tmp_path / "checkpoint-10/pytorch_model_fsdp.bin").write_bytes(b"once more the weights")
    strip_resume_files(tmp_path)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-5", "checkpoint-10"]
    assert sorted(path.name for path in (tmp_path / "checkpoint-10").iterdir()) == [
        *["dialogue.json", "model.safetensors", STATE_FILE],
    ]


@pytest.mark.parametrize("group_by_length", [True, False])
@pytest.mark.parametrize("rank", [None, 0, 1])
def test_the_order_of_an_epoch_is_found_again(group_by_length: bool, rank: int | None) -> None:
    """Within an epoch, of one process and of two, whatever random numbers were drawn before."""
    lengths = [3 + number * 7 % 11 for number in range(40)]
    dataset = [{"input_ids": torch.arange(length), "number": number} for number, length in enumerate(lengths)]

    def loader() -> DataLoader:
        torch.rand(int(torch.randint(9, ())))
        sampler = LengthGroupedSampler(2, lengths=lengths) if group_by_length else RandomSampler(dataset)
        plain = DataLoader(
            dataset, batch_size=2, sampler=sampler, collate_fn=lambda rows: [row["number"] for row in rows]
        )
        processes = {} if rank is None else {"num_processes": 2, "process_index": rank}
        return prepare_data_loader(
            plain, **processes, put_on_device=False, rng_types=[], use_seedable_sampler=True, data_seed=5
        )

    def read(batches: DataLoader, epoch: int, skip: int = 0) -> list[list[int]]:
        arguments, state = SimpleNamespace(seed=5), SimpleNamespace(epoch=epoch + skip / 20)
        EpochOrder().on_epoch_begin(arguments, state, None, train_dataloader=batches)
        rest = skip_first_batches(batches, skip) if skip else batches
        rest.set_epoch(epoch)
        return list(rest)

    whole = loader()
    orders = [read(whole, epoch) for epoch in range(3)]
    assert orders[0] != orders[1] != orders[2]
    assert len(orders[0]) == (20 if rank is None else 10)
    resumed = loader()
    assert read(resumed, 1, skip=4) == orders[1][4:]
    assert read(resumed, 2) == orders[2]


def test_torn_weights_are_not_readable(tmp_path: Path, tiny_checkpoint: Path) -> None:
    fake_run(tmp_path, tiny_checkpoint, [5])
    weights = tmp_path / "checkpoint-5/model.safetensors"
    assert is_readable(tmp_path / "checkpoint-5")
    os.truncate(weights, weights.stat().st_size // 2)
    assert not is_readable(tmp_path / "checkpoint-5")


def test_without_an_optimizer_state_training_starts_over(tmp_path: Path, tiny_checkpoint: Path) -> None:
    fake_run(tmp_path, tiny_checkpoint, [5, 10])
    (tmp_path / "checkpoint-10" / OPTIMIZER_FILES[0]).unlink()
    assert remove_incomplete(tmp_path) is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("examples", "micro", "total", "epochs", "steps"),
    [(24, 4, 8, 3, 9), (25, 4, 8, 1, 4), (2000, 8, 32, 3, 189), (1, 8, 64, 2, 2)],
)
def test_number_of_steps(examples: int, micro: int, total: int, epochs: int, steps: int) -> None:
    config = TrainConfig(output=Path("x"), micro_batch_size=micro, global_batch_size=total, num_epochs=epochs)
    assert config.num_steps(examples) == steps


def test_settings_that_cannot_work_are_all_named(tmp_path: Path, split: Path, tiny_checkpoint: Path) -> None:
    (split / "report.json").write_text("{}")
    config = TrainConfig(
        output=tmp_path / "out", data=split, base=str(tiny_checkpoint), global_batch_size=30, min_learning_rate=1.0
    )
    problems = " ".join(config.problems())
    assert "has no dialogue.json" in problems
    assert "global_batch_size 30" in problems
    assert "min_learning_rate 1.0" in problems


class Curve:
    """A W&B run of a test."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def log(self, metrics: dict[str, float], step: int) -> None:
        self.rows.append((step, metrics))

    def finish(self) -> None:
        """Nothing to close."""


def test_the_curve_is_passed_on_once_and_from_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed trainer writes its whole history again; W&B has the lines before the checkpoint already."""
    metrics = tmp_path / "metrics.jsonl"
    monkeypatch.setattr("adaptation.train.POLL_SECONDS", 0)
    written = [{"step": step, "loss": 1 / step, "learning_rate": 0.1} for step in (1, 5, 6, 10, 12)]

    class Process:
        polls = 0

        def poll(self) -> int | None:
            self.polls += 1
            lines = written[: 2 * self.polls]
            metrics.write_text("".join(json.dumps(row) + "\n" for row in lines))
            return 0 if self.polls == 4 else None

    curve = Curve()
    follow(Process(), metrics, 12, curve, first_step=6)
    assert curve.rows == [(step, {"loss": 1 / step, "learning_rate": 0.1}) for step in (10, 12)]


TRAINING = ["--num_epochs", "3", "--global_batch_size", "4", "--micro_batch_size", "2", "--learning_rate", "0.01"]
TRAINING += ["--min_learning_rate", "0.001", "--log_every", "5"]


def run(*arguments: object) -> None:
    assert main("adaptation", VERBS, [str(argument) for argument in arguments]) == 0


def export(split: Path, base: Path, output: Path, task: str) -> None:
    options = ["--dialogue.layout", "plain", "--dialogue.system", "", "--max_new_tokens", "48"]
    run("export", "--examples", split, "--task", task, "--base", base, "--output", output, *options)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("task", ["document", "chunk"])
def test_from_examples_to_the_selected_refiner(task: str, split: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    export(split, tiny_checkpoint, tmp_path / "data", task)
    run("train", "--data", tmp_path / "data", "--base", tiny_checkpoint, "--output", tmp_path / "train", *TRAINING)
    checkpoints = sorted((tmp_path / "train/checkpoints").iterdir())
    assert [path.name for path in checkpoints] == ["checkpoint-12", "checkpoint-18", "checkpoint-6"]
    assert ANSWER_LOGITS_LINE in (tmp_path / "train/train.log").read_text()
    for path in checkpoints:
        assert is_readable(path)
        assert not [file for pattern in RESUME_FILES for file in path.glob(pattern)]
    curve = [json.loads(line) for line in (tmp_path / "train/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in curve] == [1, 5, 6, 10, 12, 15, 18]
    assert curve[-1]["loss"] < curve[0]["loss"]
    assert curve[-1]["learning_rate"] == pytest.approx(0.001, rel=0.2)

    options = ["--examples", split, "--task", task, "--max_new_tokens", "48"]
    run("validate", "--checkpoints", tmp_path / "train", "--output", tmp_path / "scores", *options)
    metrics = json.loads((tmp_path / "scores/metrics.json").read_text())
    assert len(metrics["checkpoints"]) == 3
    predictions = (tmp_path / "scores/checkpoint-18/predictions.jsonl").read_text().splitlines()
    assert len(predictions) == 9

    run("select", "--metrics", tmp_path / "scores", "--output", tmp_path / "refiner")
    best = max(metrics["checkpoints"], key=lambda row: row["f1"])
    chosen = Path(best["checkpoint"])
    assert (tmp_path / "refiner/model.safetensors").read_bytes() == (chosen / "model.safetensors").read_bytes()
    assert (tmp_path / "refiner/dialogue.json").is_file()
    card = (tmp_path / "refiner/README.md").read_text()
    assert str(tiny_checkpoint) in card
    assert "rule-based stand-in" in card
    assert f"{best['name']} (this one)" in card

    run("validate", "--checkpoint", tmp_path / "refiner", "--output", tmp_path / "again", *options)
    again = json.loads((tmp_path / "again/metrics.json").read_text())["checkpoints"][0]
    assert again["f1"] == best["f1"]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_killed_run_ends_like_an_undisturbed_one(
    split: Path, tiny_checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    export(split, tiny_checkpoint, tmp_path / "data", "chunk")
    options = ["--data", tmp_path / "data", "--base", tiny_checkpoint, *TRAINING, "--save_every", "4"]
    run("train", *options, "--output", tmp_path / "whole")

    arguments = [*options, "--output", tmp_path / "killed"]
    step = kill_training(arguments, tmp_path / "killed", 8)  # within the second epoch
    with caplog.at_level("INFO", logger="prox"):
        run("train", *arguments)
    assert f"going on from {tmp_path}/killed/checkpoints/checkpoint-{step}" in caplog.text

    for name in ("checkpoints/checkpoint-6", "checkpoints/checkpoint-12", "checkpoints/checkpoint-18"):
        file = f"{name}/model.safetensors"
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    assert (tmp_path / "killed/metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()


def test_a_failing_library_names_its_log(
    split: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(split, tiny_checkpoint, tmp_path / "data", "chunk")
    (tmp_path / "data/dataset_info.json").write_text("{}")
    arguments = ["--data", tmp_path / "data", "--base", tiny_checkpoint, "--output", tmp_path / "out", *TRAINING]
    assert main("adaptation", VERBS, ["train", *map(str, arguments)]) == 1
    message = capsys.readouterr().err
    assert "train.log" in message
    assert "Undefined dataset" in message
    assert not (tmp_path / "out/_SUCCESS").exists()


def test_sharding_needs_gpus(
    split: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """accelerate ignores FSDP on CPU, so a run there would not be what was asked for."""
    arguments = ["--data", tmp_path / "data", "--base", tiny_checkpoint, "--output", tmp_path / "out", *TRAINING]
    export(split, tiny_checkpoint, tmp_path / "data", "chunk")
    assert main("adaptation", VERBS, ["train", *map(str, arguments), "--strategy", "fsdp"]) == 2
    assert "devices is 1" in capsys.readouterr().err
    config = TrainConfig(output=tmp_path, data=tmp_path / "data", base="b", devices=2, strategy="fsdp")
    plan = launch_plan(config, json.loads((tmp_path / "data/report.json").read_text()), None)
    assert plan["arguments"]["fsdp"] == "full_shard auto_wrap"
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no GPU is here"):
            launcher.run(plan | {"arguments": plan["arguments"] | {"model_name_or_path": str(tiny_checkpoint)}})


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_two_processes_train_like_one(split: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    """At the same global batch size; over gloo on CPU."""
    export(split, tiny_checkpoint, tmp_path / "data", "chunk")
    curves = []
    for devices in (1, 2):
        output = tmp_path / f"on-{devices}"
        options = [*TRAINING, "--devices", devices, "--group_by_length", "false"]
        run("train", "--data", tmp_path / "data", "--base", tiny_checkpoint, "--output", output, *options)
        curves.append([json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()])
    assert [row["step"] for row in curves[0]] == [row["step"] for row in curves[1]]
    for one, two in zip(*curves, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-3)
        assert two["learning_rate"] == one["learning_rate"]
