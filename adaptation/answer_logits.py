"""Logits of the answers alone, in place of those of every token of the prompts.

A prompt is hundreds or thousands of tokens, a program ten, and only the program's tokens have labels. The logits of the
rest are a vocabulary's width for each token: the largest tensor of a training step, computed to be ignored.
"""

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel
    from transformers.modeling_outputs import CausalLMOutputWithPast

IGNORED = -100
"""The label of a token that is not to be learned."""


def compute_answer_logits_only(model: "PreTrainedModel") -> bool:
    """Has the model compute logits only at positions where some sequence of the batch has a label.

    The loss stays the mean of the same cross-entropies. A model that can't leave logits out, or adds a loss of its own
    (a router's), is left as it is: False.
    """
    from torch.nn import functional
    from transformers.modeling_outputs import CausalLMOutputWithPast

    if "logits_to_keep" not in inspect.signature(type(model).forward).parameters:
        return False
    if getattr(model.config, "output_router_logits", False):
        return False
    whole = model.forward

    def forward(labels: "Tensor | None" = None, **inputs: Any) -> "CausalLMOutputWithPast":
        if labels is None:
            return whole(**inputs)
        targets = functional.pad(labels[:, 1:], (0, 1), value=IGNORED)
        positions = (targets != IGNORED).any(dim=0).nonzero().squeeze(1)
        num_items = inputs.pop("num_items_in_batch", None)
        output = whole(**inputs, logits_to_keep=positions)
        loss = model.loss_function(
            logits=output.logits,
            labels=None,
            vocab_size=model.config.vocab_size,
            shift_labels=targets[:, positions],
            num_items_in_batch=num_items,
        )
        return CausalLMOutputWithPast(loss=loss, logits=output.logits)

    model.forward = forward
    return True
