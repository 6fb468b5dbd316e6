"""What a base model's folder or hub page says of it, before its weights are loaded."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prox.engines.prompts import num_positions
from prox.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


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
    reach: int | None = None
    """How many tokens back its layers look (sliding windows); None where one of them looks over the whole sequence."""


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
        reach=_reach(config.get_text_config()),
    )


def _reach(config: "PreTrainedConfig") -> int | None:
    window = getattr(config, "sliding_window", None)
    looks_everywhere = any("full" in kind for kind in getattr(config, "layer_types", None) or ())
    return window if getattr(config, "use_sliding_window", True) and not looks_everywhere else None
