"""litgpt models of the zoo's shapes: construction, the authors' initialisation, and the training loss."""

import math
from typing import Any

import torch
from litgpt import GPT, Config
from torch.utils.checkpoint import checkpoint

from pretraining.head_loss import head_loss
from pretraining.shapes import Family, ModelShape

FAMILIES: dict[Family, dict[str, Any]] = {
    "llama": {
        "norm_class_name": "RMSNorm",
        "mlp_class_name": "LLaMAMLP",
        "parallel_residual": False,
        "rotary_percentage": 1.0,
        "bias": False,
    },
    "gpt_neox": {
        "norm_class_name": "LayerNorm",
        "mlp_class_name": "GptNeoxMLP",
        "parallel_residual": True,
        "rotary_percentage": 0.25,
        "bias": True,
    },
}
NORM_EPS = 1e-5


def litgpt_config(shape: ModelShape) -> Config:
    """The shape as litgpt's config."""
    return Config(
        name=shape.name,
        block_size=shape.context,
        n_layer=shape.n_layer,
        n_embd=shape.n_embd,
        n_head=shape.n_head,
        n_query_groups=shape.n_query_groups,
        intermediate_size=shape.intermediate_size,
        vocab_size=shape.vocab_size,
        padded_vocab_size=shape.vocab_size,  # litgpt would pad to a multiple of 512, and Table 8's counts are unpadded
        norm_eps=NORM_EPS,
        rope_base=shape.rope_base,
        **FAMILIES[shape.family],
    )


def initialise(model: GPT, seed: int) -> None:
    """Draws the weights as the authors' code does: N(0, sqrt(2 / (5 d))), output projections N(0, 1 / (sqrt(d) L)).

    One generator, the CPU's, and the parameters' order decide every number, whatever the device.
    """
    width, num_layers = model.config.n_embd, model.config.n_layer
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2:
            torch.nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)  # biases, and gains of norms
            continue
        is_output = name.endswith("proj.weight")
        std = 1 / (math.sqrt(width) * num_layers) if is_output else math.sqrt(2 / (5 * width))
        with torch.no_grad():
            parameter.copy_(torch.empty(parameter.shape).normal_(0.0, std, generator=generator))


class LanguageModel(GPT):
    """litgpt's GPT, which also computes its own training loss: the logits of a batch are never in memory at once."""

    def __init__(self, config: Config, recompute: bool = False) -> None:
        super().__init__(config)
        self.recompute = recompute
        """Activation checkpointing: a layer's insides are computed again in the backward pass, not kept for it."""

    def hidden_states(self, inputs: torch.Tensor) -> torch.Tensor:
        """What the last norm gives, (batch, T, width)."""
        length = inputs.shape[1]
        positions = self.cos[:length].unsqueeze(0), self.sin[:length].unsqueeze(0)
        hidden = self.transformer.wte(inputs)
        for block in self.transformer.h:
            if self.recompute and torch.is_grad_enabled():
                hidden = checkpoint(block, hidden, *positions, use_reentrant=False)
            else:
                hidden = block(hidden, *positions)
        return self.transformer.ln_f(hidden)

    def forward(self, inputs: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:
        """Mean cross-entropy in nats of ``targets``; without them, the logits.

        Args:
            inputs: int64, (batch, T).
            targets: int64, (batch, T): the token after each.
        """
        hidden = self.hidden_states(inputs)
        if targets is None:
            return self.lm_head(hidden)
        return head_loss(hidden.flatten(0, 1), self.lm_head.weight, targets.flatten())


def language_model_loss(model: torch.nn.Module, sequences: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy in nats of each token given those before it; ``sequences`` are int64, (batch, T + 1)."""
    return model(sequences[:, :-1], sequences[:, 1:])
