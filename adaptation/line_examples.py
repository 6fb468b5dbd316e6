"""A tagger's training examples: a chunk, and a verdict for each of its lines."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from adaptation.example_writer import ExampleWriter
from adaptation.examples import Example
from prox.chunking import Chunk
from prox.confusion import removed_lines
from prox.errors import UserError
from prox.spelling import LEAST_LETTERS, Spelling
from prox.tagging import LinePromptRenderer, encode_lines

KEEP, REMOVE, OPEN = "=-?"
"""How a verdict is written in the files; an open one teaches nothing."""
VALUES = {KEEP: 0.0, REMOVE: 1.0}
TAUGHT_QUANTILE = 0.99
ROOM_BEYOND = 1.13
"""How many times as many tokens a letter as 99 of 100 training pages a page may take. Where these are English, three in
a thousand take more; German, Italian and French pages take at least 1.15 times as many (docs/benchmarks.md)."""

LEAST_SHOWN = 0.5
"""How much less of a page may be shown than of 99 of 100 training pages. A tenth to half of a page of lines is shown, a
hundredth of an article that is one line (docs/benchmarks.md)."""


def verdicts_of(example: Example) -> str:
    """A character for each line of the example."""
    lines = range(example.first_line, example.first_line + example.text.count("\n") + 1)
    removed = removed_lines(example.reference, lines.start, len(lines))
    return "".join(
        OPEN if number in example.ambiguous_lines else REMOVE if number in removed else KEEP for number in lines
    )


@dataclass
class LineExampleWriter(ExampleWriter):
    """Renders examples for a tagger and counts what it leaves out."""

    renderer: LinePromptRenderer
    spellings: dict[str, Spelling] = field(default_factory=dict)
    """Of the pages that have labels, by id: those without may be in any language, which nobody has looked at."""
    shown: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Characters shown, and all, likewise; without line breaks."""
    num_with_teacher: int = 0
    num_without_labels: int = 0
    """Examples that a teacher has judged, and those that nobody else has."""

    def write(self, source: Path, target: Path) -> dict[str, Any]:
        """See ``ExampleWriter.write``; ``max_tokens_per_letter`` is a little above what 99 of 100 labelled pages have,
        ``min_shown_share`` below it.
        """
        self.spellings.clear()
        self.shown.clear()
        self.num_with_teacher = self.num_without_labels = 0
        report = super().write(source, target)
        ratios = [page.tokens_per_letter for page in self.spellings.values() if page.letters >= LEAST_LETTERS]
        limit = round(ROOM_BEYOND * float(np.quantile(ratios, TAUGHT_QUANTILE)), 3) if ratios else None
        shares = [shown / total for shown, total in self.shown.values() if total]
        lowest = float(np.quantile(shares, 1 - TAUGHT_QUANTILE)) if shares else 1.0
        return report | {
            "max_tokens_per_letter": limit,
            "min_shown_share": round(LEAST_SHOWN * lowest, 3) if lowest < 1 else None,
            "num_with_teacher": self.num_with_teacher,
            "num_without_labels": self.num_without_labels,
        }

    def row(self, example: Example) -> dict[str, Any] | None:
        """One record; None for an example that can't be taught, whose reason is counted."""
        program = example.reference
        if program.faults or not program.operations:
            self.dropped["unreadable_program"] += 1
            return None
        verdicts = verdicts_of(example)
        if set(verdicts) == {OPEN} and not example.teacher:
            self.dropped["no_verdict"] += 1
            return None
        shown = self.renderer.dialogue.shown(example.text).split("\n")
        lines = encode_lines(self.renderer.tokenizer, shown)
        prompt = self.renderer.prompt(shown, lines)
        if prompt is None:
            self.dropped["prompt_too_long"] += 1
            return None
        self.num_with_teacher += bool(example.teacher)
        if set(verdicts) == {OPEN}:
            self.num_without_labels += 1
        else:
            before = self.spellings.get(example.id, Spelling())
            self.spellings[example.id] = before + self.renderer.spelling(shown, lines)
            of_page = self.shown.get(example.id, (0, 0))
            self.shown[example.id] = of_page[0] + sum(map(len, shown)), of_page[1] + len(example.text) - len(shown) + 1
        self.num_tokens += len(prompt.ids)
        self.longest_prompt = max(self.longest_prompt, len(prompt.ids))
        return {
            "id": example.id,
            "first_line": example.first_line,
            "text": example.text,
            "verdicts": verdicts,
            **({"teacher": list(example.teacher)} if example.teacher else {}),
        }


@dataclass(frozen=True)
class LineExample:
    """A chunk with its verdicts, as a training reads it."""

    id: str
    """Of its document."""
    chunk: Chunk
    verdicts: str
    teacher: tuple[float, ...] = ()
    """Another model's probabilities that the lines are removed; empty where none was asked."""

    def targets(self, teacher_weight: float) -> list[float | None]:
        """How likely each line is to be removed, as training has it: the verdict, with this much of the teacher's
        probability; of an open line that alone, or None.
        """
        labels = [VALUES.get(verdict) for verdict in self.verdicts]
        if not self.teacher or not teacher_weight:
            return labels
        return [
            probability if label is None else (1 - teacher_weight) * label + teacher_weight * probability
            for label, probability in zip(labels, self.teacher, strict=True)
        ]


def read_line_examples(path: Path) -> Iterator[LineExample]:
    """The records of an exported split; a line that is none is a ``UserError``."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                chunk, teacher = Chunk(row["first_line"], row["text"]), tuple(row.get("teacher", ()))
                example = LineExample(row["id"], chunk, row["verdicts"], teacher)
                if len(example.verdicts) != chunk.text.count("\n") + 1:
                    raise ValueError("there must be one verdict a line")
                if teacher and len(teacher) != len(example.verdicts):
                    raise ValueError("there must be one probability of the teacher a line")
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise UserError(
                    f"{path} line {number} is not what adaptation export writes ({error!r}): run it again"
                ) from None
            yield example
