"""What every engine does with prompts before it runs them: tokenizer, chat template, lengths."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from prox.engines.base import Completion, Failure, Message
from prox.errors import UserError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase


def load_tokenizer(checkpoint: str) -> "PreTrainedTokenizerBase":
    """The checkpoint's fast tokenizer, for any length of text; a ``UserError`` names a checkpoint that has none."""
    from transformers import AutoTokenizer

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


def num_positions(config: "PretrainedConfig") -> int | None:
    """Tokens of the longest sequence a model takes, by its config; None where it names no limit."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


BYTES_PER_TOKEN = 4
"""Of English text, and, at three bytes a character, about right for Chinese too."""


def estimate_tokens(messages: Sequence[Message]) -> int:
    """About how many tokens a conversation has, where no tokenizer is at hand."""
    return estimate_text_tokens("".join(message["content"] for message in messages))


def estimate_text_tokens(text: str) -> int:
    """About how many tokens a text has."""
    return len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN


def check_lengths(prompts: Sequence[list[int]], room: int, max_context: int) -> None:
    """Raises ``ValueError`` for an empty prompt, and for one that leaves fewer than ``room`` tokens of the context."""
    longest = max(map(len, prompts), default=0)
    if longest + room > max_context:
        raise ValueError(f"a prompt of {longest} tokens and {room} new ones exceed the context of {max_context}")
    if prompts and not min(map(len, prompts)):
        raise ValueError("an empty prompt has no next token")


def chat_in_process(
    tokenizer: "PreTrainedTokenizerBase",
    conversations: Sequence[Sequence[Message]],
    longest: int,
    generate: Callable[[list[list[int]]], Sequence[Completion | Failure]],
) -> list[Completion | Failure]:
    """Answers conversations through the chat template; one of more than ``longest`` tokens is a ``Failure``."""
    if tokenizer.chat_template is None:
        raise UserError("the model has no chat template: use an instruct model, or a server that has one")
    prompts = [
        tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, return_dict=False)
        for messages in conversations
    ]
    answers: list[Completion | Failure] = [
        Failure(f"the conversation has {len(prompt)} tokens; the context leaves it {longest}", is_refusal=True)
        for prompt in prompts
    ]
    fitting = [index for index, prompt in enumerate(prompts) if len(prompt) <= longest]
    for index, answer in zip(fitting, generate([prompts[index] for index in fitting]), strict=True):
        if isinstance(answer, Completion):
            answer = dataclasses.replace(answer, num_prompt_tokens=len(prompts[index]))
        answers[index] = answer
    return answers
