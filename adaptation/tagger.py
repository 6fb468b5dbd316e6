"""Teaching a causal language model to judge lines, with Hugging Face's trainer. Imported by the launcher only."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainerState, TrainingArguments
from transformers.modeling_outputs import CausalLMOutput

from adaptation.line_examples import read_line_examples
from adaptation.line_pages import IGNORED, PageReader, Reading, Variation
from adaptation.recorder import epoch_of
from prox.compiling import layers_of
from prox.dialogue import Dialogue
from prox.engines.judging import hidden_states, join_prompts, verdict_logits
from prox.engines.prompts import load_tokenizer, num_positions
from prox.errors import UserError
from prox.tagging import LinePromptRenderer, verdict_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Item = dict[str, Any]


class LineDataset(Dataset):
    """A split's chunks as they are read in the current epoch; ``input_ids`` are as many tokens as the chunk has, by
    which batches of like length are made before an epoch begins."""

    def __init__(self, reader: PageReader) -> None:
        self._reader = reader
        self.epoch = 0

    def __len__(self) -> int:
        return len(self._reader)

    def __getitem__(self, index: int) -> Item:
        return {"input_ids": range(self._reader.lengths[index]), "reading": self._reader.read(index, self.epoch)}


class EpochClock(TrainerCallback):
    """Tells the data set which epoch it is."""

    def __init__(self, dataset: LineDataset) -> None:
        self._dataset = dataset

    def on_epoch_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Called by the trainer, also where a resumed one begins."""
        self._dataset.epoch = epoch_of(state)


def collate(items: Sequence[Item], padding: int) -> dict[str, torch.Tensor]:
    """A batch: ids, positions and labels [b, t]; ``text_labels`` are the next tokens of the prompts' text.

    ``labels`` are probabilities of removal, at the places where something is taught.
    """
    readings: list[Reading] = [item["reading"] for item in items]
    batch = join_prompts([reading.prompt for reading in readings], padding)
    labels = torch.full(batch.ids.shape, float(IGNORED))
    targets = [target for reading in readings for target in reading.targets]
    labels[batch.rows, batch.columns] = torch.tensor(targets, dtype=labels.dtype)
    text_labels = torch.full_like(batch.ids, IGNORED)
    for row, reading in enumerate(readings):
        end = len(reading.text) - reading.prompt.num_lines
        text_labels[row, : end - 1] = torch.tensor(reading.text[1:end])
    return {"input_ids": batch.ids, "position_ids": batch.positions, "labels": labels, "text_labels": text_labels}


def drop_out(model: "PreTrainedModel", share: float) -> None:
    """Drops this share of the embeddings, and of what each layer's attention and MLP add, while ``model`` trains.

    Few architectures have a setting for it.
    """

    def hook(module: nn.Module, _: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (functional.dropout(output[0], share, module.training), *output[1:])
        return functional.dropout(output, share, module.training)

    layers = layers_of(model.base_model)
    if layers is None:
        raise UserError(f"dropout is {share}, and {type(model).__name__} has no list of layers: leave dropout at 0")
    model.get_input_embeddings().register_forward_hook(hook)
    for layer in layers:
        for child in layer.children():
            if any(parameter.dim() > 1 for parameter in child.parameters()):  # norms have vectors only
                child.register_forward_hook(hook)


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
        wanted = torch.stack([1 - labels[places], labels[places]], dim=1)
        loss = functional.cross_entropy(logits.float(), wanted, reduction="sum")
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
    ids = torch.arange(4)[None] + model.get_input_embeddings().num_embeddings // 2  # alike, they would look the same
    first, second = (
        hidden_states(model.eval(), ids, torch.tensor([positions]))[0, -1] for positions in ([0, 1, 2, 0], [0, 1, 2, 2])
    )
    if torch.allclose(first, second, rtol=1e-5, atol=1e-5 * first.abs().max().item()):
        raise UserError(f"base {base!r} reads no positions, by which a tagger knows its lines: choose another base")


def train_tagger(
    arguments: dict[str, Any], plan: dict[str, Any], dialogue: Dialogue, callbacks: Sequence[TrainerCallback]
) -> None:
    """Trains on the export in ``plan["data"]``; ``arguments`` are the trainer's own."""
    data, base = Path(plan["data"]), plan["base"]
    tokenizer = load_tokenizer(base)
    # Of what was exported, even the chunks beyond the bounds of use teach something.
    renderer = LinePromptRenderer(replace(dialogue, max_tokens_per_letter=None), tokenizer, plan["context"])
    examples = read_line_examples(data / "train.jsonl")
    reader = PageReader(examples, renderer, Variation(**plan["variation"]), arguments["seed"], plan["teacher_weight"])
    dataset = LineDataset(reader)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    check_positions(model, base)
    teach_judging(model, verdict_tokens(renderer.dialogue, tokenizer), plan["lm_weight"])
    if plan["dropout"]:
        drop_out(model, plan["dropout"])
    resume = arguments.pop("resume_from_checkpoint")
    padding = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    settings = TrainingArguments(**arguments, remove_unused_columns=False, label_names=["labels"])
    if settings.n_gpu > 1:
        raise UserError(
            f"{settings.n_gpu} GPUs are visible and devices is 1: set --devices {settings.n_gpu}, or hide the others "
            "(CUDA_VISIBLE_DEVICES=0)"
        )
    tokenizer.model_max_length = num_positions(model.config) or plan["context"]  # what is stored with checkpoints
    trainer = Trainer(
        model=model,
        args=settings,
        train_dataset=dataset,
        data_collator=functools.partial(collate, padding=padding),
        processing_class=tokenizer,
        callbacks=[*callbacks, EpochClock(dataset)],
    )
    trainer.train(resume_from_checkpoint=resume)
