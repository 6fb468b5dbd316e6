"""``evaluation agreement``: the same model's choices under two harnesses (or settings), question by question."""

import csv
import io
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from evaluation.agreement_config import AgreementConfig
from evaluation.answers import Answer, read_answers
from prox.artifact import write_atomically, write_json
from prox.errors import UserError

log = logging.getLogger("prox")

# How a choice is taken: by the likelihood of its text, or by that over its length.
NORMALISATIONS = {"acc": "none", "acc_norm": "by characters"}


@dataclass(frozen=True)
class Agreement:
    """Two evaluations of one task, compared."""

    model: str
    task: str
    metric: str
    normalisation: str
    questions: int
    """Questions that both were asked."""
    same_choice: float
    """Share of them with the same choice."""
    first_accuracy: float
    second_accuracy: float
    only_first: int
    """Questions that the first alone was asked."""
    only_second: int


def compare_answers(config: AgreementConfig) -> dict[str, Any]:
    """Writes ``agreement.md``, ``.csv``, ``.json`` and ``differences.json``; returns the share of equal choices."""
    rows: list[Agreement] = []
    differences: list[dict[str, Any]] = []
    for first, second, model, task in config.pairs():
        one, other = by_question(read_answers(first)), by_question(read_answers(second))
        if not one.keys() & other.keys():
            log.warning("%s on %s: no question was asked in both; name the same split (--splits.%s)", model, task, task)
        for metric in NORMALISATIONS:
            row = compare(model, task, metric, one, other)
            if row is not None:
                rows.append(row)
        differences += disagreements(model, task, one, other)
    if not rows:
        raise UserError("no question was asked in both: name the same split in both evaluations (--splits.<task>)")
    write_atomically(config.output / "agreement.md", render(rows, config))
    write_atomically(config.output / "agreement.csv", as_csv(rows))
    write_json(config.output / "agreement.json", [vars(row) for row in rows])
    write_json(config.output / "differences.json", differences)
    print(render(rows, config))
    return {metric: share(row for row in rows if row.metric == metric) for metric in metrics_in(rows)}


def metrics_in(rows: list[Agreement]) -> list[str]:
    """The metrics that any pair has."""
    return [metric for metric in NORMALISATIONS if any(row.metric == metric for row in rows)]


def by_question(answers: Iterable[Answer]) -> dict[str, Answer]:
    """The answers by their question's digest."""
    return {answer.question: answer for answer in answers}


def compare(model: str, task: str, metric: str, one: dict[str, Answer], other: dict[str, Answer]) -> Agreement | None:
    """The two evaluations of a task under one metric; None where they share no question, or one has no lengths."""
    shared = sorted(one.keys() & other.keys())
    if not shared:
        return None
    normalised = metric == "acc_norm"
    if normalised and not (has_lengths(one.values()) and has_lengths(other.values())):
        return None
    choices = [(one[key].choice(normalised), other[key].choice(normalised)) for key in shared]
    golds = [one[key].gold for key in shared]
    return Agreement(
        model,
        task,
        metric,
        NORMALISATIONS[metric],
        len(shared),
        sum(first == second for first, second in choices) / len(shared),
        sum(first == gold for (first, _), gold in zip(choices, golds, strict=True)) / len(shared),
        sum(second == gold for (_, second), gold in zip(choices, golds, strict=True)) / len(shared),
        len(one) - len(shared),
        len(other) - len(shared),
    )


def has_lengths(answers: Iterable[Answer]) -> bool:
    """Whether the task has a normalised accuracy."""
    return any(length != 1 for answer in answers for length in answer.lengths)


def disagreements(model: str, task: str, one: dict[str, Answer], other: dict[str, Answer]) -> list[dict[str, Any]]:
    """The questions whose likeliest choice differs, with both likelihoods."""
    return [
        {
            "model": model,
            "task": task,
            "subset": one[key].subset,
            "row": one[key].row,
            "gold": one[key].gold,
            "first": one[key].loglikelihoods,
            "second": other[key].loglikelihoods,
        }
        for key in sorted(one.keys() & other.keys())
        if one[key].choice(normalised=False) != other[key].choice(normalised=False)
    ]


def share(rows: Iterable[Agreement]) -> float:
    """Share of equal choices over all questions of all tasks."""
    counted = [(row.questions, row.same_choice) for row in rows]
    return round(sum(count * same for count, same in counted) / sum(count for count, _ in counted), 4)


def render(rows: list[Agreement], config: AgreementConfig) -> str:
    """The comparison in Markdown."""
    lines = [
        f"First: {config.first_label()}. Second: {config.second_label()}.",
        "",
        "| model | task | metric | normalised | questions | same choice | first right | second right | not in both |",
        "| --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        numbers = [f"{value:.1%}" for value in (row.same_choice, row.first_accuracy, row.second_accuracy)]
        alone = f"{row.only_first:,} + {row.only_second:,}"
        cells = [row.model, row.task, row.metric, row.normalisation, f"{row.questions:,}", *numbers, alone]
        lines.append("| " + " | ".join(cells) + " |")
    for metric in metrics_in(rows):
        members = [row for row in rows if row.metric == metric]
        total = sum(row.questions for row in members)
        lines.append(
            f"| all | {len(members)} | {metric} | {NORMALISATIONS[metric]} | {total:,} | {share(members):.1%} | | | |"
        )
    if any(row.task == "winogrande" for row in rows):
        lines += [
            "",
            "WinoGrande: the selection suite scores what follows each option, the general one option and all.",
        ]
    return "\n".join(lines) + "\n"


def as_csv(rows: list[Agreement]) -> str:
    """The comparison with all digits."""
    output = io.StringIO()
    writer = csv.DictWriter(output, fieldnames=list(vars(rows[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(vars(row) for row in rows)
    return output.getvalue()
