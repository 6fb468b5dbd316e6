"""litgpt weights -> a Hugging Face Llama folder, with the proof that both compute the same logits.

The proof is part of every export: a conversion that loses tied weights, the rotary base or the key/value grouping
gives a folder that loads without complaint and computes something else.
"""

from typing import Any

import torch
from litgpt import GPT, Config
from litgpt.scripts.convert_lit_checkpoint import copy_weights_llama
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from pretraining.checkpoint import MODEL, read_weights
from pretraining.configs import ExportConfig
from prox.artifact import SUCCESS, read_json, write_atomically
from prox.errors import UserError

CHECK_SHAPE = (2, 64)
# fp32 sums in another order differ by about 1e-5 on logits of order 1; a wrong weight differs by about 1.
TOLERANCE = 1e-3


def huggingface_config(config: Config, tokenizer: PreTrainedTokenizerBase) -> LlamaConfig:
    """The same architecture in transformers' words."""
    return LlamaConfig(
        vocab_size=config.padded_vocab_size,
        hidden_size=config.n_embd,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.n_layer,
        num_attention_heads=config.n_head,
        num_key_value_heads=config.n_query_groups,
        max_position_embeddings=config.block_size,
        rms_norm_eps=config.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": float(config.rope_base)},
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def convert(config: Config, weights: dict[str, torch.Tensor], tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """The weights as a transformers model in fp32; every weight must find its place."""
    renamed: dict[str, torch.Tensor] = {}
    copy_weights_llama(config, renamed, weights)
    model = LlamaForCausalLM(huggingface_config(config, tokenizer)).float()
    model.load_state_dict(renamed, strict=True)
    return model.eval()


@torch.no_grad()
def largest_difference(config: Config, weights: dict[str, torch.Tensor], model: LlamaForCausalLM) -> float:
    """The largest difference of two logits, litgpt's and transformers', on one batch of random tokens."""
    original = GPT(config).float().eval()
    original.load_state_dict(weights)
    length = min(CHECK_SHAPE[1], config.block_size)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, config.vocab_size, (CHECK_SHAPE[0], length), generator=generator)
    return float((original(tokens) - model(tokens).logits).abs().max())


def model_card(config: Config, model: LlamaForCausalLM, source: ExportConfig, difference: float) -> str:
    """A short README: what it is, where it came from, how to load it."""
    return f"""---
library_name: transformers
pipeline_tag: text-generation
---
# {config.name}

A {model.num_parameters():,}-parameter Llama-type language model ({config.n_layer} layers of width {config.n_embd}, \
{config.n_head} heads over {config.n_query_groups} key/value heads, context {config.block_size}), pre-trained by \
`python -m pretraining train` into `{source.checkpoint.name}`{"" if source.step is None else f", step {source.step}"}.

It is a base model: it continues text. Documents were packed one after another, each ended by the end-of-sequence token;
no beginning-of-sequence token was used. Its logits differ from the training code's by at most {difference:.1e} (fp32).

    from transformers import AutoModelForCausalLM, AutoTokenizer
    model = AutoModelForCausalLM.from_pretrained("path/of/this/folder")
    tokenizer = AutoTokenizer.from_pretrained("path/of/this/folder")
"""


def export(config: ExportConfig) -> dict[str, Any]:
    """Writes model, tokenizer and model card into the output folder.

    Raises:
        UserError: the tokenizer has more tokens than the model, or the exported model computes other logits.
    """
    architecture = Config.from_file(config.checkpoint / MODEL / "model_config.yaml")
    tokenizer = AutoTokenizer.from_pretrained(config.tokenizer)
    if len(tokenizer) > architecture.padded_vocab_size:
        raise UserError(
            f"--tokenizer {config.tokenizer} has {len(tokenizer)} tokens, the model {architecture.padded_vocab_size}: "
            "give the tokenizer its shards were made with"
        )
    weights = {name: weight.float() for name, weight in read_weights(config.checkpoint, config.step).items()}
    model = convert(architecture, weights, tokenizer)
    difference = largest_difference(architecture, weights, model)
    if not difference <= TOLERANCE:
        raise UserError(
            f"the exported {architecture.name} computes other logits than the trained one (largest difference "
            f"{difference:.3g}, allowed {TOLERANCE}): litgpt and transformers disagree; use the pinned versions"
        )
    disable_progress_bar()
    tokenizer.model_max_length = architecture.block_size
    model.to(getattr(torch, config.dtype)).save_pretrained(config.output)
    tokenizer.save_pretrained(config.output)
    write_atomically(config.output / "README.md", model_card(architecture, model, config, difference))
    step = config.step or read_json(config.checkpoint / SUCCESS)["summary"]["step"]
    return {"parameters": model.num_parameters(), "step": step, "largest_logit_difference": f"{difference:.1e}"}
