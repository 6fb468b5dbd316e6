"""The server engine: any OpenAI-compatible endpoint, with bounded concurrency and retries."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import openai

from prox.engines.base import Completion, EngineConfig, Failure, Message
from prox.engines.local import load_tokenizer
from prox.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger("prox")

Request = TypeVar("Request")
MAX_PAUSE_SECONDS = 30.0

# Faults of the request itself or of the account: trying again can't help, and every other request would fail the same.
_FINAL = (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError)


class ServerEngine:
    """Speaks to a server; ``checkpoint`` is the model's name there.

    The client follows ``Retry-After`` and retries time-outs, dropped connections, 408, 409, 429 and 5xx; answers that
    are no valid JSON or lack a choice are asked for again here.
    """

    def __init__(self, config: EngineConfig, checkpoint: str) -> None:
        self.model = checkpoint
        self.config = config
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self.max_context = config.max_context or 2**20

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The model's tokenizer, loaded by the model's name when first asked for (``chat`` needs none)."""
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self.model)
        return self._tokenizer

    def generate(self, prompts: Sequence[list[int]], max_new_tokens: int, stop: Sequence[str] = ()) -> list[Completion]:
        """See ``Engine.generate``; ids go to ``/completions``. A request that keeps failing is a ``UserError``."""
        options: dict[str, Any] = {"max_tokens": max_new_tokens, "temperature": 0.0}
        if stop:
            options["stop"] = list(stop)

        async def ask(client: openai.AsyncOpenAI, prompt: list[int]) -> Completion:
            response = await client.completions.create(model=self.model, prompt=prompt, **options)
            usage = response.usage.completion_tokens if response.usage else 0
            return _completion(response.choices[0].text, usage, response.choices[0].finish_reason)

        return self._all_or_error(ask, prompts)

    def choose(self, prompts: Sequence[list[int]], candidates: Sequence[int]) -> list[list[float]]:
        """See ``Engine.choose``; each candidate is scored as the last token of an echoed prompt."""

        async def ask(client: openai.AsyncOpenAI, prompt: list[int]) -> float:
            response = await client.completions.create(
                model=self.model, prompt=prompt, max_tokens=1, temperature=0.0, echo=True, logprobs=1
            )
            return response.choices[0].logprobs.token_logprobs[len(prompt) - 1]

        flat = self._all_or_error(ask, [[*prompt, candidate] for prompt in prompts for candidate in candidates])
        width = len(candidates)
        return [flat[begin : begin + width] for begin in range(0, len(flat), width)]

    def chat(
        self, conversations: Sequence[Sequence[Message]], max_new_tokens: int, temperature: float = 0.0
    ) -> list[Completion | Failure]:
        """See ``Engine.chat``. A refused key, or a model the server does not have, is a ``UserError``."""

        async def ask(client: openai.AsyncOpenAI, messages: Sequence[Message]) -> Completion:
            response = await client.chat.completions.create(
                model=self.model, messages=list(messages), max_tokens=max_new_tokens, temperature=temperature
            )
            usage = response.usage.completion_tokens if response.usage else 0
            return _completion(response.choices[0].message.content or "", usage, response.choices[0].finish_reason)

        return asyncio.run(self._ask_all(ask, conversations))

    def _all_or_error(self, ask: Callable[..., Awaitable[Any]], requests: Sequence[Request]) -> list[Any]:
        answers = asyncio.run(self._ask_all(ask, requests))
        failures = [answer for answer in answers if isinstance(answer, Failure)]
        if failures:
            raise UserError(
                f"{len(failures)} of {len(answers)} requests to {self.config.base_url} failed: {failures[0].reason}"
            )
        return answers

    async def _ask_all(self, ask: Callable[..., Awaitable[Any]], requests: Sequence[Request]) -> list[Any]:
        slots = asyncio.Semaphore(self.config.concurrency)
        # Servers without keys accept any; the client insists on one.
        key = os.environ.get(self.config.api_key_env, "none")
        async with openai.AsyncOpenAI(
            base_url=self.config.base_url, api_key=key, max_retries=self.config.max_retries, timeout=self.config.timeout
        ) as client:

            async def one(request: Request) -> Any:
                async with slots:
                    return await self._ask_one(ask, client, request)

            return await asyncio.gather(*(one(request) for request in requests))

    async def _ask_one(self, ask: Callable[..., Awaitable[Any]], client: openai.AsyncOpenAI, request: Request) -> Any:
        for attempt in range(self.config.max_retries + 1):
            try:
                return await ask(client, request)
            except _FINAL as error:
                raise UserError(
                    f"{self.config.base_url} refuses model {self.model!r} ({error}): check the name and the key in "
                    f"${self.config.api_key_env}"
                ) from error
            except openai.OpenAIError as error:
                return Failure(f"{type(error).__name__}: {error}")
            except (ValueError, AttributeError, IndexError, TypeError) as error:
                reason = f"unusable answer: {type(error).__name__}: {error}"
                await asyncio.sleep(min(0.5 * 2**attempt, MAX_PAUSE_SECONDS))
        return Failure(reason)


def _completion(text: str, num_tokens: int, finish_reason: str | None) -> Completion:
    return Completion(text, num_tokens, "length" if finish_reason == "length" else "stop")
