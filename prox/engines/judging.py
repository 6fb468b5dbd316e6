"""One forward pass over a tagger's prompts: the logits of its two verdicts at the places of the lines.

Training and inference both go through here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from prox.tagging import LinePrompt


@dataclass(frozen=True)
class LineBatch:
    """Prompts of like length, filled up on the right: what stands there is read by nothing before it."""

    ids: torch.Tensor
    """Token ids [b, t]."""
    positions: torch.Tensor
    """Their positions [b, t]."""
    rows: torch.Tensor
    """Of each place where a line is judged, prompt by prompt, the row [n]."""
    columns: torch.Tensor
    """And the column [n]."""

    def to(self, device: torch.device) -> "LineBatch":
        """The same on another device."""
        return LineBatch(*(part.to(device) for part in (self.ids, self.positions, self.rows, self.columns)))


def join_prompts(prompts: Sequence["LinePrompt"], padding: int) -> LineBatch:
    """The batch of these prompts, filled up with the token ``padding``."""
    width = max(len(prompt.ids) for prompt in prompts)
    ids = torch.full((len(prompts), width), padding, dtype=torch.long)
    positions = torch.zeros((len(prompts), width), dtype=torch.long)
    rows, columns = [], []
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt.ids)] = torch.tensor(prompt.ids)
        positions[row, : len(prompt.ids)] = torch.tensor(prompt.positions)
        rows += [row] * prompt.num_lines
        columns += range(len(prompt.ids) - prompt.num_lines, len(prompt.ids))
    return LineBatch(ids, positions, torch.tensor(rows), torch.tensor(columns))


def hidden_states(model: "PreTrainedModel", ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """The last hidden states [b, t, width] of a causal language model."""
    # Without a mask, transformers takes positions that don't count up for those of packed documents.
    mask = torch.ones_like(ids)
    return model.base_model(
        input_ids=ids, position_ids=positions, attention_mask=mask, use_cache=False
    ).last_hidden_state


def verdict_logits(model: "PreTrainedModel", hidden: torch.Tensor, verdicts: Sequence[int]) -> torch.Tensor:
    """Logits [n, 2] of the two verdicts, in float32, from the hidden states [n, width] of places."""
    head = model.get_output_embeddings()
    wanted = torch.tensor(verdicts, device=hidden.device)
    bias = getattr(head, "bias", None)
    # In bfloat16 a logit of 9 has steps of 0.06, too coarse for a threshold.
    with torch.autocast(hidden.device.type, enabled=False):
        return functional.linear(
            hidden.float(), head.weight[wanted].float(), None if bias is None else bias[wanted].float()
        )


def batches_by_length(lengths: Sequence[int], max_size: int, max_tokens: int) -> Iterator[list[int]]:
    """Indices in batches of like length, longest first, of at most so many prompts and tokens; one prompt at least."""
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    while order:
        size = max(1, min(max_size, max_tokens // lengths[order[0]]))
        batch, order = order[:size], order[size:]
        yield batch
