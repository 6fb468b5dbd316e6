"""litgpt weights <-> Hugging Face models of the Llama, Mistral and GPT-NeoX families, and the proof that both agree.

The proof is part of every conversion: one that loses tied weights, the rotary base or the key/value grouping gives a
model that loads without complaint and computes something else.
"""

from typing import Any

import torch
from litgpt import GPT, Config
from litgpt.scripts.convert_hf_checkpoint import copy_weights_gpt_neox as gpt_neox_to_litgpt
from litgpt.scripts.convert_hf_checkpoint import copy_weights_hf_llama as llama_to_litgpt
from litgpt.scripts.convert_lit_checkpoint import copy_weights_gpt_neox, copy_weights_llama
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from pretraining.models import FAMILIES, NORM_EPS, litgpt_config
from pretraining.shapes import Family, ModelShape
from prox.errors import UserError

Weights = dict[str, torch.Tensor]

CHECK_SHAPE = (2, 64)
# fp32 sums in another order differ by about 1e-5 on logits of order 1; a wrong weight differs by about 1.
TOLERANCE = 1e-3
# What a config must say beside its sizes, for the litgpt model of the same sizes to compute the same.
EXPECTED: dict[str, dict[str, Any]] = {
    "llama": {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "rms_norm_eps": NORM_EPS},
    "mistral": {"hidden_act": "silu", "rms_norm_eps": NORM_EPS},
    "gpt_neox": {
        "hidden_act": "gelu",
        "attention_bias": True,
        "use_parallel_residual": True,
        "layer_norm_eps": NORM_EPS,
    },
}


def family_of(config: Config) -> Family:
    """Which family a litgpt config belongs to."""
    return next(name for name, parts in FAMILIES.items() if parts["mlp_class_name"] == config.mlp_class_name)


def huggingface_config(config: Config, tokenizer: PreTrainedTokenizerBase | None = None) -> PretrainedConfig:
    """The same architecture in transformers' words, with the special tokens of ``tokenizer``."""
    common: dict[str, Any] = {
        "vocab_size": config.padded_vocab_size,
        "hidden_size": config.n_embd,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "max_position_embeddings": config.block_size,
        "tie_word_embeddings": False,
        **{name: getattr(tokenizer, name, None) for name in ("bos_token_id", "eos_token_id", "pad_token_id")},
    }
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": float(config.rope_base)}
    if family_of(config) == "gpt_neox":
        rope["partial_rotary_factor"] = config.rotary_percentage
        return GPTNeoXConfig(**common, rope_parameters=rope, layer_norm_eps=config.norm_eps)
    return LlamaConfig(
        **common, rope_parameters=rope, rms_norm_eps=config.norm_eps, num_key_value_heads=config.n_query_groups
    )


def to_huggingface(config: Config, weights: Weights, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """The weights as a transformers model in fp32; every weight must find its place."""
    renamed: Weights = {}
    neox = family_of(config) == "gpt_neox"
    (copy_weights_gpt_neox if neox else copy_weights_llama)(config, renamed, weights)
    model = (GPTNeoXForCausalLM if neox else LlamaForCausalLM)(huggingface_config(config, tokenizer)).float()
    model.load_state_dict(renamed, strict=True)
    return model.eval()


def shape_of(config: PretrainedConfig, name: str) -> ModelShape:
    """The shape of a Hugging Face model, as its config says it.

    Raises:
        UserError: it is of another family, or differs from its family in something that has no place here.
    """
    if config.model_type not in EXPECTED:
        raise UserError(f"{name} is a {config.model_type!r} model: only {', '.join(EXPECTED)} can be imported")
    rope = config.rope_parameters
    sizes = (config.hidden_size, config.intermediate_size, config.num_hidden_layers, config.num_attention_heads)
    neox = config.model_type == "gpt_neox"
    found = {**{key: getattr(config, key) for key in EXPECTED[config.model_type]}}
    found |= {"tie_word_embeddings": config.tie_word_embeddings, "rope_type": rope.get("rope_type", "default")}
    found |= {"head_dim": getattr(config, "head_dim", None) or sizes[0] // sizes[3]}
    expected = EXPECTED[config.model_type] | {"tie_word_embeddings": False, "rope_type": "default"}
    expected |= {"head_dim": sizes[0] // sizes[3]}
    if neox:
        found["partial_rotary_factor"] = rope.get("partial_rotary_factor", 1.0)
        expected["partial_rotary_factor"] = FAMILIES["gpt_neox"]["rotary_percentage"]
    others = [f"{key} is {found[key]!r}, not {value!r}" for key, value in expected.items() if found[key] != value]
    if others:
        raise UserError(f"{name} can't be imported: its {'; its '.join(others)}")
    return ModelShape(
        name,
        *sizes,
        sizes[3] if neox else config.num_key_value_heads,
        vocab_size=config.vocab_size,
        context=min(config.max_position_embeddings, getattr(config, "sliding_window", None) or 2**31),
        family="gpt_neox" if neox else "llama",
        rope_base=int(rope["rope_theta"]),
    )


def from_huggingface(model: PreTrainedModel, shape: ModelShape) -> tuple[Config, Weights]:
    """The weights under litgpt's names, in the type they have; the model must be of ``shape``."""
    config, weights = litgpt_config(shape), {}
    if shape.family == "gpt_neox":
        gpt_neox_to_litgpt(config, weights, model.state_dict())
    else:
        llama_to_litgpt(config, {}, weights, model.state_dict())
    return config, weights


@torch.no_grad()
def largest_difference(config: Config, weights: Weights, model: PreTrainedModel) -> float:
    """The largest difference of two logits, litgpt's and transformers', on one batch of random tokens in fp32."""
    original = GPT(config).float().eval()
    original.load_state_dict(weights)
    length = min(CHECK_SHAPE[1], config.block_size)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, config.vocab_size, (CHECK_SHAPE[0], length), generator=generator)
    return float((original(tokens) - model.float().eval()(tokens).logits).abs().max())


def require_equal(difference: float, name: str) -> None:
    """A ``UserError`` where the two models compute something else."""
    if not difference <= TOLERANCE:
        raise UserError(
            f"{name}: litgpt and transformers compute other logits from the same weights (largest difference "
            f"{difference:.3g}, allowed {TOLERANCE}): use the pinned versions of both"
        )
