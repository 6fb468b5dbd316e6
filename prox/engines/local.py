"""The local engine: transformers in process, batched by length. The default on CPU and for small models."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from prox.compiling import compile_layers
from prox.engines.base import Completion, EngineConfig, Failure, Message
from prox.engines.constraint import Constrainer
from prox.engines.judging import batches_by_length, hidden_states, join_prompts, verdict_logits
from prox.engines.loops import repeats, stop_at_loop
from prox.engines.prompts import chat_in_process, check_lengths, load_tokenizer, num_positions
from prox.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from prox.grammar import Grammar
    from prox.tagging import LinePrompt

BATCH_TOKENS = {"cpu": 8_192, "cuda": 65_536}
JUDGE_BATCH_TOKENS = {"cpu": 3_072, "cuda": 65_536}
"""Of one prefill, nothing is kept but the hidden states: on a CPU, batches that stay in its caches are faster."""
NOT_A_NUMBER = Failure("its probabilities are not numbers: try engine.dtype bfloat16 or float32", is_refusal=True)
LOOP_CHECK_STEPS = 16
"""Decoding steps between two looks for loops; a look costs about as much as a step of a tiny model."""


class BiasProcessor(LogitsProcessor):
    """Adds to the logits of some tokens."""

    def __init__(self, bias: Mapping[int, float]) -> None:
        self._ids, self._values = torch.tensor(list(bias)), torch.tensor(list(bias.values()))

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """``scores`` are [rows, vocabulary]."""
        scores[:, self._ids.to(scores.device)] += self._values.to(scores)
        return scores


class LocalEngine:
    """Greedy decoding and next-token probabilities with plain PyTorch."""

    def __init__(self, config: EngineConfig, checkpoint: str) -> None:
        cuda = torch.cuda.is_available()
        self.device = torch.device(("cuda" if cuda else "cpu") if config.device == "auto" else config.device)
        dtype = {"auto": "bfloat16" if self.device.type == "cuda" else "float32"}.get(config.dtype, config.dtype)
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(checkpoint)
        try:
            model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=getattr(torch, dtype))
        except (OSError, ValueError) as error:
            raise UserError(f"checkpoint {checkpoint!r}: its weights can't be loaded ({error})") from error
        self.model = model.to(self.device).eval()
        if config.compile:
            compile_layers(self.model.base_model, self.device.type == "cuda")
        longest = num_positions(model.config) or config.max_context
        if longest is None:
            raise UserError(f"checkpoint {checkpoint!r} names no longest context: set engine.max_context")
        if config.max_context and config.max_context > longest:
            raise UserError(
                f"engine.max_context {config.max_context}: checkpoint {checkpoint!r} takes at most {longest}"
            )
        self.max_context = config.max_context or longest
        self.dtype = str(model.dtype).removeprefix("torch.")
        self._batch_size = config.batch_size
        self._batch_tokens, self._judge_tokens = (
            config.max_batch_tokens or sizes.get(self.device.type, sizes["cpu"])
            for sizes in (BATCH_TOKENS, JUDGE_BATCH_TOKENS)
        )
        self._eos = _eos_ids(self.tokenizer, model.generation_config)
        pad = self.tokenizer.pad_token_id
        if pad is None and not self._eos:
            raise UserError(f"checkpoint {checkpoint!r}: its tokenizer has neither a padding nor an EOS token")
        self._pad = self._eos[0] if pad is None else pad
        # Greedy, whatever sampling the checkpoint's own generation_config.json asks for.
        model.generation_config = GenerationConfig(
            do_sample=False, pad_token_id=self._pad, eos_token_id=self._eos or None
        )
        self._constrainer: Constrainer | None = None

    def _batches(
        self, prompts: Sequence[list[int]], room: int
    ) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
        """Left-padded batches of prompts of like length, longest first: (their indices, ids [b, t], mask [b, t])."""
        lengths = [len(prompt) + room for prompt in prompts]
        for indices in batches_by_length(lengths, self._batch_size, self._batch_tokens):
            width = len(prompts[indices[0]])
            ids = torch.full((len(indices), width), self._pad, dtype=torch.long)
            mask = torch.zeros((len(indices), width), dtype=torch.long)
            for row, index in enumerate(indices):
                prompt = prompts[index]
                ids[row, width - len(prompt) :] = torch.tensor(prompt)
                mask[row, width - len(prompt) :] = 1
            yield indices, ids.to(self.device), mask.to(self.device)

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
        processors = [BiasProcessor(bias)] if bias else []
        answers = self._decode(prompts, max_new_tokens, stop, grammar, processors, check_loops=stop_loops)
        return [stop_at_loop(answer) for answer in answers] if stop_loops else list(answers)

    @torch.inference_mode()
    def _decode(
        self,
        prompts: Sequence[list[int]],
        max_new_tokens: int,
        stop: Sequence[str] = (),
        grammar: "Grammar | None" = None,
        processors: Sequence[LogitsProcessor] = (),
        check_loops: bool = False,
    ) -> list[Completion]:
        check_lengths(prompts, max_new_tokens, self.max_context)
        answers: dict[int, Completion] = {}
        for indices, ids, mask in self._batches(prompts, max_new_tokens):
            criteria = [self._criterion(stop, check_loops, ids.shape[1])] if stop or check_loops else []
            constraint = [self._constrain(grammar)] if grammar else []
            output = self.model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=max_new_tokens,
                stopping_criteria=StoppingCriteriaList(criteria),
                logits_processor=LogitsProcessorList([*processors, *constraint]),
            )
            for index, row in zip(indices, output[:, ids.shape[1] :].tolist(), strict=True):
                answers[index] = self._completion(row, stop)
        return [answers[index] for index in range(len(prompts))]

    def _constrain(self, grammar: "Grammar") -> LogitsProcessor:
        if self._constrainer is None:
            self._constrainer = Constrainer(self.tokenizer, self.model.config.vocab_size, self._eos)
        return self._constrainer.processor(grammar)

    def _text(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def _criterion(self, stop: Sequence[str], check_loops: bool, prompt_width: int) -> StoppingCriteria:
        """Ends a row once a stop string is in its new text (transformers' own needs it in the vocabulary), or a loop.

        Both are looked for again in the finished text: here decoding only has to end, there the text is cut.
        """
        # A token holds at least one character, and UTF-8 may split one over four.
        window = max(map(len, stop), default=0) + 8
        engine = self

        class Criterion(StoppingCriteria):
            def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: object) -> torch.Tensor:
                new = input_ids[:, prompt_width:].tolist()
                ended = [bool(stop) and any(mark in engine._text(row[-window:]) for mark in stop) for row in new]
                if check_loops and len(new[0]) % LOOP_CHECK_STEPS == 0:
                    ended = [end or repeats(engine._text(row)) is not None for end, row in zip(ended, new, strict=True)]
                return torch.tensor(ended, device=input_ids.device)

        return Criterion()

    def _completion(self, ids: list[int], stop: Sequence[str]) -> Completion:
        """``ids`` [new tokens] of one row; a row that another one outlived is filled up with padding."""
        end = next((place for place, token in enumerate(ids) if token in self._eos), None)
        text = self._text(ids[:end])
        cuts = [text.index(mark) for mark in stop if mark in text]
        num_tokens = len(ids) if end is None else end + 1
        while end is None and num_tokens and ids[num_tokens - 1] == self._pad:
            num_tokens -= 1
        return Completion(text[: min(cuts, default=None)], num_tokens, "length" if end is None and not cuts else "stop")

    @torch.inference_mode()
    def choose(self, prompts: Sequence[list[int]], candidates: Sequence[int]) -> list[list[float] | Failure]:
        """See ``Engine.choose``; one forward pass a batch, logits of the last position only."""
        check_lengths(prompts, 1, self.max_context)
        answers: list[list[float] | Failure] = [[] for _ in prompts]
        wanted = torch.tensor(list(candidates), device=self.device)
        for indices, ids, mask in self._batches(prompts, 0):
            positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
            logits = self.model(
                input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=1, use_cache=False
            ).logits[:, -1]
            chosen = torch.log_softmax(logits.float(), dim=-1)[:, wanted]
            for index, row in zip(indices, chosen.tolist(), strict=True):
                answers[index] = row
        return answers

    @torch.inference_mode()
    def judge(self, prompts: Sequence["LinePrompt"], verdicts: tuple[int, int]) -> list[list[float] | Failure]:
        """See ``Engine.judge``; one forward pass a batch, logits of the places only."""
        lengths = [len(prompt.ids) for prompt in prompts]
        check_lengths([prompt.ids for prompt in prompts], 0, self.max_context)
        answers: list[list[float] | Failure] = [[] for _ in prompts]
        for indices in batches_by_length(lengths, self._batch_size, self._judge_tokens):
            batch = join_prompts([prompts[index] for index in indices], self._pad).to(self.device)
            hidden = hidden_states(self.model, batch.ids, batch.positions)[batch.rows, batch.columns]
            logits = verdict_logits(self.model, hidden, verdicts)
            probabilities = iter(torch.softmax(logits, dim=-1)[:, 1].tolist())
            for index in indices:
                of_prompt = list(itertools.islice(probabilities, prompts[index].num_lines))
                answers[index] = NOT_A_NUMBER if any(map(math.isnan, of_prompt)) else of_prompt
        return answers

    def chat(
        self, conversations: Sequence[Sequence[Message]], max_new_tokens: int, temperature: float = 0.0
    ) -> list[Completion | Failure]:
        """See ``Engine.chat``; greedy only."""
        if temperature:
            raise UserError(f"the local engine decodes greedily: temperature {temperature} is not available, use 0")
        return chat_in_process(
            self.tokenizer,
            conversations,
            self.max_context - max_new_tokens,
            lambda prompts: self._decode(prompts, max_new_tokens),
        )

    def close(self) -> None:
        """See ``Engine.close``."""
        self.model = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def _eos_ids(tokenizer: "PreTrainedTokenizerBase", generation_config: GenerationConfig) -> list[int]:
    """The tokenizer's EOS token, then others that the checkpoint's generation config names."""
    others = generation_config.eos_token_id
    others = [] if others is None else [others] if isinstance(others, int) else list(others)
    own = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    return list(dict.fromkeys(own + others))
