"""Fine-tuning examples of a generative refiner: the prompt and the program that answers it, as ShareGPT records."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adaptation.configs import Task
from adaptation.examples import Example, answer_style, read_examples
from prox.dialogue import PromptRenderer
from prox.operations import shift_lines
from prox.program import KeepChunk, Normalize, Operation, RemoveLines, render_program
from prox.progress import track


def within_chunk(calls: Sequence[Operation], example: Example) -> list[Operation]:
    """The calls with their lines clipped to the example's: the compact style has no other way to say "all lines".

    A range that holds no line of the example does nothing and is left out.
    """
    first, last = example.first_line, example.first_line + example.text.count("\n")
    clipped = [
        RemoveLines(max(call.line_start, first), min(call.line_end, last)) if isinstance(call, RemoveLines) else call
        for call in calls
    ]
    return [call for call in clipped if not isinstance(call, RemoveLines) or call.line_start <= call.line_end]


def join_over(operations: Sequence[Operation], ambiguous: frozenset[int]) -> list[Operation]:
    """The calls with removals joined over lines that were left open: one range is easier to learn than its pieces.

    A line that is left open is in no score; before kept lines, and at either end, it stays.
    """
    joined: list[Operation] = []
    last = None  # place of the last removal
    for call in operations:
        if isinstance(call, RemoveLines):
            before = joined[last] if last is not None else None
            if before and before.line_end < call.line_start and ambiguous.issuperset(_between(before, call)):
                joined[last] = RemoveLines(before.line_start, call.line_end)
                continue
            last = len(joined)
        joined.append(call)
    return joined


def _between(before: RemoveLines, after: RemoveLines) -> range:
    return range(before.line_end + 1, after.line_start)


@dataclass
class ExampleWriter:
    """Renders examples and counts what it leaves out."""

    task: Task
    renderer: PromptRenderer
    max_new_tokens: int | None
    """Room for an answer; None of a tagger, which writes none."""
    teach_normalize: bool = True
    dropped: Counter[str] = field(default_factory=Counter)
    num_prompts_cut: int = 0
    num_tokens: int = 0
    num_answer_tokens: int = 0
    longest_prompt: int = 0

    def write(self, source: Path, target: Path) -> dict[str, Any]:
        """Writes one split; returns its counts. ``dropped`` counts examples left out, by reason."""
        self.dropped, self.num_prompts_cut = Counter(), 0
        self.num_tokens = self.num_answer_tokens = self.longest_prompt = 0
        written = 0
        with target.open("w", encoding="utf-8") as lines:
            for example in track(read_examples(source), f"exporting {source.name}", None, "examples"):
                row = self.row(example)
                if row is not None:
                    lines.write(json.dumps(row, ensure_ascii=False) + "\n")
                    written += 1
        return {
            "num_examples": written,
            "num_tokens": self.num_tokens,
            "num_answer_tokens": self.num_answer_tokens,
            "longest_prompt": self.longest_prompt,
            "num_prompts_cut": self.num_prompts_cut,
            "dropped": dict(sorted(self.dropped.items())),
        }

    def taught(self, operations: Sequence[Operation], example: Example) -> list[Operation]:
        """The calls that a refiner can learn from what it is shown."""
        if example.ambiguous_lines:
            operations = join_over(operations, example.ambiguous_lines)
        if not self.teach_normalize:
            return [call for call in operations if not isinstance(call, Normalize)]
        shown = self.renderer.dialogue.shown(example.text)
        if shown == example.text:
            return list(operations)
        return [call for call in operations if not isinstance(call, Normalize) or call.source_str in shown]

    def row(self, example: Example) -> dict[str, Any] | None:
        """One ShareGPT record; None for an example that can't be taught, whose reason is counted."""
        program = example.reference
        if program.faults or not program.operations:
            self.dropped["unreadable_program"] += 1
            return None
        prompt = example.prompt(self.task, self.renderer)
        operations = self.taught(program.operations, example)
        style = answer_style(self.task, self.renderer.dialogue)
        if style == "compact":
            operations = within_chunk(operations, example)
        answer = render_program(operations or [KeepChunk()], style)
        if self.task == "chunk":
            dialogue = self.renderer.dialogue
            answer = shift_lines(answer, dialogue.first_number(example.first_line) - example.first_line)
        num_answer_tokens = len(self.renderer.tokenizer.encode(answer, add_special_tokens=False)) + 1
        if num_answer_tokens > self.max_new_tokens:
            self.dropped["answer_too_long"] += 1
            return None
        if prompt.cut:
            # A document is judged by its beginning, at inference too; a chunk's program may name a line cut off.
            if self.task == "chunk":
                self.dropped["prompt_too_long"] += 1
                return None
            self.num_prompts_cut += 1
        self.num_tokens += len(prompt.ids) + num_answer_tokens
        self.num_answer_tokens += num_answer_tokens
        self.longest_prompt = max(self.longest_prompt, len(prompt.ids))
        turns = [{"from": "human", "value": prompt.text}, {"from": "gpt", "value": answer}]
        return {"id": example.id, "conversations": turns, "system": ""}
