"""The annotated examples that the stage reads, and their prompts and answers as a refiner sees them."""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptation.configs import Task
from prox.chunking import Chunk
from prox.dialogue import Dialogue, Prompt, PromptRenderer
from prox.errors import UserError
from prox.program import Program, Style, parse_program
from prox.tagging import are_probabilities


@dataclass(frozen=True)
class Example:
    """A document, or a chunk whose first line has the number ``first_line`` in its document, and its program.

    ``ambiguous_lines`` are lines of the chunk, numbered as in its program, that no score may count. ``teacher`` is how
    likely another model finds it that each line is removed; empty where none was asked.
    """

    id: str
    text: str
    program: str
    first_line: int = 0
    ambiguous_lines: frozenset[int] = frozenset()
    teacher: tuple[float, ...] = ()

    def prompt(self, task: Task, renderer: PromptRenderer) -> Prompt:
        """The refiner's prompt, cut to the renderer's limit."""
        if task == "document":
            return renderer.documents([self.text])[0]
        return renderer.chunk(Chunk(self.first_line, self.text))

    @property
    def reference(self) -> Program:
        """The annotated program; split files are written in the `calls` style."""
        return parse_program(self.program)


def answer_style(task: Task, dialogue: Dialogue) -> Style:
    """Document programs are always written as calls; the dialogue's style is about chunk programs."""
    return "calls" if task == "document" else dialogue.style


def read_examples(path: Path, limit: int | None = None) -> Iterator[Example]:
    """Examples of a split file in order, the first ``limit`` of them; a line that is none is a ``UserError``."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if limit is not None and number >= limit:
                return
            yield _example(line, f"{path} line {number + 1}")


def _example(line: str, place: str) -> Example:
    try:
        row: dict[str, Any] = json.loads(line)
        example = Example(row["id"], row["text"], row["program"], row.get("first_line", 0))
        ambiguous, teacher = row.get("ambiguous_lines", []), row.get("teacher", [])
    except (json.JSONDecodeError, TypeError, AttributeError) as error:
        raise UserError(f"{place} is no JSON object ({error}): run the step that writes it again") from None
    except KeyError as error:
        raise UserError(f"{place} has no field {error}: an example has id, text and program") from None
    if not all(isinstance(value, str) for value in (example.id, example.text, example.program)):
        raise UserError(f"{place}: id, text and program must be strings")
    if type(example.first_line) is not int or example.first_line < 0:
        raise UserError(f"{place}: first_line {example.first_line!r} must be a whole number from 0 on")
    return dataclasses.replace(
        example, ambiguous_lines=_lines_of(example, ambiguous, place), teacher=_teacher_of(example, teacher, place)
    )


def _lines_of(example: Example, numbers: Any, place: str) -> frozenset[int]:
    """The numbers, each that of a line of the example; others are a ``UserError``."""
    lines = range(example.first_line, example.first_line + example.text.count("\n") + 1)
    if not isinstance(numbers, list) or not all(type(number) is int and number in lines for number in numbers):
        raise UserError(
            f"{place}: ambiguous_lines {str(numbers)[:80]} must be a list of numbers of the example's lines, "
            f"{lines.start} to {lines.stop - 1}"
        )
    return frozenset(numbers)


def _teacher_of(example: Example, probabilities: Any, place: str) -> tuple[float, ...]:
    """A probability for each line of the example, or none at all; anything else is a ``UserError``."""
    num_lines = example.text.count("\n") + 1
    if probabilities == []:
        return ()
    if not are_probabilities(probabilities, num_lines):
        raise UserError(
            f"{place}: teacher {str(probabilities)[:80]} must be a list of {num_lines} numbers from 0 to 1, one a "
            "line of the example"
        )
    return tuple(probabilities)
