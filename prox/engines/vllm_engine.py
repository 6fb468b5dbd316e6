"""The vLLM engine, in process: token ids in, text or log-probabilities of chosen tokens out; CPU or CUDA build."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prox.engines.base import LOCAL_ONLY, Completion, EngineConfig, Failure, Message, VllmConfig
from prox.engines.loops import stop_at_loop
from prox.engines.prompts import chat_in_process, check_lengths, load_tokenizer
from prox.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from prox.grammar import Grammar
    from prox.tagging import LinePrompt


class VllmEngine:
    """Continuous batching; the scheduler orders the work, answers come back in the order of the prompts.

    A looping answer is cut after the fact: vLLM has decoded it up to the token limit.
    """

    def __init__(self, config: EngineConfig, checkpoint: str) -> None:
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        # One engine a process is all a worker needs; a child process would only add to its start.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        # vLLM's CPU build warns of the memory policy it has itself set; only heard before torch is imported.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        try:
            import torch
            import vllm
        except ImportError as error:
            raise UserError(
                f"the vllm engine needs vLLM ({error}): run scripts/setup.sh, or use engine.kind local"
            ) from error
        cuda = torch.cuda.is_available()
        if not cuda:
            os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(config.vllm.cpu_kv_cache_gib))
        self._vllm = vllm
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(checkpoint)
        try:
            self._engine = vllm.LLM(
                model=checkpoint,
                dtype=("bfloat16" if cuda else "float32") if config.dtype == "auto" else config.dtype,
                max_model_len=config.max_context,
                enforce_eager=not cuda,
                disable_log_stats=True,
                use_tqdm_on_load=False,
                seed=0,
                # What the local engine uses, too; left to itself vLLM may choose another by the request.
                structured_outputs_config={"backend": "xgrammar"},
                **_options(config.vllm),
            )
        except (OSError, ValueError) as error:
            raise UserError(f"checkpoint {checkpoint!r}: vLLM can't load it ({error})") from error
        self.max_context = self._engine.llm_engine.model_config.max_model_len
        self.dtype = str(self._engine.llm_engine.model_config.dtype).removeprefix("torch.")

    def generate(
        self,
        prompts: Sequence[list[int]],
        max_new_tokens: int,
        stop: Sequence[str] = (),
        grammar: "Grammar | None" = None,
        bias: Mapping[int, float] | None = None,
        stop_loops: bool = True,
    ) -> list[Completion | Failure]:
        """See ``Engine.generate``."""
        check_lengths(prompts, max_new_tokens, self.max_context)
        sampling = self._vllm.SamplingParams(
            temperature=0.0,
            max_tokens=max_new_tokens,
            stop=list(stop),
            detokenize=bool(stop),
            logit_bias=dict(bias) if bias else None,
        )
        if grammar is not None:
            from vllm.sampling_params import StructuredOutputsParams

            sampling.structured_outputs = StructuredOutputsParams(grammar=grammar.ebnf())
        answers = [self._completion(output, sampling) for output in self._run(prompts, sampling)]
        return [stop_at_loop(answer) for answer in answers] if stop_loops else list(answers)

    def judge(self, prompts: Sequence["LinePrompt"], verdicts: tuple[int, int]) -> list[list[float] | Failure]:
        """See ``Engine.judge``."""
        raise UserError(LOCAL_ONLY)

    def choose(self, prompts: Sequence[list[int]], candidates: Sequence[int]) -> list[list[float] | Failure]:
        """See ``Engine.choose``."""
        check_lengths(prompts, 1, self.max_context)
        sampling = self._vllm.SamplingParams(
            temperature=0.0, max_tokens=1, logprob_token_ids=list(candidates), detokenize=False
        )
        answers: list[list[float] | Failure] = []
        for output in self._run(prompts, sampling):
            found = output.logprobs[0]
            answers.append([found[candidate].logprob for candidate in candidates])
        return answers

    def _run(self, prompts: Sequence[list[int]], sampling: Any) -> list[Any]:
        inputs = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        return [output.outputs[0] for output in self._engine.generate(inputs, sampling, use_tqdm=False)]

    def chat(
        self, conversations: Sequence[Sequence[Message]], max_new_tokens: int, temperature: float = 0.0
    ) -> list[Completion | Failure]:
        """See ``Engine.chat``."""
        sampling = self._vllm.SamplingParams(
            temperature=temperature, max_tokens=max_new_tokens, seed=0, detokenize=False
        )
        return chat_in_process(
            self.tokenizer,
            conversations,
            self.max_context - max_new_tokens,
            lambda prompts: [self._completion(output, sampling) for output in self._run(prompts, sampling)],
        )

    def _completion(self, output: Any, sampling: Any) -> Completion:
        ids, reason = list(output.token_ids), "length" if output.finish_reason == "length" else "stop"
        text = output.text
        if not sampling.detokenize:
            # Once, as the local engine does: vLLM decodes token by token, and holds back halves of characters.
            spoken = ids[:-1] if reason == "stop" else ids
            text = self.tokenizer.decode(spoken, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return Completion(text, len(ids), reason)

    def close(self) -> None:
        """See ``Engine.close``; ends vLLM's worker processes too."""
        if self._engine is not None:
            self._engine.llm_engine.engine_core.shutdown()
            self._engine = None


def _options(config: VllmConfig) -> dict[str, Any]:
    """The settings that are not left to vLLM."""
    names = ("max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization", "enable_prefix_caching")
    settings = {name: getattr(config, name) for name in names} | {"tensor_parallel_size": config.tensor_parallel_size}
    return {name: value for name, value in settings.items() if value is not None}
