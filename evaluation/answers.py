"""What a model answered, question by question: kept beside each score, so that two evaluations can be compared."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from evaluation.records import Metric
from prox.artifact import write_atomically


@dataclass(frozen=True)
class Answer:
    """One question and what the model made of its choices."""

    subset: str
    row: int
    """Number of the question in its split."""
    question: str
    """Digest of the question's row (`benchmark_data`), by which two evaluations find the same one."""
    gold: int
    """Index of the right choice."""
    loglikelihoods: list[float]
    """Of each choice, summed over its tokens (natural log)."""
    lengths: list[int]
    """Of each choice, in characters; ones where the task has no normalised accuracy."""

    def choice(self, normalised: bool) -> int:
        """Index of the likeliest choice, by its length where ``normalised``; of equals the first, as in harnesses."""
        scores = [
            value / (length if normalised else 1)
            for value, length in zip(self.loglikelihoods, self.lengths, strict=True)
        ]
        return scores.index(max(scores))


@dataclass(frozen=True)
class TaskScores:
    """What a harness found on one task."""

    metrics: dict[str, Metric]
    headline: str
    """The metric that the paper's tables show."""
    answers: Sequence[Any]
    """Dataclasses, one a question."""
    details: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    example: str = ""
    """The first question as the model was asked it."""


def answers_path(folder: Path, name: str, suite: str, task: str, num_fewshot: int) -> Path:
    """Where the answers behind a record lie in an artefact."""
    shots = f".{num_fewshot}-shot" if num_fewshot else ""
    return folder / "answers" / f"{name}.{suite}.{task}{shots}.jsonl"


def write_answers(path: Path, answers: Iterable[Any]) -> None:
    """Writes one answer a line, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, "".join(json.dumps(asdict(answer), ensure_ascii=False) + "\n" for answer in answers))


def write_example(answers: Path, example: str) -> None:
    """Writes the first question of a task beside the file of its answers."""
    path = answers.parent.with_name("examples") / f"{answers.stem}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, f"{example}\n")


def shown(prompt: str, choices: Iterable[str], gold: int) -> str:
    """A multiple-choice question as text: the prompt, and each choice as it follows."""
    lines = [f"{'*' if number == gold else '-'} {choice!r}" for number, choice in enumerate(choices)]
    return "\n".join([prompt, "", "choices, the right one marked *:", *lines])


def read_answers(path: Path) -> list[Answer]:
    """The answers to a multiple-choice task."""
    return [Answer(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
