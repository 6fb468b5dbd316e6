"""`adaptation export`: annotated examples -> fine-tuning files: for LLaMA-Factory (ShareGPT), or verdicts for a tagger.

Of the former the human turn holds the whole prompt as inference renders it, system text included, and the `system`
column is empty: LLaMA-Factory then adds nothing of its own, and the training tokens are the inference tokens.
"""

import hashlib
import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptation.base_model import read_base
from adaptation.configs import REPORT, SPLITS, ExportConfig, split_file
from adaptation.example_writer import ExampleWriter
from adaptation.examples import read_examples
from adaptation.line_examples import LineExampleWriter
from adaptation.verdicts import DOCUMENTS, write_verdicts
from prox import artifact
from prox.dialogue import Dialogue, PromptRenderer, load_dialogue
from prox.errors import UserError
from prox.tagging import LinePromptRenderer, verdict_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


log = logging.getLogger("prox")

MAX_QUIET_SHARE = 0.1
"""Of training examples left out, above which it is a warning."""


def export_examples(config: ExportConfig) -> dict[str, Any]:
    """Writes `train.jsonl`, `valid.jsonl`, `dialogue.json`, `report.json`; for LLaMA-Factory `dataset_info.json`."""
    if config.examples is None:
        raise UserError("--examples is not set")
    tokenizer, context = load_base(config)
    dialogue = load_dialogue(config.base, config.dialogue)
    check_dialogue(config, dialogue)
    answer_room = 0 if dialogue.kind == "tagger" else config.max_new_tokens
    if context <= answer_room:
        raise UserError(
            f"base {config.base!r} has a context of {context}, which max_new_tokens {answer_room} fills: lower "
            "max_new_tokens"
        )
    writer = make_writer(config, dialogue, tokenizer, context - answer_room)
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
        write_verdicts(read_examples(train_file), writer.renderer.dialogue, config.output / DOCUMENTS)
    if dialogue.kind == "generative":
        artifact.write_json(config.output / "dataset_info.json", dataset_info())
    longest = splits["train"]["longest_prompt"]
    taught = {"max_prompt_tokens": longest, "max_new_tokens": writer.max_new_tokens}
    if isinstance(writer, LineExampleWriter):
        taught |= {name: splits["train"][name] for name in ("max_tokens_per_letter", "min_shown_share")}
    replace(writer.renderer.dialogue, **taught).save(config.output)
    card = config.examples / "card.json"
    if card.is_file():
        shutil.copyfile(card, config.output / card.name)
    report = {
        "task": config.task,
        "base": config.base,
        "tokenizer": tokenizer_mark(tokenizer),
        "context": context,
        "max_new_tokens": writer.max_new_tokens,
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


def make_writer(
    config: ExportConfig, dialogue: Dialogue, tokenizer: "PreTrainedTokenizerBase", max_prompt_tokens: int
) -> ExampleWriter:
    """The writer of examples for the dialogue's kind of refiner."""
    if dialogue.kind == "tagger":
        verdict_tokens(dialogue, tokenizer)  # raises where there are none
        # What the base was not taught is not for it to say: it is about to be.
        dialogue = replace(dialogue, max_tokens_per_letter=None)
        return LineExampleWriter(config.task, LinePromptRenderer(dialogue, tokenizer, max_prompt_tokens), None)
    renderer = PromptRenderer(dialogue, tokenizer, max_prompt_tokens)
    return ExampleWriter(config.task, renderer, config.max_new_tokens, config.teach_normalize)


def check_dialogue(config: ExportConfig, dialogue: Dialogue) -> None:
    """Refuses chunks that were measured by other lines than the prompts show, and what a tagger can't be taught."""
    if dialogue.kind == "tagger" and config.task == "document":
        raise UserError("dialogue.kind is tagger, which judges lines: give --task chunk")
    path = config.examples / "card.json"
    card = artifact.read_json(path) if path.is_file() else {}
    if dialogue.kind == "generative" and card.get("documents", {}).get("taught_by_the_teacher_alone"):
        raise UserError(
            f"some pages of {config.examples} have no labels, only a teacher's probabilities, which are for taggers: "
            "make the sets without --teacher_column"
        )
    cut = card.get("chunks", {}).get("max_line_characters")
    shown = dialogue.max_line_characters
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
