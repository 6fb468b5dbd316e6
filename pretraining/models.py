"""litgpt models of the zoo's shapes: construction, the authors' initialisation, and the training loss."""

import math
from typing import Any

import torch
from litgpt import GPT, Config
from torch.nn import functional

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

    One generator and the parameters' order decide every number, whatever else used randomness before.
    """
    width, num_layers = model.config.n_embd, model.config.n_layer
    generator = torch.Generator(device=model.lm_head.weight.device).manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2:
            torch.nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)  # biases, and gains of norms
            continue
        is_output = name.endswith("proj.weight")
        std = 1 / (math.sqrt(width) * num_layers) if is_output else math.sqrt(2 / (5 * width))
        torch.nn.init.normal_(parameter, 0.0, std, generator=generator)


def language_model_loss(model: torch.nn.Module, sequences: torch.Tensor, head_chunk: int) -> torch.Tensor:
    """Mean cross-entropy in nats of each token given those before it.

    Args:
        model: a litgpt GPT, possibly wrapped.
        sequences: int64, (batch, T + 1).
        head_chunk: positions whose logits are computed at once; 0: all. On a CPU small pieces stay in the cache.
    """
    inputs, targets = sequences[:, :-1], sequences[:, 1:]
    if not head_chunk:
        logits = model(inputs)
        return functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
    pieces = zip(model(inputs, lm_head_chunk_size=head_chunk), targets.split(head_chunk, dim=1), strict=True)
    total = sum(
        functional.cross_entropy(logits.flatten(0, 1).float(), target.flatten(), reduction="sum")
        for logits, target in pieces
    )
    return total / targets.numel()
