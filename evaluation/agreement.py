"""``evaluation agreement``: the same model's choices under two harnesses (or settings), question by question."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from evaluation.agreement_config import AgreementConfig
from evaluation.answers import Answer, read_answers
from prox.artifact import write_atomically, write_json
from prox.errors import UserError

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
    """Writes ``agreement.md``, ``.csv``, ``.json`` and ``differences.jsonl``; returns the share of equal choices."""
    rows: list[Agreement] = []
    differences: list[dict[str, Any]] = []
    for first, second, model, task in config.pairs():
        one, other = by_question(read_answers(first)), by_question(read_answers(second))
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
    return {metric: share(row for row in rows if row.metric == metric) for metric in NORMALISATIONS}


def by_question(answers: Iterable[Answer]) -> dict[tuple[str, int], Answer]:
    """The answers by subset and number of their question."""
    return {(answer.subset, answer.row): answer for answer in answers}


def compare(
    model: str, task: str, metric: str, one: dict[tuple[str, int], Answer], other: dict[tuple[str, int], Answer]
) -> Agreement | None:
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


def disagreements(
    model: str, task: str, one: dict[tuple[str, int], Answer], other: dict[tuple[str, int], Answer]
) -> list[dict[str, Any]]:
    """The questions whose likeliest choice differs, with both likelihoods."""
    return [
        {
            "model": model,
            "task": task,
            "subset": key[0],
            "row": key[1],
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
        "| model | task | metric | normalisation | questions | same choice | first right | second right |",
        "| --- | --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        numbers = [f"{value:.1%}" for value in (row.same_choice, row.first_accuracy, row.second_accuracy)]
        cells = [row.model, row.task, row.metric, row.normalisation, f"{row.questions:,}", *numbers]
        lines.append("| " + " | ".join(cells) + " |")
    for metric in NORMALISATIONS:
        members = [row for row in rows if row.metric == metric]
        total = sum(row.questions for row in members)
        lines.append(
            f"| all | {len(members)} | {metric} | {NORMALISATIONS[metric]} | {total:,} | {share(members):.1%} | | |"
        )
    return "\n".join(lines) + "\n"


def as_csv(rows: list[Agreement]) -> str:
    """The comparison with all digits."""
    output = io.StringIO()
    writer = csv.DictWriter(output, fieldnames=list(vars(rows[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(vars(row) for row in rows)
    return output.getvalue()
