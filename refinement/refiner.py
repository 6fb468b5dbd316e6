"""A loaded refiner: its engine, tokenizer and dialogue, and how it is asked in all units of an output."""

import copy
import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from prox.artifact import read_json, write_json
from prox.chunk_refiner import engine_for
from prox.dialogue import FILE_NAME, Dialogue, load_dialogue, refuse_dialogue_on_hub
from prox.engines import Engine, EngineConfig, load_engine
from prox.errors import UserError
from prox.logs import log_once
from refinement.configs import RefinerStepConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


ASKED = "asked.json"


@dataclass(frozen=True)
class Refiner:
    """What a refining step asks."""

    engine: Engine
    dialogue: Dialogue

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The checkpoint's tokenizer."""
        return self.engine.tokenizer

    @property
    def prompt_tokenizer(self) -> "PreTrainedTokenizerBase":
        """A copy for rendering prompts in a thread of its own: the engine's can't be used by two at once."""
        return _copy_of(self.engine.tokenizer)

    def taught_with(self) -> str:
        """For messages about limits: what the refiner was taught with, where its dialogue says so."""
        prompt, answer = self.dialogue.max_prompt_tokens, self.dialogue.max_new_tokens
        if prompt is None and answer is None:
            return ""
        answers = "" if answer is None else f" and answers of up to {answer}"
        return f", and it was taught with prompts of up to {prompt} tokens{answers}"


def load_refiner(config: RefinerStepConfig) -> Refiner:
    """Loads the checkpoint, once a process; a ``dialogue.json`` beside it wins over the config's dialogue."""
    checkpoint = config.refiner.checkpoint
    refuse_dialogue_on_hub(checkpoint)
    dialogue = load_dialogue(checkpoint, config.refiner.dialogue)
    if config.refiner.dialogue not in (Dialogue(), dialogue):
        log_once(f"--refiner.dialogue is not used: {checkpoint} brings a {FILE_NAME} that says how it is asked")
    engine = load_engine(engine_for(engine_as_before(config), dialogue), checkpoint)
    return Refiner(engine, dialogue.resolved(engine.tokenizer))


def engine_as_before(config: RefinerStepConfig) -> EngineConfig:
    """The engine's config; where an earlier run began the output, `auto` is the number format that it asked in: what it
    would be here depends on the machine.
    """
    dtype = _dtype_of_before(config.output / ASKED)
    use = dtype if config.engine.dtype == "auto" and config.engine.kind != "server" else None
    return replace(config.engine, dtype=use) if use else config.engine


@functools.lru_cache(maxsize=1)
def _dtype_of_before(asked: Path) -> str | None:
    """As this process found it first: what it writes there itself must not have the engine loaded anew."""
    dtype = read_json(asked).get("dtype") if asked.is_file() else None
    return dtype if dtype in ("float32", "bfloat16", "float16") else None  # a server's is not known


@functools.lru_cache(maxsize=1)
def _copy_of(tokenizer: "PreTrainedTokenizerBase") -> "PreTrainedTokenizerBase":
    """The same copy in every unit, since what is remembered of a tokenizer's words goes with it."""
    return copy.deepcopy(tokenizer)


def record_asking(output: Path, refiner: Refiner, limits: Mapping[str, int]) -> None:
    """Writes down with what limits and number format the refiner is asked, and its dialogue, in the first unit.

    Raises ``UserError`` where earlier units of this output were asked otherwise, as on another kind of engine.
    """
    asked = {"dtype": refiner.engine.dtype, **limits}
    path = output / ASKED
    if not path.is_file():
        refiner.dialogue.save(output)
        write_json(path, asked)
        return
    before = read_json(path)
    changed = [f"{name} {before.get(name)}, now {value}" for name, value in asked.items() if before.get(name) != value]
    if changed:
        raise UserError(
            f"{output} holds units that were asked with {'; '.join(changed)}: go on with the engine settings of before "
            "(engine.dtype, engine.max_context), or give another --output"
        )
