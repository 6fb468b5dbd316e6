"""The multiple-choice task through both harnesses for real, against scores computed by hand."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from evaluation.models import load_model
from evaluation.records import Record, read_record

if TYPE_CHECKING:
    from conftest import Evaluation, ReadRows


def hand_scores(checkpoint: Path, items: list[dict]) -> dict[str, float]:
    """acc and acc_norm in a few lines of PyTorch: one choice at a time, no batching, no harness."""
    import torch

    model, tokenizer = load_model(checkpoint, "cpu", "float32")
    right = {"acc": 0, "acc_norm": 0}
    for item in items:
        sums = []
        for choice in item["choices"]:
            context = tokenizer(item["context"])["input_ids"]
            ids = torch.tensor([context + tokenizer(f" {choice}")["input_ids"]])
            with torch.no_grad():
                logprobs = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
            sums.append(float(logprobs.gather(1, ids[0, 1:, None])[len(context) - 1 :].sum()))
        by_length = [total / len(choice) for total, choice in zip(sums, item["choices"], strict=True)]
        right["acc"] += sums.index(max(sums)) == item["answer"]
        right["acc_norm"] += by_length.index(max(by_length)) == item["answer"]
    return {name: count / len(items) for name, count in right.items()}


@pytest.fixture(scope="module", params=["lm_eval", "lighteval"])
def outcome(
    request: pytest.FixtureRequest,
    evaluation: "Evaluation",
    yardstick: Path,
    tiny_checkpoint: Path,
    uniform_checkpoint: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The artefact of one harness run over two models."""
    output = tmp_path_factory.mktemp("choice") / request.param
    models = ("--models.tiny", tiny_checkpoint, "--models.uniform", uniform_checkpoint)
    assert evaluation("choice", "--output", output, "--harness", request.param, *models, "--yardstick", yardstick) == 0
    return output


def record_of(outcome: Path, model: str) -> Record:
    return read_record(outcome / "records" / f"{model}.{outcome.name}.continuation.json")


def test_scores_are_those_computed_by_hand(
    outcome: Path, yardstick: Path, tiny_checkpoint: Path, read_rows: "ReadRows"
) -> None:
    expected = hand_scores(tiny_checkpoint, read_rows(yardstick / "choice/validation.jsonl"))
    record = record_of(outcome, "tiny")
    assert {name: metric.value for name, metric in record.metrics.items()} == pytest.approx(expected)
    for metric in record.metrics.values():
        error = (metric.value * (1 - metric.value) / (record.num_samples - 1)) ** 0.5
        assert metric.stderr == pytest.approx(error)


def test_record_says_what_was_measured(outcome: Path, yardstick: Path) -> None:
    record = record_of(outcome, "tiny")
    assert (record.suite, record.task, record.num_samples, record.num_fewshot) == (outcome.name, "continuation", 24, 0)
    assert len(record.task_hash) == len(record.data_hash) == 64
    assert record.suite_version[0].isdigit()
    assert record.data == json.loads((yardstick / "card.json").read_text())["source"]


def test_nothing_is_left_behind(outcome: Path, tiny_checkpoint: Path) -> None:
    assert sorted(path.name for path in outcome.iterdir()) == ["_SUCCESS", "config.yaml", "records"]
    assert not any(path.is_dir() for path in tiny_checkpoint.iterdir())


def test_gradients_stay_on(outcome: Path) -> None:
    import torch

    assert torch.is_grad_enabled()


def test_a_model_without_preference_scores_at_chance(outcome: Path) -> None:
    # Equal log-likelihood a token: the shortest choice in tokens wins, which the items make no better than chance.
    record = record_of(outcome, "uniform")
    for metric in record.metrics.values():
        assert metric.stderr is not None
        assert abs(metric.value - 0.25) < 3 * metric.stderr


def test_yardstick_without_items_is_refused(
    evaluation: "Evaluation", tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluation("yardstick", "--output", tmp_path / "y", "--num_items", "0") == 0
    models = ("--models.tiny", tiny_checkpoint)
    assert evaluation("choice", "--output", tmp_path / "out", *models, "--yardstick", tmp_path / "y") == 2
    assert "no multiple-choice set" in capsys.readouterr().err
