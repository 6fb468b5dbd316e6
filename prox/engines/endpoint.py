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
from typing import Any, TypeVar

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

# Faults of the account or of the address: trying again can't help, and every other request would fail the same.
_FINAL = (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError)
_RETRIED_STATUSES = frozenset((408, 409, 429))  # and 5xx
_NO_LIST_STATUSES = frozenset((404, 405, 501))  # a server need not list its models


class Pace:
    """Spaces requests evenly, so that limits a minute hold in every minute, and stops all of them for a while."""

    def __init__(self, requests_per_minute: float | None, tokens_per_minute: float | None) -> None:
        self._seconds = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._seconds_per_token = 60.0 / tokens_per_minute if tokens_per_minute else 0.0
        self._next = self._closed_until = -math.inf

    async def turn(self, num_tokens: int) -> None:
        """Waits until a request of that many tokens may go out."""
        now = time.monotonic()
        begin = max(self._next, now)
        self._next = begin + max(self._seconds, self._seconds_per_token * num_tokens)
        if begin > now:
            await asyncio.sleep(begin - now)
        while (rest := self._closed_until - time.monotonic()) > 0:
            await asyncio.sleep(rest)

    def close(self, seconds: float) -> None:
        """Lets no request out for so long: what a server asks of one request it asks of all."""
        self._closed_until = max(self._closed_until, time.monotonic() + seconds)


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
        num_busy = 0
        answered = asyncio.Event()

        async def work() -> None:
            nonlocal num_busy
            while True:
                request = take()
                if request is not None:
                    num_busy += 1
                    answer = await self._ask_one(ask, client, request, weigh(request))
                    num_busy -= 1
                    give(request, answer)
                    answered.set()
                elif num_busy:
                    answered.clear()
                    await answered.wait()
                else:
                    answered.set()
                    return

        async with self._client() as client:
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(self._config.concurrency):
                        group.create_task(work())
            except BaseExceptionGroup as group_of_errors:
                raise group_of_errors.exceptions[0] from None

    async def _ask_one(self, ask: Ask, client: openai.AsyncOpenAI, request: Request, num_tokens: int) -> Any:
        tries = self._config.max_retries + 1
        for number in range(tries):
            pause = min(FIRST_PAUSE_SECONDS * 2**number, MAX_PAUSE_SECONDS) * random.uniform(0.75, 1.0)
            is_servers_fault, is_for_all = True, False
            await self._pace.turn(num_tokens)
            try:
                return await ask(client, request)
            except _FINAL as error:
                raise self._refused(error) from error
            except openai.APIStatusError as error:
                reason = f"{error.status_code} {error.message}"
                if error.status_code not in _RETRIED_STATUSES and error.status_code < 500:
                    return Failure(reason)
                asked_for = _retry_after(error.response.headers)
                pause, is_for_all = asked_for or pause, asked_for is not None
                is_servers_fault = error.status_code >= 500
            except openai.APITimeoutError:
                reason = f"no answer within {self._config.timeout:g} s"
            except openai.APIConnectionError as error:
                reason = f"no connection ({error.__cause__ or error})"
            except (openai.OpenAIError, ValueError, AttributeError, LookupError, TypeError) as error:
                reason, is_servers_fault = f"unusable answer: {type(error).__name__}: {error}", False
            if number + 1 < tries:
                self._say(f"{reason[:300]}; try {number + 1} of {tries}, next in {pause:.1f} s")
                if is_for_all:
                    self._pace.close(pause)
                else:
                    await asyncio.sleep(pause)
        if is_servers_fault:
            await self._check()  # where the server is gone there is no use in trying the others
        return Failure(f"{reason} ({tries} tries)")

    def _say(self, what: str) -> None:
        """Logs one line for all the requests that fail at about the same time."""
        if time.monotonic() - self._last_log_line >= SECONDS_BETWEEN_LOG_LINES:
            self._last_log_line = time.monotonic()
            log.warning("server %s: %s", self.url, what)

    def _refused(self, error: openai.APIStatusError) -> UserError:
        return UserError(
            f"{self.url} refuses model {self._model!r} ({error}): check the address, the model's name there "
            f"(engine.served_name), and the key in ${self._config.api_key_env}"
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
