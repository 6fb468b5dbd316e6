"""litgpt weights -> a Hugging Face folder, with the proof that both compute the same logits."""

from typing import Any

import torch
from litgpt import Config
from transformers import AutoTokenizer, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from pretraining.checkpoint import CONFIG, read_weights, weights_folder
from pretraining.configs import ExportConfig
from pretraining.huggingface import family_of, largest_difference, require_equal, to_huggingface
from prox.artifact import SUCCESS, read_json, write_atomically
from prox.errors import UserError

FAMILY_NAMES = {"llama": "Llama", "gpt_neox": "GPT-NeoX"}


def model_card(config: Config, model: PreTrainedModel, source: ExportConfig, difference: float) -> str:
    """A short README: what it is, where it came from, how to load it."""
    return f"""---
library_name: transformers
pipeline_tag: text-generation
---
# {config.name}

A {model.num_parameters():,}-parameter language model of the {FAMILY_NAMES[family_of(config)]} architecture \
({config.n_layer} layers of width {config.n_embd}, {config.n_head} heads over {config.n_query_groups} key/value heads, \
context {config.block_size}), pre-trained by \
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
    architecture = Config.from_file(weights_folder(config.checkpoint, config.step) / CONFIG)
    tokenizer = AutoTokenizer.from_pretrained(config.tokenizer)
    if len(tokenizer) > architecture.padded_vocab_size:
        raise UserError(
            f"--tokenizer {config.tokenizer} has {len(tokenizer)} tokens, the model {architecture.padded_vocab_size}: "
            "give the tokenizer its shards were made with"
        )
    try:
        weights = {name: weight.float() for name, weight in read_weights(config.checkpoint, config.step).items()}
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is gone: the training has newer checkpoints, give another --step") from None
    model = to_huggingface(architecture, weights, tokenizer)
    difference = largest_difference(architecture, weights, model)
    require_equal(difference, architecture.name)
    disable_progress_bar()
    tokenizer.model_max_length = architecture.block_size
    model.to(getattr(torch, config.dtype)).save_pretrained(config.output)
    tokenizer.save_pretrained(config.output)
    write_atomically(config.output / "README.md", model_card(architecture, model, config, difference))
    step = config.step if config.step is not None else read_json(config.checkpoint / SUCCESS)["summary"]["step"]
    return {"parameters": model.num_parameters(), "step": step, "largest_logit_difference": f"{difference:.1e}"}
