"""The local engine: transformers in process, batched by length. The default on CPU and for small models."""

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, StoppingCriteria, StoppingCriteriaList

from prox.engines.base import Completion, EngineConfig, Failure, Message
from prox.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger("prox")


def load_tokenizer(checkpoint: str) -> "PreTrainedTokenizerBase":
    """The checkpoint's fast tokenizer, for any length of text; a ``UserError`` names a checkpoint that has none."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    except (OSError, ValueError) as error:
        raise UserError(f"checkpoint {checkpoint!r}: its tokenizer can't be loaded ({error})") from error
    if not tokenizer.is_fast:
        raise UserError(
            f"checkpoint {checkpoint!r} has no fast tokenizer (tokenizer.json): save one beside the weights"
        )
    # Whole documents are tokenised to be cut; lengths are checked where prompts are made, so no warning is due.
    tokenizer.model_max_length = 2**31
    return tokenizer


class LocalEngine:
    """Greedy decoding and next-token probabilities with plain PyTorch."""

    def __init__(self, config: EngineConfig, checkpoint: str) -> None:
        cuda = torch.cuda.is_available()
        self.device = torch.device(("cuda" if cuda else "cpu") if config.device == "auto" else config.device)
        dtype = {"auto": "bfloat16" if self.device.type == "cuda" else "float32"}.get(config.dtype, config.dtype)
        self.tokenizer = load_tokenizer(checkpoint)
        try:
            model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=getattr(torch, dtype))
        except (OSError, ValueError) as error:
            raise UserError(f"checkpoint {checkpoint!r}: its weights can't be loaded ({error})") from error
        self.model = model.to(self.device).eval()
        self.batch_size = config.batch_size
        self.max_context = config.max_context or model.config.max_position_embeddings
        pad, eos = self.tokenizer.pad_token_id, self.tokenizer.eos_token_id
        self._pad = pad if pad is not None else eos
        if self._pad is None:
            raise UserError(f"checkpoint {checkpoint!r}: its tokenizer has neither a padding nor an EOS token")

    def _batches(self, prompts: Sequence[list[int]]) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
        """Left-padded batches of prompts of like length, longest first: (their indices, ids [b, t], mask [b, t])."""
        order = sorted(range(len(prompts)), key=lambda index: (-len(prompts[index]), index))
        for begin in range(0, len(order), self.batch_size):
            indices = order[begin : begin + self.batch_size]
            width = len(prompts[indices[0]])
            ids = torch.full((len(indices), width), self._pad, dtype=torch.long)
            mask = torch.zeros((len(indices), width), dtype=torch.long)
            for row, index in enumerate(indices):
                prompt = prompts[index]
                ids[row, width - len(prompt) :] = torch.tensor(prompt)
                mask[row, width - len(prompt) :] = 1
            yield indices, ids.to(self.device), mask.to(self.device)

    @torch.inference_mode()
    def generate(self, prompts: Sequence[list[int]], max_new_tokens: int, stop: Sequence[str] = ()) -> list[Completion]:
        """See ``Engine.generate``. Prompts longer than the context leaves room for are a ``ValueError``."""
        self._check_lengths(prompts, max_new_tokens)
        answers: list[Completion | None] = [None] * len(prompts)
        for indices, ids, mask in self._batches(prompts):
            criteria = [self._stop_strings(stop, ids.shape[1])] if stop else []
            output = self.model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                pad_token_id=self._pad,
                eos_token_id=self.tokenizer.eos_token_id,
                stopping_criteria=StoppingCriteriaList(criteria),
            )
            for index, row in zip(indices, output[:, ids.shape[1] :].tolist(), strict=True):
                answers[index] = self._completion(row, max_new_tokens, stop)
        return [answer for answer in answers if answer is not None]

    def _stop_strings(self, stop: Sequence[str], prompt_width: int) -> StoppingCriteria:
        """Ends a row once a stop string is in its new text (transformers' own needs it in the vocabulary)."""
        decode = self.tokenizer.batch_decode
        window = max(map(len, stop)) + 8  # a token holds at least one character, and UTF-8 may split one over four

        class Criterion(StoppingCriteria):
            def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: object) -> torch.Tensor:
                tails = decode(input_ids[:, max(prompt_width, input_ids.shape[1] - window) :])
                ended = [any(mark in tail for mark in stop) for tail in tails]
                return torch.tensor(ended, device=input_ids.device)

        return Criterion()

    def _completion(self, ids: list[int], max_new_tokens: int, stop: Sequence[str]) -> Completion:
        eos = self.tokenizer.eos_token_id
        ended = eos in ids
        if ended:
            ids = ids[: ids.index(eos)]
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        cuts = [text.index(mark) for mark in stop if mark in text]
        if cuts:
            text, ended = text[: min(cuts)], True
        # A row that another one outlived is filled up with padding, which decoding leaves out.
        num_tokens = len([token for token in ids if token != self._pad])
        return Completion(text, num_tokens, "stop" if ended or num_tokens < max_new_tokens else "length")

    @torch.inference_mode()
    def choose(self, prompts: Sequence[list[int]], candidates: Sequence[int]) -> list[list[float]]:
        """See ``Engine.choose``; one forward pass a batch, logits of the last position only."""
        self._check_lengths(prompts, 1)
        answers: list[list[float]] = [[] for _ in prompts]
        wanted = torch.tensor(list(candidates), device=self.device)
        for indices, ids, mask in self._batches(prompts):
            positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
            logits = self.model(
                input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=1, use_cache=False
            ).logits[:, -1]
            chosen = torch.log_softmax(logits.float(), dim=-1)[:, wanted]
            for index, row in zip(indices, chosen.tolist(), strict=True):
                answers[index] = row
        return answers

    def chat(
        self, conversations: Sequence[Sequence[Message]], max_new_tokens: int, temperature: float = 0.0
    ) -> list[Completion | Failure]:
        """See ``Engine.chat``; greedy only."""
        if temperature:
            raise UserError(f"the local engine decodes greedily: temperature {temperature} is not available, use 0")
        if self.tokenizer.chat_template is None:
            raise UserError("the model has no chat template: use an instruct model, or a server that has one")
        prompts = [
            self.tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, return_dict=False)
            for messages in conversations
        ]
        answers: list[Completion | Failure] = [
            Failure(f"the conversation has {len(prompt)} tokens; the model's context is {self.max_context}")
            for prompt in prompts
        ]
        fitting = [index for index, prompt in enumerate(prompts) if len(prompt) + max_new_tokens <= self.max_context]
        for index, answer in zip(fitting, self.generate([prompts[i] for i in fitting], max_new_tokens), strict=True):
            answers[index] = answer
        return answers

    def _check_lengths(self, prompts: Sequence[list[int]], room: int) -> None:
        longest = max(map(len, prompts), default=0)
        if longest + room > self.max_context:
            raise ValueError(
                f"a prompt of {longest} tokens and {room} new ones exceed the context of {self.max_context}"
            )
        if prompts and not min(map(len, prompts)):
            raise ValueError("an empty prompt has no next token")
