"""Whether data, template and base model of a training fit together: asked before a trainer starts.

What does not fit trains without a complaint, or fails minutes later inside a library: a prompt that inference never
renders, an embedding matrix that is silently enlarged, positions the model does not have.
"""

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptation.base_model import read_base
from adaptation.configs import Task
from adaptation.export import tokenizer_mark
from adaptation.line_examples import read_line_examples
from prox.dialogue import FILE_NAME, Dialogue, load_dialogue
from prox.engines.prompts import load_tokenizer
from prox.errors import UserError

if TYPE_CHECKING:
    from llamafactory.data.template import Template
    from transformers import PreTrainedTokenizerBase

ROWS_CHECKED = 50


def check_base(base: str, report: dict[str, Any]) -> None:
    """Refuses a base that can't be trained on the export with this report.

    Raises:
        UserError: another tokenizer than the examples were cut with, fewer embeddings than tokens, fewer positions than
            the longest example, a tagger's lines out of its sight, or no causal language model.
    """
    found = read_base(base)
    if not found.is_causal:
        raise UserError(
            f"base {base!r} is a {found.model_type}, no causal language model: a refiner must write programs"
        )
    tokenizer = load_tokenizer(base)
    mark = tokenizer_mark(tokenizer)
    if mark != report["tokenizer"]:
        raise UserError(
            f"base {base!r} has another tokenizer ({mark}) than the one the data was exported with "
            f"({report['tokenizer']}): run adaptation export with this base"
        )
    if len(tokenizer) > found.vocab_size:
        raise UserError(
            f"base {base!r} has {found.vocab_size:,} embeddings, but its tokenizer {len(tokenizer):,} tokens: they "
            "don't belong together; give the folder both were saved to"
        )
    if found.positions is not None and report["context"] > found.positions:
        raise UserError(
            f"the data was exported for a context of {report['context']} tokens, but base {base!r} has "
            f"{found.positions} positions: run adaptation export with this base"
        )
    is_tagger = report["max_new_tokens"] is None
    longest = report["splits"]["train"]["longest_prompt"]
    if is_tagger and found.reach is not None and found.reach < longest:
        raise UserError(
            f"the data hold prompts of {longest} tokens, but base {base!r} looks back over {found.reach} (sliding "
            "window): a line would not be seen where it is judged; cut smaller chunks (--window of annotation pairs)"
        )


def first_rows(data: Path) -> list[dict[str, Any]]:
    """The first training examples of an export; a line that is none is a ``UserError``."""
    path = data / "train.jsonl"
    with path.open(encoding="utf-8") as lines:
        try:
            rows = [json.loads(line) for line in itertools.islice(lines, ROWS_CHECKED)]
            texts = [turn["value"] for row in rows for turn in row["conversations"]]
            if len(texts) != 2 * len(rows) or not all(texts):
                raise ValueError("an example has a prompt and an answer")
            return rows
        except (ValueError, LookupError, TypeError) as error:
            raise UserError(f"{path} is not what adaptation export writes ({error!r}): run it again") from None


def check_prompts(data: Path, task: Task) -> None:
    """Refuses examples that another dialogue rendered than the one that is stored with every checkpoint.

    Raises:
        UserError: prompts that don't begin and end as the dialogue says; of a tagger, no verdict for each line.
    """
    dialogue = load_dialogue(data, Dialogue())
    if dialogue.kind == "tagger":  # whose prompts the training renders itself
        next(read_line_examples(data / "train.jsonl"), None)
        return
    opening, closing = dialogue.frame()
    if task == "chunk":
        opening, closing = opening + dialogue.chunk_before, dialogue.chunk_after + closing
    for row in first_rows(data):
        text = row["conversations"][0]["value"]
        if not (text.startswith(opening) and text.endswith(closing)):
            raise UserError(
                f"example {row.get('id')!r} of {data / 'train.jsonl'} begins with {text[:60]!r} and ends with "
                f"{text[-30:]!r}, but {FILE_NAME} asks with {opening[:60]!r} and {closing[-30:]!r}: a refiner is to be "
                "asked as it was taught; run adaptation export again"
            )


def check_template(
    template: "Template", dialogue: Dialogue, tokenizer: "PreTrainedTokenizerBase", rows: list[dict[str, Any]]
) -> None:
    """Refuses a template of LLaMA-Factory that makes other token ids of the examples than inference does.

    Raises:
        UserError: names the first such example.
    """
    for row in rows:
        prompt, answer = (turn["value"] for turn in row["conversations"])
        messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        expected = (
            [*dialogue.bos_ids(tokenizer), *tokenizer.encode(prompt, add_special_tokens=False)],
            [*tokenizer.encode(answer, add_special_tokens=False), tokenizer.eos_token_id],
        )
        if template.encode_oneturn(tokenizer, messages, system="") != expected:
            raise UserError(
                f"LLaMA-Factory makes other token ids of example {row.get('id')!r} than inference: its version may not "
                "be the locked one (requirements/README.md)"
            )
