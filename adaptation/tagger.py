"""Teaching a causal language model to judge lines, with Hugging Face's trainer. Imported by the launcher only."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments
from transformers.modeling_outputs import CausalLMOutput

from adaptation.answer_logits import IGNORED
from adaptation.line_examples import KEEP, REMOVE, read_line_examples
from prox.dialogue import Dialogue
from prox.engines.judging import hidden_states, join_prompts, verdict_logits
from prox.engines.prompts import load_tokenizer
from prox.errors import UserError
from prox.tagging import LinePrompt, LinePromptRenderer, verdict_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Item = dict[str, Any]


class LineDataset(Dataset):
    """The examples of a split as prompts, with a label for each place where a line is judged."""

    def __init__(self, path: Path, renderer: LinePromptRenderer) -> None:
        label = {KEEP: 0, REMOVE: 1}
        self._items: list[tuple[LinePrompt, list[int]]] = []
        for example in read_line_examples(path):
            prompt = renderer.chunk(example.chunk)
            if prompt is None:
                raise UserError(f"{path} has a chunk of more tokens than the export allowed: run it again")
            self._items.append((prompt, [label.get(verdict, IGNORED) for verdict in example.verdicts]))

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Item:
        prompt, labels = self._items[index]
        return {"input_ids": prompt.ids, "prompt": prompt, "labels": labels}  # batches go by the length of input_ids


def collate(items: Sequence[Item], padding: int) -> dict[str, torch.Tensor]:
    """A batch: ids, positions and labels [b, t]; ``text_labels`` are the next tokens of the prompts' text."""
    batch = join_prompts([item["prompt"] for item in items], padding)
    labels = torch.full_like(batch.ids, IGNORED)
    labels[batch.rows, batch.columns] = torch.tensor([label for item in items for label in item["labels"]])
    text_labels = torch.full_like(batch.ids, IGNORED)
    for row, item in enumerate(items):
        end = len(item["prompt"].ids) - item["prompt"].num_lines
        text_labels[row, : end - 1] = batch.ids[row, 1:end]
    return {"input_ids": batch.ids, "position_ids": batch.positions, "labels": labels, "text_labels": text_labels}


def teach_judging(model: "PreTrainedModel", verdicts: tuple[int, int], lm_weight: float) -> None:
    """Replaces the model's forward pass by one whose loss is that of the verdicts.

    The loss is the mean cross-entropy of the two verdicts at the places that have a label, and ``lm_weight`` times that
    of the prompts' text. Over the accumulation steps of a batch, every judged line counts the same, and the text of a
    micro batch as much as its lines.
    """

    def forward(
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        labels: torch.Tensor,
        text_labels: torch.Tensor,
        num_items_in_batch: torch.Tensor | int | None = None,
        **_: Any,
    ) -> CausalLMOutput:
        hidden = hidden_states(model, input_ids, position_ids)
        places = labels != IGNORED
        logits = verdict_logits(model, hidden[places], verdicts)
        number = places.sum().clamp(min=1)
        loss = functional.cross_entropy(logits.float(), labels[places], reduction="sum")
        text = text_labels != IGNORED
        if lm_weight and text.any():
            text_logits = model.get_output_embeddings()(hidden[text])
            loss = loss + lm_weight * number * functional.cross_entropy(text_logits.float(), text_labels[text])
        of_batch = number if num_items_in_batch is None else num_items_in_batch
        return CausalLMOutput(loss=loss / of_batch, logits=logits)

    model.forward = forward


@torch.no_grad()
def check_positions(model: "PreTrainedModel", base: str) -> None:
    """Refuses a base that does not read positions: it could not tell which line a place is about."""
    ids = torch.full((1, 3), model.config.vocab_size // 2)
    first, second = (
        hidden_states(model.eval(), ids, torch.tensor([positions]))[0, -1] for positions in ([0, 1, 2], [0, 9, 2])
    )
    if torch.equal(first, second):
        raise UserError(f"base {base!r} reads no positions, by which a tagger knows its lines: choose another base")


def train_tagger(
    arguments: dict[str, Any], plan: dict[str, Any], dialogue: Dialogue, callback: TrainerCallback
) -> None:
    """Trains on the export in ``plan["data"]``; ``arguments`` are the trainer's own."""
    data, base = Path(plan["data"]), plan["base"]
    tokenizer = load_tokenizer(base)
    # Of what was exported, even the chunks beyond the bounds of use teach something.
    renderer = LinePromptRenderer(replace(dialogue, max_tokens_per_character=None), tokenizer, plan["context"])
    dataset = LineDataset(data / "train.jsonl", renderer)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    check_positions(model, base)
    teach_judging(model, verdict_tokens(renderer.dialogue, tokenizer), plan["lm_weight"])
    resume = arguments.pop("resume_from_checkpoint")
    padding = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    settings = TrainingArguments(**arguments, remove_unused_columns=False, label_names=["labels"])
    if settings.n_gpu > 1:
        raise UserError(
            f"{settings.n_gpu} GPUs are visible and devices is 1: set --devices {settings.n_gpu}, or hide the others "
            "(CUDA_VISIBLE_DEVICES=0)"
        )
    trainer = Trainer(
        model=model,
        args=settings,
        train_dataset=dataset,
        data_collator=functools.partial(collate, padding=padding),
        processing_class=tokenizer,
        callbacks=[callback],
    )
    trainer.train(resume_from_checkpoint=resume)
