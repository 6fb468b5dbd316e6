"""A Hugging Face model -> the folder that `pretraining train --init_from` continues from."""

import logging
from pathlib import Path
from typing import Any

from litgpt.utils import save_config
from transformers import AutoConfig, AutoModelForCausalLM

from pretraining.checkpoint import MODEL, WEIGHTS, new_folder, save
from pretraining.configs import ImportConfig
from pretraining.huggingface import from_huggingface, largest_difference, require_equal, shape_of
from pretraining.tokenize_corpus import tokenizer_mark
from prox.errors import UserError

log = logging.getLogger("prox")


def import_weights(config: ImportConfig) -> dict[str, Any]:
    """Writes ``model/``: the weights in the type they are stored in, and litgpt's config of the same architecture.

    Raises:
        UserError: the model can't be had, is of another architecture, or computes other logits in litgpt.
    """
    try:
        shape = shape_of(AutoConfig.from_pretrained(config.checkpoint, revision=config.revision), config.checkpoint)
        model = AutoModelForCausalLM.from_pretrained(config.checkpoint, revision=config.revision, dtype="auto")
    except (OSError, ValueError) as error:
        raise UserError(f"--checkpoint {config.checkpoint} can't be loaded: {error}") from error
    shape.name = Path(config.checkpoint).name
    architecture, weights = from_huggingface(model, shape)
    summary: dict[str, Any] = {"parameters": shape.num_parameters(), "dtype": str(model.dtype).removeprefix("torch.")}
    if config.check_logits:
        difference = largest_difference(architecture, weights, model)
        require_equal(difference, config.checkpoint)
        summary["largest_logit_difference"] = f"{difference:.1e}"
    with new_folder(config.output / MODEL) as folder:
        save_config(architecture, folder)
        save({"model": weights}, folder / WEIGHTS)
    tokenizer = Path(config.checkpoint) / "tokenizer.json"
    if tokenizer.is_file():
        summary["tokenizer"] = tokenizer_mark(tokenizer)
    return {**summary, "step": 0}
