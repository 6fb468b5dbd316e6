"""What a base model's folder or hub page says of it, before its weights are loaded."""

from dataclasses import dataclass

from prox.engines.prompts import num_positions
from prox.errors import UserError


@dataclass(frozen=True)
class BaseModel:
    """The facts that data and training must fit."""

    model_type: str
    is_causal: bool
    """A causal language model, which can be taught to write."""
    vocab_size: int
    """Rows of its embeddings."""
    positions: int | None
    """Longest sequence in tokens; None where the architecture has no limit of its own."""


def read_base(base: str) -> BaseModel:
    """The facts of a local folder or hub name; one that can't be had is a ``UserError``."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    try:
        config = AutoConfig.from_pretrained(base)
    except (OSError, ValueError) as error:
        raise UserError(f"base {base!r} can't be read: {error}") from error
    return BaseModel(
        model_type=config.model_type,
        is_causal=config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        vocab_size=config.get_text_config().vocab_size,
        positions=num_positions(config),
    )
