"""Fixtures of the evaluation tests: a yardstick of this Python's topics, and models whose scores are known."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evaluation.__main__ import VERBS
from prox.command import main

Evaluation = Callable[..., int]
Told = Callable[..., tuple[int, str]]
ReadRows = Callable[[Path], list[dict[str, Any]]]


@pytest.fixture(scope="session")
def evaluation() -> Evaluation:
    """Runs one evaluation verb in this process; returns its exit status."""
    return lambda *arguments: main("evaluation", VERBS, [str(argument) for argument in arguments])


@pytest.fixture
def told(evaluation: Evaluation, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Told:
    """Runs one evaluation verb into a new folder; returns its exit status, and what it said on stderr."""

    def run(verb: str, *options: object) -> tuple[int, str]:
        status = evaluation(verb, *options, "--output", tmp_path / verb)
        return status, capsys.readouterr().err

    return run


@pytest.fixture(scope="session")
def read_rows() -> ReadRows:
    """Reads a JSONL file."""
    return lambda path: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="session")
def yardstick(evaluation: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small committed yardstick: all topics, 24 items with short contexts."""
    folder = tmp_path_factory.mktemp("yardstick") / "yardstick"
    sizes = ("--max_context_chars", "150", "--max_sentence_chars", "80")
    assert evaluation("yardstick", "--output", folder, "--num_items", "24", *sizes) == 0
    return folder


@pytest.fixture(scope="session")
def uniform_checkpoint(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint with an output layer of zeros: every token is equally likely everywhere."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("uniform") / "checkpoint"
    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
    model.lm_head.weight.data.zero_()
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_checkpoint).save_pretrained(folder)
    return folder


@pytest.fixture
def broken_checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint whose weights are cut short, as after a full disk."""
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "broken")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    return folder
