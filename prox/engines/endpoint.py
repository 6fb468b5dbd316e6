"""Many requests to one OpenAI-compatible server: bounded concurrency, limits a minute, retries, a health check."""

import asyncio
import contextlib
import email.utils
import json
import logging
import math
import os
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import openai

from prox.engines.base import EngineConfig, Failure
from prox.errors import UserError

log = logging.getLogger("prox")

Request = TypeVar("Request")
Answer = TypeVar("Answer")
Ask = Callable[[openai.AsyncOpenAI, Request], Awaitable[Answer]]
Take = Callable[[], Request | None]
Give = Callable[[Request, Answer | Failure], None]

FIRST_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 30.0
MAX_RETRY_AFTER_SECONDS = 120.0
CONNECT_SECONDS = 5.0
CHECK_PAUSES = (1.0, 2.0)
"""Between the tries of the health check, which so takes 3 s where nothing listens, 15 s at most."""
CHECK_SECONDS = 4.0
SECONDS_BETWEEN_LOG_LINES = 5.0
SECONDS_OF_SILENCE = 30.0
"""After which a line says that requests are under way."""
LEAST_SLOWDOWN = 1 / 128
MAX_SLOWDOWN = 4.0
"""Seconds between two requests that a rate limit of the server's leads to."""
SECONDS_BETWEEN_SLOWDOWNS = 1.0
RECOVERY = 0.9
"""What is left of a slowdown after an answer. Refusals double it: at 0.9 it settles where one in eight is refused."""
MAX_LIMITED_SECONDS = 1800.0
"""How long a request may wait for a server's rate limit, in all."""
LEAST_LIMITED_SECONDS = 1.0
"""What each such refusal counts at least."""

# Faults of the account or of the address: trying again can't help, and every other request would fail the same.
_FINAL = (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError)
_RETRIED_STATUSES = frozenset((408, 409))  # and 5xx; 429 waits
_NO_LIST_STATUSES = frozenset((404, 405, 501))  # a server need not list its models


@dataclass(frozen=True)
class _Trial:
    """What came of asking once: an answer, or whose fault it is that there is none."""

    fault: Literal["", "refusal", "limit", "server", "answer"] = ""
    reason: str = ""
    pause: float = 0.0
    answer: Any = None


class Pace:
    """Spaces requests evenly, so that limits a minute hold, and slows all of them down where a server asks for it."""

    def __init__(self, requests_per_minute: float | None, tokens_per_minute: float | None) -> None:
        self._seconds = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._seconds_per_token = 60.0 / tokens_per_minute if tokens_per_minute else 0.0
        self._slowdown = 0.0
        self._next = self._closed_until = self._last_slowdown = -math.inf

    async def turn(self, num_tokens: int) -> None:
        """Waits until a request of that many tokens may go out."""
        while True:
            now = time.monotonic()
            slot = max(self._next, now)
            self._next = slot + max(self._seconds, self._seconds_per_token * num_tokens, self._slowdown)
            if slot > now:
                await asyncio.sleep(slot - now)
            if self._closed_until <= time.monotonic():
                return

    def limited(self, seconds: float) -> None:
        """Lets no request out for so long, and fewer afterwards: what a server asks of one request it asks of all."""
        now = time.monotonic()
        self._closed_until = max(self._closed_until, now + seconds)
        self._next = max(self._next, self._closed_until)
        if now - self._last_slowdown > SECONDS_BETWEEN_SLOWDOWNS:  # requests refused together are one sign
            self._last_slowdown = now
            self._slowdown = min(max(2 * self._slowdown, LEAST_SLOWDOWN), MAX_SLOWDOWN)

    def answered(self) -> None:
        """An answer came: a little faster again. Where fewer than one in eight is refused, all slowdown goes away."""
        self._slowdown = self._slowdown * RECOVERY if self._slowdown > LEAST_SLOWDOWN / 2 else 0.0


class Endpoint:
    """A server and how it is asked."""

    def __init__(self, config: EngineConfig, model: str) -> None:
        self._config, self._model = config, model
        self._pace = Pace(config.requests_per_minute, config.tokens_per_minute)
        self._last_log_line = -math.inf

    @property
    def url(self) -> str:
        """The server's address."""
        return self._config.base_url

    def check(self) -> dict[str, dict[str, Any]]:
        """The models the server lists, by name; empty where it lists none. Not there within 15 s: ``UserError``."""
        return asyncio.run(self._check())

    def ask_all(self, ask: Ask, requests: Sequence[Request], weigh: Callable[[Request], int]) -> list[Any]:
        """The answer of each request, in order, or a ``Failure``; see ``ask_each``."""
        answers: list[Any] = [None] * len(requests)
        numbers = iter(range(len(requests)))

        async def ask_number(client: openai.AsyncOpenAI, number: int) -> Any:
            return await ask(client, requests[number])

        self.ask_each(ask_number, lambda: next(numbers, None), answers.__setitem__, lambda n: weigh(requests[n]))
        return answers

    def ask_each(self, ask: Ask, take: Take, give: Give, weigh: Callable[[Request], int]) -> None:
        """Asks what ``take`` hands out, and gives every answer back at once, until there is nothing more to ask.

        ``take`` may hand out None and have more after the next answer: it is asked again as long as a request is under
        way. ``weigh`` estimates a request's tokens, prompt and answer. Time-outs, dropped connections, 408, 409, 429,
        5xx, and answers that ``ask`` can't read, are tried again. A refused key, an unknown model, and a server that is
        gone, are a ``UserError``; the requests under way are given up.
        """
        asyncio.run(self._ask_each(ask, take, give, weigh))

    def _client(self) -> openai.AsyncOpenAI:
        # Servers without keys accept any; the client insists on one.
        key = os.environ.get(self._config.api_key_env, "none")
        timeout = openai.Timeout(self._config.timeout, connect=min(CONNECT_SECONDS, self._config.timeout))
        return openai.AsyncOpenAI(base_url=self.url, api_key=key, max_retries=0, timeout=timeout)

    async def _ask_each(self, ask: Ask, take: Take, give: Give, weigh: Callable[[Any], int]) -> None:
        num_busy, last_answer = 0, time.monotonic()
        answered, over = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            nonlocal num_busy, last_answer
            while True:
                request = take()
                if request is not None:
                    num_busy += 1
                    answer = await self._ask_one(ask, client, request, weigh(request))
                    num_busy, last_answer = num_busy - 1, time.monotonic()
                    give(request, answer)
                    answered.set()
                elif num_busy:
                    answered.clear()
                    await answered.wait()
                else:
                    answered.set()
                    return

        async def report_silence() -> None:
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), SECONDS_OF_SILENCE)
                    return
                silent = time.monotonic() - last_answer
                if num_busy and silent >= SECONDS_OF_SILENCE:
                    log.info("server %s: %d requests under way, no answer for %.0f s", self.url, num_busy, silent)

        async with self._client() as client:
            silence = asyncio.create_task(report_silence())
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(self._config.concurrency):
                        group.create_task(work())
            except BaseExceptionGroup as group_of_errors:
                raise group_of_errors.exceptions[0] from None
            finally:
                over.set()
                await silence

    async def _ask_one(self, ask: Ask, client: openai.AsyncOpenAI, request: Request, num_tokens: int) -> Any:
        tries, number, limited_seconds = self._config.max_retries + 1, 0, 0.0
        while True:
            await self._pace.turn(num_tokens)
            backoff = min(FIRST_PAUSE_SECONDS * 2**number, MAX_PAUSE_SECONDS) * random.uniform(0.75, 1.0)
            trial = await self._try(ask, client, request, backoff)
            if trial.fault == "":
                self._pace.answered()
                return trial.answer
            if trial.fault == "refusal":
                return Failure(trial.reason, is_refusal=True)
            if trial.fault == "limit" and limited_seconds < MAX_LIMITED_SECONDS:
                # Says nothing about this request: it waits with all others, and no try is used up.
                limited_seconds += max(trial.pause, LEAST_LIMITED_SECONDS)
                self._say(f"{trial.reason[:300]}; all wait {trial.pause:.1f} s")
                self._pace.limited(trial.pause)
                continue
            number += 1
            if number >= tries or trial.fault == "limit":
                break
            self._say(f"{trial.reason[:300]}; try {number} of {tries}, next in {trial.pause:.1f} s")
            await asyncio.sleep(trial.pause)
        if trial.fault == "server":
            await self._check()  # where the server is gone there is no use in trying the others
        return Failure(f"{trial.reason} ({number} tries)")

    async def _try(self, ask: Ask, client: openai.AsyncOpenAI, request: Request, backoff: float) -> _Trial:
        try:
            return _Trial(answer=await ask(client, request))
        except _FINAL as error:
            raise self._refused(error) from error
        except openai.APIStatusError as error:
            reason, pause = f"{error.status_code} {error.message}", _retry_after(error.response.headers) or backoff
            if error.status_code == 429:
                return _Trial("limit", reason, pause)
            if error.status_code in _RETRIED_STATUSES or error.status_code >= 500:
                return _Trial("server" if error.status_code >= 500 else "answer", reason, pause)
            return _Trial("refusal", reason)
        except openai.APITimeoutError:
            return _Trial("server", f"no answer within {self._config.timeout:g} s", backoff)
        except openai.APIConnectionError as error:
            return _Trial("server", f"no connection ({error.__cause__ or error})", backoff)
        except (openai.OpenAIError, ValueError, AttributeError, LookupError, TypeError) as error:
            return _Trial("answer", f"unusable answer: {type(error).__name__}: {error}", backoff)

    def _say(self, what: str) -> None:
        """Logs one line for all the requests that fail at about the same time."""
        if time.monotonic() - self._last_log_line >= SECONDS_BETWEEN_LOG_LINES:
            self._last_log_line = time.monotonic()
            log.warning("server %s: %s", self.url, what)

    def _refused(self, error: openai.APIStatusError) -> UserError:
        if isinstance(error, openai.NotFoundError):
            return UserError(
                f"{self.url} has no model {self._model!r}, or nothing at this address ({error}): check the model's "
                "name there, and that engine.base_url ends as the server wants it, mostly in /v1"
            )
        name = self._config.api_key_env
        key = f"the key in ${name}" if os.environ.get(name) else f"a request without a key (${name} is not set)"
        return UserError(
            f"{self.url} refuses {key} for model {self._model!r} ({error}): set it, or name another variable with "
            "engine.api_key_env"
        )

    async def _check(self) -> dict[str, dict[str, Any]]:
        async with self._client() as client:
            for pause in (*CHECK_PAUSES, None):
                try:
                    response = await client.models.with_raw_response.list(timeout=CHECK_SECONDS)
                    return _listed(response.http_response.text)
                except openai.APIStatusError as error:
                    if error.status_code in (401, 403):
                        raise self._refused(error) from error
                    if error.status_code in _NO_LIST_STATUSES or error.status_code < 500:
                        return {}
                    reason = f"it answers {error.status_code}"
                except openai.APITimeoutError:
                    reason = f"no answer within {CHECK_SECONDS:g} s"
                except openai.APIConnectionError as error:
                    reason = str(error.__cause__ or error)
                if pause is not None:
                    self._say(f"{reason}; next try in {pause:.0f} s")
                    await asyncio.sleep(pause)
        raise UserError(f"the server {self.url} can't be reached ({reason}): start it, or correct engine.base_url")


def _listed(text: str) -> dict[str, dict[str, Any]]:
    with contextlib.suppress(ValueError, LookupError, TypeError):
        return {str(model["id"]): model for model in json.loads(text)["data"]}
    return {}


def _retry_after(headers: Any) -> float | None:
    """Seconds that a ``Retry-After`` header asks for, at most two minutes; None without a usable one."""
    value = headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        date = email.utils.parsedate_tz(value)
        seconds = email.utils.mktime_tz(date) - time.time() if date else 0.0
    return min(seconds, MAX_RETRY_AFTER_SECONDS) if seconds > 0 else None
