"""A loaded refiner: its engine, tokenizer and dialogue."""

import functools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prox.dialogue import Dialogue, load_dialogue
from prox.engines import Engine, load_engine
from refinement.configs import RefinerStepConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger("prox")


@dataclass(frozen=True)
class Refiner:
    """What a refining step asks."""

    engine: Engine
    dialogue: Dialogue

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The checkpoint's tokenizer."""
        return self.engine.tokenizer


def load_refiner(config: RefinerStepConfig) -> Refiner:
    """Loads the checkpoint, once a process; a ``dialogue.json`` beside it wins over the config's dialogue."""
    checkpoint = config.refiner.checkpoint
    engine = load_engine(config.engine, checkpoint)
    return Refiner(engine, load_dialogue(checkpoint, config.refiner.dialogue).resolved(engine.tokenizer))


@functools.cache
def log_once(message: str) -> None:
    """Logs a message once a process, however many units it is true of."""
    log.info(message)
