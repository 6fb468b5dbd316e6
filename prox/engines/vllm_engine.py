"""The vLLM engine, in process: token ids in, text or log-probabilities of chosen tokens out; CPU or CUDA build."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from prox.engines.base import Completion, EngineConfig, Failure, Message
from prox.engines.local import load_tokenizer
from prox.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class VllmEngine:
    """Continuous batching; the scheduler orders the work, answers come back in the order of the prompts."""

    def __init__(self, config: EngineConfig, checkpoint: str) -> None:
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        # One engine a process is all a worker needs; a child process would only add to its start.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        try:
            import torch
            import vllm
        except ImportError as error:
            raise UserError(
                f"the vllm engine needs vLLM ({error}): run scripts/setup.sh, or use engine.kind local"
            ) from error
        cuda = torch.cuda.is_available()
        if not cuda:
            os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        self._vllm = vllm
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(checkpoint)
        self._engine = vllm.LLM(
            model=checkpoint,
            dtype=("bfloat16" if cuda else "float32") if config.dtype == "auto" else config.dtype,
            max_model_len=config.max_context,
            max_num_seqs=config.batch_size,
            enforce_eager=not cuda,
            # Every token id may be asked for by `choose`, however improbable.
            max_logprobs=-1,
            disable_log_stats=True,
            seed=0,
        )
        self.max_context = self._engine.llm_engine.model_config.max_model_len

    def generate(self, prompts: Sequence[list[int]], max_new_tokens: int, stop: Sequence[str] = ()) -> list[Completion]:
        """See ``Engine.generate``."""
        sampling = self._vllm.SamplingParams(temperature=0.0, max_tokens=max_new_tokens, stop=list(stop))
        return [_completion(output.outputs[0]) for output in self._run(prompts, sampling)]

    def choose(self, prompts: Sequence[list[int]], candidates: Sequence[int]) -> list[list[float]]:
        """See ``Engine.choose``."""
        sampling = self._vllm.SamplingParams(temperature=0.0, max_tokens=1, logprob_token_ids=list(candidates))
        answers = []
        for output in self._run(prompts, sampling):
            found = output.outputs[0].logprobs[0]
            answers.append([found[candidate].logprob for candidate in candidates])
        return answers

    def _run(self, prompts: Sequence[list[int]], sampling: object) -> list:
        inputs = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        return self._engine.generate(inputs, sampling, use_tqdm=False)

    def chat(
        self, conversations: Sequence[Sequence[Message]], max_new_tokens: int, temperature: float = 0.0
    ) -> list[Completion | Failure]:
        """See ``Engine.chat``."""
        sampling = self._vllm.SamplingParams(temperature=temperature, max_tokens=max_new_tokens, seed=0)
        outputs = self._engine.chat([list(messages) for messages in conversations], sampling, use_tqdm=False)
        return [_completion(output.outputs[0]) for output in outputs]


def _completion(output: object) -> Completion:
    reason = "length" if output.finish_reason == "length" else "stop"
    return Completion(output.text, len(output.token_ids), reason)
