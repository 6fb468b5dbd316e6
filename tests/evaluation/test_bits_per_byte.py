"""Bits per byte against arithmetic that can be done by hand."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from evaluation.bits_per_byte import (
    document_prefix,
    encode,
    ratio_with_stderr,
    sample_documents,
    score_sequences,
    windows,
)
from evaluation.models import load_model
from evaluation.records import read_record
from prox.errors import UserError

if TYPE_CHECKING:
    from conftest import Evaluation

SMALL = ("--max_bytes", "6000", "--stride", "0.75")


@pytest.mark.parametrize("num_tokens", [1, 2, 3, 9, 10, 11, 64, 101])
@pytest.mark.parametrize(("context", "stride"), [(10, 10), (10, 5), (10, 1), (7, 3), (2, 1)])
def test_windows_score_every_token_once(num_tokens: int, context: int, stride: int) -> None:
    scored = []
    for window in windows(num_tokens, context, stride):
        assert 0 <= window.begin < window.end < num_tokens
        assert window.end - window.begin <= context
        assert window.num_scored <= window.end - window.begin
        scored += range(window.end - window.num_scored + 1, window.end + 1)
    assert scored == list(range(1, num_tokens))


def test_uniform_model_needs_log2_of_the_vocabulary_a_token(
    evaluation: "Evaluation", uniform_checkpoint: Path, yardstick: Path, tmp_path: Path
) -> None:
    assert (
        evaluation(
            "bits_per_byte",
            "--output",
            tmp_path / "out",
            "--models.uniform",
            uniform_checkpoint,
            "--yardstick",
            yardstick,
            *SMALL,
        )
        == 0
    )
    record = read_record(tmp_path / "out/records/uniform.bits_per_byte.yardstick.json")
    vocabulary = json.loads((uniform_checkpoint / "config.json").read_text())["vocab_size"]
    counts = record.details
    expected = math.log2(vocabulary) * counts["num_tokens"] / counts["num_bytes"]
    assert record.metrics["bits_per_byte"].value == pytest.approx(expected, rel=1e-6)
    assert 0 < counts["num_bytes"] <= 6000
    assert record.num_samples > 1


def test_batch_size_changes_nothing(tiny_checkpoint: Path) -> None:
    model, tokenizer = load_model(tiny_checkpoint, "cpu", "float32")
    sequences = encode(tokenizer, ["A river is a natural stream of water. " * 9, "植物は光合成", "x"])
    one, five = (score_sequences(model, sequences, context=64, stride=32, batch_size=size) for size in (1, 5))
    assert one == pytest.approx(five, rel=1e-5)


def test_windows_agree_with_one_pass_over_a_short_document(tiny_checkpoint: Path) -> None:
    import torch

    model, tokenizer = load_model(tiny_checkpoint, "cpu", "float32")
    (ids,) = encode(tokenizer, ["Rivers are fed by rain, springs and melting snow."])
    assert score_sequences(model, [ids], context=512, stride=256, batch_size=4)[0] == pytest.approx(
        model(input_ids=torch.tensor([ids]), labels=torch.tensor([ids])).loss.item() * (len(ids) - 1), rel=1e-5
    )


def test_prefix_is_what_begins_documents_in_training(tiny_checkpoint: Path) -> None:
    from tokenizers.processors import TemplateProcessing

    _, tokenizer = load_model(tiny_checkpoint, "cpu", "float32")
    assert document_prefix(tokenizer) == tokenizer.eos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    assert document_prefix(tokenizer) == tokenizer.bos_token_id == 0


def test_ratio_estimator() -> None:
    exact = ratio_with_stderr([10.0, 20.0, 30.0], [5, 10, 15])
    assert (exact.value, exact.stderr) == (2.0, 0.0)
    spread = ratio_with_stderr([10.0, 30.0], [10, 10])
    assert spread.value == 2.0
    assert spread.stderr == pytest.approx(1.0)  # as the standard error of the mean of 1 and 3
    assert ratio_with_stderr([3.0], [2]).stderr is None


def test_sample_is_seeded_and_within_its_budget() -> None:
    texts = {str(number): "x" * number for number in range(1, 50)}
    chosen = sample_documents(texts, 200, seed=0)
    assert sum(map(len, chosen.values())) <= 200
    assert chosen == sample_documents(dict(reversed(texts.items())), 200, seed=0)
    assert chosen != sample_documents(texts, 200, seed=1)
    assert sample_documents(texts, 0, seed=0) == texts
    with pytest.raises(UserError, match="--max_bytes 1 fits no document"):
        sample_documents({"a": "xyz"}, 1, seed=0)


def test_one_broken_model_loses_no_other(
    evaluation: "Evaluation",
    tiny_checkpoint: Path,
    broken_checkpoint: Path,
    yardstick: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    models = ("--models.bad", broken_checkpoint, "--models.good", tiny_checkpoint)
    command = ("bits_per_byte", "--output", tmp_path / "out", *models, "--yardstick", yardstick, *SMALL)
    assert evaluation(*command) == 1
    message = capsys.readouterr().err
    assert "1 of 2 models could not be scored: bad (" in message
    good = tmp_path / "out/records/good.bits_per_byte.yardstick.json"
    before = good.stat().st_mtime_ns
    assert not (tmp_path / "out/_SUCCESS").exists()
    # The same command again measures only what is missing.
    assert evaluation(*command) == 1
    assert good.stat().st_mtime_ns == before


def test_unusable_models_are_refused_before_any_work(
    evaluation: "Evaluation", yardstick: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = ("--models.a/b", yardstick, "--models.gone", tmp_path / "gone")
    assert evaluation("bits_per_byte", "--output", tmp_path / "out", *models, "--yardstick", tmp_path / "none") == 2
    message = capsys.readouterr().err
    assert all(part in message for part in ("--models.a/b", "no config.json", "gone does not exist", "--yardstick"))
