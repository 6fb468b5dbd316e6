"""The server engine: any OpenAI-compatible endpoint, with bounded concurrency and retries."""

import logging
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import openai

from prox.engines.base import LOCAL_ONLY, Completion, EngineConfig, Failure, Message
from prox.engines.endpoint import Ask, Endpoint
from prox.engines.loops import stop_at_loop
from prox.engines.prompts import check_lengths, estimate_tokens, load_tokenizer
from prox.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from prox.grammar import Grammar
    from prox.tagging import LinePrompt

log = logging.getLogger("prox")

UNKNOWN_CONTEXT = 2**20
# What vLLM calls a grammar, and what older versions called it.
_GRAMMAR_FIELDS = (lambda ebnf: {"structured_outputs": {"grammar": ebnf}}, lambda ebnf: {"guided_grammar": ebnf})
_PROBE_ANSWER = "zqxj"  # nothing a model would say unforced


class ServerEngine:
    """Speaks to a server that serves ``checkpoint``, whose tokenizer is read here (local folder or hub name).

    Whether the server holds the same weights and tokenizer can't be checked. Servers of one's own should run vLLM with
    `--generation-config vllm`, so that a checkpoint's sampling defaults don't interfere.
    """

    def __init__(self, config: EngineConfig, checkpoint: str) -> None:
        """Asks for the server's list of models; one that does not answer is a ``UserError`` within 15 s."""
        self._checkpoint = checkpoint
        self._model = config.served_name or checkpoint
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self._endpoint = Endpoint(config, self._model)
        self._grammar_field: Any = None
        self._scores_ids = True
        listed = self._endpoint.check()
        if listed and self._model not in listed:
            names = ", ".join(list(listed)[:5])
            log.warning(
                "server %s lists no model %r but %s: set engine.served_name", config.base_url, self._model, names
            )
        served = listed.get(self._model, {}).get("max_model_len")
        served = served if isinstance(served, int) else UNKNOWN_CONTEXT
        self.max_context = min(config.max_context or UNKNOWN_CONTEXT, served)
        self.dtype = "the server's"

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The checkpoint's tokenizer, loaded when first asked for (``chat`` needs none)."""
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self._checkpoint)
        return self._tokenizer

    def generate(
        self,
        prompts: Sequence[list[int]],
        max_new_tokens: int,
        stop: Sequence[str] = (),
        grammar: "Grammar | None" = None,
        bias: Mapping[int, float] | None = None,
        stop_loops: bool = True,
    ) -> list[Completion | Failure]:
        """See ``Engine.generate``; ids go to ``/completions``. A looping answer is cut after the fact."""
        check_lengths(prompts, max_new_tokens, self.max_context)
        options: dict[str, Any] = {"max_tokens": max_new_tokens}
        if stop:
            options["stop"] = list(stop)
        if bias:
            options["logit_bias"] = {str(token): value for token, value in bias.items()}
        if grammar is not None:
            options["extra_body"] = self._constraint(grammar.ebnf())
        answers = self._complete(prompts, options)
        if not stop_loops:
            return answers
        return [stop_at_loop(answer) if isinstance(answer, Completion) else answer for answer in answers]

    def _complete(self, prompts: Sequence[list[int]], options: dict[str, Any]) -> list[Completion | Failure]:
        async def ask(client: openai.AsyncOpenAI, prompt: list[int]) -> Completion:
            response = await client.completions.create(model=self._model, prompt=prompt, temperature=0.0, **options)
            return _completion(response.choices[0].text, response)

        return self._endpoint.ask_all(ask, prompts, lambda prompt: len(prompt) + options["max_tokens"])

    def _constraint(self, ebnf: str) -> dict[str, Any]:
        """The request's field that constrains the answer. Servers ignore fields they don't know: each is tried once."""
        if self._grammar_field is None:
            prompt = self.tokenizer.encode("a", add_special_tokens=False)
            said = []
            for field in _GRAMMAR_FIELDS:
                options = {"max_tokens": 16, "extra_body": field(f'root ::= "{_PROBE_ANSWER}"\n')}
                answer = self._complete([prompt], options)[0]
                if isinstance(answer, Completion) and answer.text == _PROBE_ANSWER:
                    self._grammar_field = field
                    break
                said.append(f"{next(iter(field('')))}: {answer.reason if isinstance(answer, Failure) else 'ignored'}")
            else:
                raise UserError(
                    f"the server {self._endpoint.url} does not constrain answers by a grammar "
                    f"({'; '.join(said)[:500]}): use a vLLM server, or turn the grammar off"
                )
        return self._grammar_field(ebnf)

    def judge(self, prompts: Sequence["LinePrompt"], verdicts: tuple[int, int]) -> list[list[float] | Failure]:
        """See ``Engine.judge``."""
        raise UserError(LOCAL_ONLY)

    def choose(self, prompts: Sequence[list[int]], candidates: Sequence[int]) -> list[list[float] | Failure]:
        """See ``Engine.choose``. vLLM servers score the candidates in one prefill.

        With others each candidate is scored as the last token of an echoed prompt.
        """
        check_lengths(prompts, 1, self.max_context)

        async def ask(client: openai.AsyncOpenAI, prompt: list[int]) -> list[float]:
            if self._scores_ids:
                found = await self._score(client, prompt, candidates)
                if found is not None:
                    return found
            return [await self._score_echoed(client, prompt, candidate) for candidate in candidates]

        return self._endpoint.ask_all(ask, prompts, len)

    async def _score(
        self, client: openai.AsyncOpenAI, prompt: list[int], candidates: Sequence[int]
    ) -> list[float] | None:
        """Log-probabilities by vLLM's `logprob_token_ids`; None where the server does not know it."""
        fields = {"logprob_token_ids": list(candidates), "return_tokens_as_token_ids": True}
        try:
            response = await client.completions.create(
                model=self._model, prompt=prompt, max_tokens=1, temperature=0.0, logprobs=1, extra_body=fields
            )
        except openai.BadRequestError:
            return None  # a strict server, or a fault of this prompt, which the other way will name
        choice = response.choices[0]
        rows = choice.logprobs.top_logprobs if choice.logprobs else None
        found = rows[0] if rows else {}
        names = [f"token_id:{candidate}" for candidate in candidates]
        if not all(name in found for name in names):
            self._scores_ids = False
            log.info("server %s scores no chosen tokens: each is asked for in a request of its own", self._endpoint.url)
            return None
        return [_log_probability(found[name]) for name in names]

    async def _score_echoed(self, client: openai.AsyncOpenAI, prompt: list[int], candidate: int) -> float:
        response = await client.completions.create(
            model=self._model, prompt=[*prompt, candidate], max_tokens=1, temperature=0.0, echo=True, logprobs=1
        )
        return _log_probability(response.choices[0].logprobs.token_logprobs[len(prompt)])

    def chat(
        self, conversations: Sequence[Sequence[Message]], max_new_tokens: int, temperature: float = 0.0
    ) -> list[Completion | Failure]:
        """See ``Engine.chat``. A refused key, or a model the server does not have, is a ``UserError``."""
        return self._endpoint.ask_all(
            self._chatter(max_new_tokens, temperature),
            conversations,
            lambda messages: estimate_tokens(messages) + max_new_tokens,
        )

    def chat_each(
        self,
        take: Callable[[], tuple[Hashable, Sequence[Message]] | None],
        give: Callable[[Hashable, Completion | Failure], None],
        max_new_tokens: int,
        temperature: float = 0.0,
    ) -> None:
        """Conversations one by one, as ``take`` hands them out under a name, each answer given back when it comes.

        See ``Endpoint.ask_each``.
        """
        chat = self._chatter(max_new_tokens, temperature)

        async def ask(client: openai.AsyncOpenAI, named: tuple[Hashable, Sequence[Message]]) -> Completion:
            return await chat(client, named[1])

        self._endpoint.ask_each(
            ask,
            take,
            lambda named, answer: give(named[0], answer),
            lambda named: estimate_tokens(named[1]) + max_new_tokens,
        )

    def _chatter(self, max_new_tokens: int, temperature: float) -> Ask:
        async def ask(client: openai.AsyncOpenAI, messages: Sequence[Message]) -> Completion:
            response = await client.chat.completions.create(
                model=self._model, messages=list(messages), max_tokens=max_new_tokens, temperature=temperature
            )
            return _completion(response.choices[0].message.content or "", response)

        return ask

    def close(self) -> None:
        """See ``Engine.close``; connections last no longer than a call."""


def _completion(text: Any, response: Any) -> Completion:
    if not isinstance(text, str):
        raise ValueError(f"text is {text!r}")  # an unusable answer, which is asked for again
    reason = "length" if response.choices[0].finish_reason == "length" else "stop"
    usage = response.usage
    num_tokens, num_prompt_tokens = (usage.completion_tokens, usage.prompt_tokens) if usage else (0, 0)
    return Completion(text, num_tokens or 0, reason, num_prompt_tokens or 0)


def _log_probability(value: Any) -> float:
    if not isinstance(value, int | float) or math.isnan(value) or value > 0:
        raise ValueError(f"log-probability is {value!r}")
    return float(value)
