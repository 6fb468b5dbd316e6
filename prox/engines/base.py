"""What an engine can do, its config, and the one loader that keeps it for the life of the process."""

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from prox.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = dict[str, str]


@dataclass(frozen=True)
class Completion:
    """A model's answer. ``finish_reason`` is ``length`` when the token limit cut it off."""

    text: str
    num_tokens: int
    finish_reason: Literal["stop", "length"]


@dataclass(frozen=True)
class Failure:
    """A request that got no usable answer after every retry."""

    reason: str


class Engine(Protocol):
    """A loaded language model. Prompts are token ids, so that counting and asking can share one tokenisation.

    Answers come back in the order of the prompts whatever order they were computed in. Decoding is greedy.
    """

    max_context: int
    """Longest sequence, prompt and answer together, in tokens."""

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The model's own tokenizer."""

    def generate(self, prompts: Sequence[list[int]], max_new_tokens: int, stop: Sequence[str] = ()) -> list[Completion]:
        """Continues each prompt greedily until EOS, a stop string (left out of the text) or ``max_new_tokens``."""

    def choose(self, prompts: Sequence[list[int]], candidates: Sequence[int]) -> list[list[float]]:
        """Natural-log probabilities, under the full vocabulary, of each candidate as the token after each prompt."""

    def chat(
        self, conversations: Sequence[Sequence[Message]], max_new_tokens: int, temperature: float = 0.0
    ) -> list[Completion | Failure]:
        """Answers conversations through the model's own chat template; a failed request is a ``Failure``."""


@dataclass(frozen=True)
class EngineConfig:
    """Which engine runs a model, and how."""

    kind: Literal["local", "vllm", "server"] = "local"
    """`local` (transformers), `vllm` (in process) or `server` (any OpenAI-compatible endpoint)."""
    device: str = "auto"
    """`auto` (CUDA where there is one), `cpu` or `cuda`; local engine only."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Weights' number format: `auto` is bfloat16 on CUDA and float32 on CPU."""
    batch_size: int = 32
    """Prompts a forward pass (local) or sequences at once (vllm)."""
    max_context: int | None = None
    """Longest sequence in tokens; unset takes the model's own."""
    base_url: str = ""
    """Server's address up to and including `/v1`."""
    api_key_env: str = "OPENAI_API_KEY"
    """Name of the environment variable that holds the server's key; an unset variable sends no key."""
    concurrency: int = 16
    """Requests under way at once; server only."""
    max_retries: int = 6
    """Tries again after a failed request, with growing pauses; server only."""
    timeout: float = 300.0
    """Seconds a request may take; server only."""

    def problems(self) -> list[str]:
        """Reasons why this engine can't be started, as far as they show before it is."""
        found = []
        if self.kind == "server" and not self.base_url.startswith(("http://", "https://")):
            found.append(f"engine.base_url {self.base_url!r} is no address: give the server's URL, ending in /v1")
        for name, least in (("batch_size", 1), ("concurrency", 1), ("max_retries", 0)):
            if getattr(self, name) < least:
                found.append(f"engine.{name} is {getattr(self, name)}: it must be at least {least}")
        return found


_loaded: dict[str, tuple[tuple[EngineConfig, str], Engine]] = {}


def _load(config: EngineConfig, checkpoint: str) -> Engine:
    if config.kind == "server":
        from prox.engines.server import ServerEngine

        return ServerEngine(config, checkpoint)
    if config.kind == "vllm":
        from prox.engines.vllm_engine import VllmEngine

        return VllmEngine(config, checkpoint)
    from prox.engines.local import LocalEngine

    return LocalEngine(config, checkpoint)


def load_engine(config: EngineConfig, checkpoint: str) -> Engine:
    """The engine for a checkpoint (local folder or hub name); the last one of each kind stays loaded.

    An engine gives its memory back before the next of its kind is loaded: vLLM takes most of a GPU for itself. Raises
    ``UserError`` where the checkpoint can't be loaded.
    """
    if not checkpoint:
        raise UserError("no checkpoint is set: give a local folder or a hub name")
    key = (config, str(checkpoint))
    if config.kind not in _loaded or _loaded[config.kind][0] != key:
        _loaded.pop(config.kind, None)
        gc.collect()
        _loaded[config.kind] = (key, _load(*key))
    return _loaded[config.kind][1]
