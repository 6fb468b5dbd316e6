"""Commands of a tagger's training, for its tests."""

from pathlib import Path

from adaptation.__main__ import VERBS
from prox.command import main

TAGGER = ["--dialogue.kind", "tagger", "--dialogue.layout", "plain", "--dialogue.system", ""]
TRAINING = ["--num_epochs", "6", "--global_batch_size", "4", "--micro_batch_size", "2", "--learning_rate", "1e-2"]
TRAINING += ["--min_learning_rate", "1e-3", "--lm_weight", "0.1", "--precision", "fp32", "--tracking.wandb", "disabled"]


def run(*arguments: object) -> None:
    assert main("adaptation", VERBS, [str(argument) for argument in arguments]) == 0


def export(split: Path, base: Path, output: Path) -> Path:
    run("export", "--examples", split, "--base", base, "--context", 200, *TAGGER, "--output", output)
    return output
