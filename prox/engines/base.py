"""What an engine can do, its config, and the one loader that keeps it for the life of the process."""

import atexit
import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from prox.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from prox.grammar import Grammar
    from prox.tagging import LinePrompt

Message = dict[str, str]
FinishReason = Literal["stop", "length", "loop"]


@dataclass(frozen=True)
class Completion:
    """A model's answer."""

    text: str
    num_tokens: int
    """Tokens decoded, an EOS token included; 0 where a server does not say."""
    finish_reason: FinishReason
    """``length`` when the token limit cut it off, ``loop`` when it repeated itself (``prox.engines.loops``)."""
    num_prompt_tokens: int = 0
    """Tokens of the prompt, where the engine says so; of conversations only."""
    line_probabilities: tuple[float, ...] | None = None
    """How likely each line of the chunk is to be removed; of a tagger, whose text is a program made from them."""


@dataclass(frozen=True)
class Failure:
    """A request that got no usable answer after every retry."""

    reason: str
    is_refusal: bool = False
    """The request itself was refused, as one that is too long: asking again can't help."""


class Engine(Protocol):
    """A loaded language model. Prompts are token ids, so that counting and asking can share one tokenisation.

    Answers come back in the order of the prompts whatever order they were computed in. Decoding is greedy. One request
    that fails costs one ``Failure``, never the batch; an engine that can't go on raises ``UserError``. A prompt that is
    empty, or leaves the context no room for the answer, is a ``ValueError``.
    """

    max_context: int
    """Longest sequence, prompt and answer together, in tokens."""
    dtype: str
    """Number format of the weights; of a server it is not known."""

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The model's own tokenizer."""

    def generate(
        self,
        prompts: Sequence[list[int]],
        max_new_tokens: int,
        stop: Sequence[str] = (),
        grammar: "Grammar | None" = None,
        bias: Mapping[int, float] | None = None,
        stop_loops: bool = True,
    ) -> list[Completion | Failure]:
        """Continues each prompt greedily until EOS, a stop string (left out of the text) or ``max_new_tokens``.

        ``bias`` is added to the logits of these token ids at every step. An answer that repeats itself ends there,
        unless ``stop_loops`` is off.
        With a ``grammar`` an answer can only be a beginning of what the grammar allows, and end only where it does (or
        at the token limit). Where constrained decoding is not to be had, a ``UserError`` says so.
        """

    def choose(self, prompts: Sequence[list[int]], candidates: Sequence[int]) -> list[list[float] | Failure]:
        """Natural-log probabilities, under the full vocabulary, of each candidate as the token after each prompt.

        vLLM takes up to 128 candidates.
        """

    def judge(self, prompts: Sequence["LinePrompt"], verdicts: tuple[int, int]) -> list[list[float] | Failure]:
        """For each line of each prompt, the probability of the second of two tokens, the other being the first.

        Only the local engine can: positions of their own are in no server's interface. Elsewhere a ``UserError``.
        """

    def chat(
        self, conversations: Sequence[Sequence[Message]], max_new_tokens: int, temperature: float = 0.0
    ) -> list[Completion | Failure]:
        """Answers conversations through the model's own chat template; an over-long one is a ``Failure``."""

    def close(self) -> None:
        """Gives memory and processes back. A closed engine can't be used again; closing twice does nothing."""


LOCAL_ONLY = (
    "a tagger reads its lines at positions of their own, which only the local engine can: set engine.kind local"
)


@dataclass(frozen=True)
class VllmConfig:
    """vLLM's own settings; unset leaves them to vLLM, which chooses by the machine."""

    max_num_seqs: int | None = None
    """Sequences decoded at once. vLLM 0.28 in process: 256 on CPU and smaller GPUs, 1,024 on an H100 or H200."""
    max_num_batched_tokens: int | None = None
    """Tokens of a scheduler step, prompts included. vLLM 0.28: 4,096 on CPU, 8,192, or 16,384 on an H100 or H200;
    datatrove's published sweeps (examples/inference/benchmark) end at 32,768 for a model of 135M parameters."""
    gpu_memory_utilization: float | None = None
    """Share of the GPU's memory to take (0 to 1); lower it where workers share a GPU. No effect on CPU."""
    enable_prefix_caching: bool | None = None
    """Keep the keys and values of prompts' common beginnings. Refiners' prompts share a few dozen tokens only."""
    tensor_parallel_size: int = 1
    """GPUs that hold one model together; more than 1 only for models that one can't hold."""
    cpu_kv_cache_gib: int = 1
    """Memory for keys and values on CPU, in GiB; the environment variable VLLM_CPU_KVCACHE_SPACE wins."""

    def problems(self) -> list[str]:
        """Settings that can't work."""
        found = []
        for name in ("max_num_seqs", "max_num_batched_tokens", "tensor_parallel_size", "cpu_kv_cache_gib"):
            value = getattr(self, name)
            if value is not None and value < 1:
                found.append(f"{name} is {value}: it must be at least 1")
        if self.gpu_memory_utilization is not None and not 0 < self.gpu_memory_utilization <= 1:
            found.append(f"gpu_memory_utilization is {self.gpu_memory_utilization}: it must lie above 0 and up to 1")
        seqs, tokens = self.max_num_seqs, self.max_num_batched_tokens
        if seqs is not None and tokens is not None and tokens < seqs:
            found.append(f"max_num_batched_tokens is {tokens}, fewer than max_num_seqs {seqs}: raise it")
        return found


@dataclass(frozen=True)
class EngineConfig:
    """Which engine runs a model, and how."""

    kind: Literal["local", "vllm", "server"] = "local"
    """`local` (transformers), `vllm` (in process) or `server` (any OpenAI-compatible endpoint)."""
    device: str = "auto"
    """`auto` (CUDA where there is one), `cpu` or `cuda`; local engine only."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Weights' number format: `auto` is bfloat16 on CUDA and float32 on CPU, and the server's own with a server."""
    batch_size: int = 32
    """Most prompts a forward pass; local engine only."""
    max_batch_tokens: int | None = None
    """Most tokens a forward pass, padding and room for the answers included; local engine only. Unset: 8,192 on CPU,
    where larger batches of the quickstart's refiner were slower (3,072 for a tagger), and 65,536 on CUDA."""
    max_context: int | None = None
    """Longest sequence in tokens; unset takes the model's own."""
    compile: bool = False
    """Have torch compile a tagger's layers: half a minute to begin with, then faster on a CPU with matrix units, not on
    one without (docs/benchmarks.md). Local engine only; on a CPU it needs a C++ compiler."""
    vllm: VllmConfig = field(default_factory=VllmConfig)
    """Settings of kind `vllm`."""
    base_url: str = ""
    """Server's address up to and including `/v1`."""
    served_name: str = ""
    """The model's name on the server; unset takes the checkpoint's, from which the tokenizer comes in any case."""
    api_key_env: str = "OPENAI_API_KEY"
    """Name of the environment variable that holds the server's key; an unset variable sends no key."""
    concurrency: int = 16
    """Requests under way at once; server only. Raise it for a vLLM server of one's own: they are its batch."""
    requests_per_minute: float | None = None
    """Most requests a minute, retries included, evenly spaced; server only. Unset: no limit."""
    tokens_per_minute: float | None = None
    """Most tokens a minute, prompts and longest possible answers, evenly spaced; server only. Unset: no limit."""
    max_retries: int = 6
    """Tries again after a failed request, with growing pauses or the server's `Retry-After`; server only."""
    timeout: float = 300.0
    """Seconds a request may take; server only."""

    def problems(self) -> list[str]:
        """Reasons why this engine can't be started, as far as they show before it is."""
        found = []
        if self.kind == "server":
            if not self.base_url.startswith(("http://", "https://")):
                found.append(f"engine.base_url {self.base_url!r} is no address: give the server's URL, ending in /v1")
            if self.dtype != "auto":
                found.append(f"engine.dtype is {self.dtype}: a server has loaded its weights already, leave it `auto`")
        if self.compile and self.kind != "local":
            found.append(f"engine.compile is for engine.kind local: {self.kind} has ways of its own, leave it out")
        least = {"batch_size": 1, "max_batch_tokens": 1, "max_context": 2, "concurrency": 1, "max_retries": 0}
        for name, minimum in least.items():
            value = getattr(self, name)
            if value is not None and value < minimum:
                found.append(f"engine.{name} is {value}: it must be at least {minimum}")
        for name in ("requests_per_minute", "tokens_per_minute"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                found.append(f"engine.{name} is {value}: it must be above 0, or unset for no limit")
        if self.timeout <= 0:
            found.append(f"engine.timeout is {self.timeout}: it must be above 0 seconds")
        return found + [f"engine.vllm.{problem}" for problem in self.vllm.problems()]


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

    An engine is closed before the next of its kind is loaded, as vLLM takes most of a GPU for itself, and at the end of
    the process. Raises ``UserError`` where the checkpoint can't be loaded, or the server does not answer.
    """
    if not checkpoint:
        raise UserError("no checkpoint is set: give a local folder or a hub name")
    key = (config, str(checkpoint))
    if config.kind not in _loaded or _loaded[config.kind][0] != key:
        _close(config.kind)
        _loaded[config.kind] = (key, _load(*key))
        # Behind what the libraries registered while they loaded: the last one registered runs first.
        atexit.unregister(close_engines)
        atexit.register(close_engines)
    return _loaded[config.kind][1]


def close_engines() -> None:
    """Closes whatever ``load_engine`` has loaded."""
    for kind in list(_loaded):
        _close(kind)


def _close(kind: str) -> None:
    if kind in _loaded:
        _loaded.pop(kind)[1].close()
        gc.collect()
