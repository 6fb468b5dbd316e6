"""A few random examples with what the refiner wrote beside what it should have written, for people to read."""

import random
from collections.abc import Sequence
from typing import Any

from adaptation.configs import Task
from adaptation.examples import Example
from prox.answers import program_of
from prox.chunking import shorten_lines
from prox.confusion import removed_lines
from prox.engines import Completion
from prox.operations import line_marker

NUM_SAMPLES = 10
LINE_CHARACTERS = 100
DOCUMENT_LINES = 12
INDENT = "    "
"""Makes a code block in Markdown, whatever backticks the page holds."""
LEGEND = (
    "In front of each line: blank where both keep it, `-` where both remove it, `x` where the refiner alone removes it "
    "(a loss), `o` where it keeps what the reference removes (noise left), `?` where the reference leaves it open."
)


def render_samples(task: Task, examples: Sequence[Example], predictions: Sequence[dict[str, Any]], seed: int) -> str:
    """Markdown of ``NUM_SAMPLES`` random examples, in the set's order: not the best ones, nor the worst."""
    numbers = sorted(random.Random(seed).sample(range(len(examples)), min(NUM_SAMPLES, len(examples))))
    parts = [f"# {len(numbers)} of {len(examples):,} examples, drawn at random (seed {seed})\n"]
    if task == "chunk":
        parts.append(LEGEND + "\n")
    render = _chunk if task == "chunk" else _document
    parts += [render(examples[number], predictions[number]) for number in numbers]
    return "\n".join(parts)


def _document(example: Example, prediction: dict[str, Any]) -> str:
    lines = shorten_lines(example.text, LINE_CHARACTERS).split("\n")
    shown = lines[:DOCUMENT_LINES]
    if len(lines) > len(shown):
        shown.append(f"({len(lines) - len(shown)} more lines)")
    verdict = "right" if prediction["predicted"] == prediction["reference"] else "wrong"
    return "\n".join(
        [
            f"## {example.id}: {verdict}\n",
            f"Reference `{prediction['reference']}`, refiner `{prediction['predicted']}` "
            f"(probability of keeping {prediction['p_keep']:.3f}).\n",
            *(INDENT + line for line in shown),
            "",
        ]
    )


def _chunk(example: Example, prediction: dict[str, Any]) -> str:
    answer = Completion(prediction["predicted"], prediction["num_tokens"], prediction["finish_reason"])
    lines = shorten_lines(example.text, LINE_CHARACTERS).split("\n")
    span = (example.first_line, len(lines))
    program = program_of(answer, prediction["style"])
    right, found = removed_lines(example.reference, *span), removed_lines(program, *span)
    rows, wrong = [], 0
    for number, line in enumerate(lines, example.first_line):
        mark = {(True, True): "-", (False, True): "x", (True, False): "o"}.get((number in right, number in found), " ")
        if number in example.ambiguous_lines:
            mark = "?"
        wrong += mark in "xo"
        rows.append(f"{INDENT}{mark} {line_marker(number)}{line}")
    return "\n".join(
        [
            f"## {example.id}, lines {example.first_line} to {example.first_line + len(lines) - 1}: "
            f"{wrong} of {len(lines)} lines wrong\n",
            "Refiner:\n",
            *(INDENT + line for line in prediction["predicted"].split("\n")),
            "\nReference:\n",
            *(INDENT + line for line in prediction["reference"].split("\n")),
            "\nText:\n",
            *rows,
            "",
        ]
    )
