"""`adaptation export`: annotated examples -> fine-tuning files for LLaMA-Factory (ShareGPT).

The human turn holds the whole prompt as inference renders it, system text included, and the `system` column is empty:
LLaMA-Factory then adds nothing of its own, and the training tokens are the inference tokens.
"""

import hashlib
import json
import logging
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptation.base_model import read_base
from adaptation.configs import REPORT, SPLITS, ExportConfig, Task, split_file
from adaptation.examples import Example, answer_style, read_examples
from adaptation.verdicts import DOCUMENTS, write_verdicts
from prox import artifact
from prox.dialogue import PromptRenderer, load_dialogue
from prox.errors import UserError
from prox.operations import shift_lines
from prox.program import KeepChunk, Normalize, Operation, RemoveLines, render_program
from prox.progress import track

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


log = logging.getLogger("prox")

MAX_QUIET_SHARE = 0.1
"""Of training examples left out, above which it is a warning."""


def export_examples(config: ExportConfig) -> dict[str, Any]:
    """Writes `train.jsonl`, `valid.jsonl`, `dataset_info.json`, `dialogue.json` and `report.json`."""
    if config.examples is None:
        raise UserError("--examples is not set")
    tokenizer, context = load_base(config)
    room = context - config.max_new_tokens
    check_cut(config)
    renderer = PromptRenderer(load_dialogue(config.base, config.dialogue), tokenizer, room)
    writer = ExampleWriter(config.task, renderer, config.max_new_tokens, config.teach_normalize)
    splits = {
        split: writer.write(split_file(config.examples, config.task, split), config.output / f"{split}.jsonl")
        for split in SPLITS
    }
    if not splits["train"]["num_examples"]:
        raise UserError(
            f"no training example is left of {split_file(config.examples, config.task, 'train')}: "
            f"{splits['train']['dropped'] or 'the file is empty'}"
        )
    if config.write_documents:
        train_file = split_file(config.examples, config.task, SPLITS[0])
        write_verdicts(read_examples(train_file), renderer.dialogue, config.output / DOCUMENTS)
    artifact.write_json(config.output / "dataset_info.json", dataset_info())
    longest = splits["train"]["longest_prompt"]
    replace(renderer.dialogue, max_prompt_tokens=longest, max_new_tokens=config.max_new_tokens).save(config.output)
    card = config.examples / "card.json"
    if card.is_file():
        shutil.copyfile(card, config.output / card.name)
    report = {
        "task": config.task,
        "base": config.base,
        "tokenizer": tokenizer_mark(tokenizer),
        "context": context,
        "max_new_tokens": config.max_new_tokens,
        "splits": splits,
    }
    artifact.write_json(config.output / REPORT, report)
    train = splits["train"]
    warn_of_dropped(train)
    return {
        "training_examples": train["num_examples"],
        "training_tokens": train["num_tokens"],
        "dropped": sum(train["dropped"].values()),
        "prompts_cut": train["num_prompts_cut"],
    }


def check_cut(config: ExportConfig) -> None:
    """Refuses chunks that were measured by other lines than the prompts show."""
    path = config.examples / "card.json"
    cut = artifact.read_json(path).get("chunks", {}).get("max_line_characters") if path.is_file() else None
    shown = load_dialogue(config.base, config.dialogue).max_line_characters
    if config.task == "chunk" and cut != shown:
        raise UserError(
            f"the chunks of {config.examples} were cut with max_line_characters {cut or 'unset'}, but the dialogue has "
            f"{shown or 'unset'}: set --dialogue.max_line_characters to that, or cut them anew"
        )


def warn_of_dropped(train: dict[str, Any]) -> None:
    """Says so where a large part of the training examples could not be used, and what would help."""
    dropped = sum(train["dropped"].values())
    if dropped > MAX_QUIET_SHARE * (dropped + train["num_examples"]):
        reasons = ", ".join(f"{reason} {count}" for reason, count in train["dropped"].items())
        log.warning(
            "adaptation export: %d of %d training examples are left out (%s): cut chunks smaller (--window of "
            "`annotation program` or `pairs`, with --tokenizer the base's), or raise --max_new_tokens for long answers",
            dropped,
            dropped + train["num_examples"],
            reasons,
        )


def load_base(config: ExportConfig) -> tuple["PreTrainedTokenizerBase", int]:
    """The base's tokenizer, and the longest training sequence in tokens."""
    from prox.engines.prompts import load_tokenizer

    tokenizer = load_tokenizer(config.base)
    if tokenizer.eos_token_id is None:
        raise UserError(f"base {config.base!r}: its tokenizer has no EOS token, without which no answer can end")
    if config.context is not None and not (Path(config.base) / "config.json").is_file() and Path(config.base).is_dir():
        return tokenizer, config.context  # the base is yet to be trained
    known = [length for length in (config.context, read_base(config.base).positions) if length is not None]
    if not known:
        raise UserError(f"base {config.base!r} names no longest context: set --context")
    context = min(known)
    if config.context is not None and context < config.context:
        log.info("adaptation export: --context %d is lowered to %d, the base's positions", config.context, context)
    if context <= config.max_new_tokens:
        raise UserError(
            f"base {config.base!r} has a context of {context}, which max_new_tokens {config.max_new_tokens} fills: "
            "lower max_new_tokens"
        )
    return tokenizer, context


def tokenizer_mark(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Identifies a tokenizer by what it does, wherever it was loaded from (16 hex digits)."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    # Prompts are neither cut nor padded by the tokenizer, and it adds no special tokens to them.
    does = {name: part for name, part in backend.items() if name not in ("truncation", "padding", "post_processor")}
    content = [does, tokenizer.bos_token_id, tokenizer.eos_token_id]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def dataset_info() -> dict[str, Any]:
    """LLaMA-Factory's description of the two files."""
    return {
        split: {
            "file_name": f"{split}.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "conversations", "system": "system"},
        }
        for split in SPLITS
    }


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
    max_new_tokens: int
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
