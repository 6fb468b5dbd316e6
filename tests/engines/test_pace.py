"""How fast a server is asked: limits a minute, pauses between tries, what a server asks for."""

import asyncio
import itertools
import logging
from typing import Any

import pytest

from prox.engines import Completion, Failure
from prox.engines import endpoint as endpoint_module
from tests.engines.conftest import Fault, ScriptedServer, connect, on_generation

pytestmark = pytest.mark.usefixtures("pauses")


def test_a_rate_limit_uses_up_no_try_but_has_an_end(
    scripted_server: ScriptedServer, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = connect(scripted_server, max_retries=0)
    scripted_server.fault = on_generation(Fault(429), times=9, prompt=prompts[0])
    assert isinstance(engine.generate(prompts[:1], 6)[0], Completion)
    monkeypatch.setattr(endpoint_module, "MAX_LIMITED_SECONDS", 5)
    scripted_server.fault = on_generation(Fault(429), times=99, prompt=prompts[1])
    answers = engine.generate(prompts[:3], 6)
    assert [type(answer) for answer in answers] == [Completion, Failure, Completion]
    assert "429" in answers[1].reason


def test_a_server_that_admits_a_few_a_second_answers_all_in_the_end(
    scripted_server: ScriptedServer, prompts: list[list[int]]
) -> None:
    """It refuses most of what comes at once; requests slow down, and none is lost."""
    admitted: list[float] = []

    def admit_two_a_second(path: str, body: dict[str, Any], number: int) -> Fault | None:
        now = endpoint_module.time.monotonic()
        if len([moment for moment in admitted if moment > now - 1]) >= 2:
            return Fault(429, headers=(("Retry-After", "1"),))
        admitted.append(now)
        return None

    engine = connect(scripted_server, concurrency=8, max_retries=0)
    scripted_server.fault = admit_two_a_second
    answers = engine.generate(prompts * 4, 6)
    assert all(isinstance(answer, Completion) for answer in answers)
    assert len(scripted_server.requests) < 6 * len(answers)


def test_a_few_refusals_slow_nothing_down_for_long() -> None:
    """One in sixteen, in no order, is no limit to adapt to: in the end requests go out as fast as before."""
    pace = endpoint_module.Pace(None, None)
    for _ in range(50):
        pace.limited(0.0)
        pace._last_slowdown = -1e9  # as if they were far apart
        for _ in range(15):
            pace.answered()
    assert pace._slowdown < 0.03
    for _ in range(20):
        pace.limited(0.0)
        pace._last_slowdown = -1e9
        pace.answered()
    assert pace._slowdown > 1


def test_limits_hold_after_a_pause_too(pauses: list[float]) -> None:
    """Requests that waited for the end of a pause do not all go out at its end."""
    pace = endpoint_module.Pace(requests_per_minute=60, tokens_per_minute=None)
    went_out: list[float] = []

    async def request() -> None:
        await pace.turn(1)
        went_out.append(endpoint_module.time.monotonic())

    async def all_of_them() -> None:
        pace.limited(5.0)
        for _ in range(4):
            await request()

    asyncio.run(all_of_them())
    gaps = [later - earlier for earlier, later in itertools.pairwise(went_out)]
    assert all(0.9 < gap < 1.1 for gap in gaps)


def test_silence_is_reported(
    scripted_server: ScriptedServer,
    prompts: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(endpoint_module, "SECONDS_OF_SILENCE", 0.2)
    engine = connect(scripted_server, timeout=1, max_retries=0)
    scripted_server.fault = on_generation(Fault(hang=True), times=1, prompt=prompts[0])
    with caplog.at_level(logging.INFO, logger="prox"):
        engine.generate(prompts[:1], 6)
    assert "1 requests under way, no answer for" in caplog.text


@pytest.mark.parametrize(
    ("headers", "pause"),
    [((("Retry-After", "7"),), 7.0), ((("Retry-After", "9999"),), 120.0), ((("Retry-After", "soon"),), None)],
)
def test_the_pause_is_the_one_the_server_asks_for(
    headers: tuple[tuple[str, str], ...],
    pause: float | None,
    scripted_server: ScriptedServer,
    prompts: list[list[int]],
    pauses: list[float],
) -> None:
    engine = connect(scripted_server)
    scripted_server.fault = on_generation(Fault(429, headers=headers), times=1)
    engine.generate(prompts[:1], 6)
    assert len(pauses) == 1
    # What the server asks for is waited for by the clock: less what has passed since.
    assert pause - 1 < pauses[0] <= pause if pause else 0.3 < pauses[0] <= 0.5


def test_what_a_server_asks_of_one_request_holds_for_all(
    scripted_server: ScriptedServer, prompts: list[list[int]], pauses: list[float]
) -> None:
    engine = connect(scripted_server, concurrency=1)
    fault = Fault(429, headers=(("Retry-After", "7"),))
    scripted_server.fault = on_generation(fault, times=1, prompt=prompts[0])
    engine.generate(prompts, 6)
    assert 6.9 < sum(pauses) < 8  # afterwards a little slower, for a while
    engine = connect(scripted_server, concurrency=5)
    held_back = Fault(429, headers=(("Retry-After", "9"),))
    refused: list[int] = []

    def refuse_all_but_the_last(path: str, body: dict[str, Any], number: int) -> Fault | None:
        refused.append(number)
        return held_back if len(refused) <= 4 else None

    scripted_server.fault = refuse_all_but_the_last
    pauses.clear()
    assert all(isinstance(answer, Completion) for answer in engine.generate(prompts, 6))
    assert sum(pauses) < 4 * 9  # they wait together, not one after the other


@pytest.mark.parametrize(
    ("limits", "seconds"), [({"requests_per_minute": 30}, 2.0), ({"tokens_per_minute": 120}, None), ({}, 0.0)]
)
def test_limits_a_minute_space_requests_evenly(
    limits: dict[str, float],
    seconds: float | None,
    scripted_server: ScriptedServer,
    prompts: list[list[int]],
    pauses: list[float],
) -> None:
    """Requests go out one after the other here, so that the sum of the pauses is the time they took."""
    engine = connect(scripted_server, concurrency=1, **limits)
    assert all(isinstance(answer, Completion) for answer in engine.generate(prompts, 6))
    spacing = [60 / 120 * (len(prompt) + 6) if seconds is None else seconds for prompt in prompts[:-1]]
    assert sum(spacing) - 1.5 <= sum(pauses) <= sum(spacing)


def test_a_date_is_a_pause_too() -> None:
    headers = {"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}
    assert endpoint_module._retry_after(headers) == 120.0
    assert endpoint_module._retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) is None


def test_pauses_grow(scripted_server: ScriptedServer, prompts: list[list[int]], pauses: list[float]) -> None:
    engine = connect(scripted_server, max_retries=8)
    scripted_server.fault = on_generation(Fault(500), times=99)
    engine.generate(prompts[:1], 6)
    assert len(pauses) == 8
    assert all(0.75 * full <= pause <= full for pause, full in zip(pauses, (0.5, 1, 2, 4, 8, 16, 30, 30), strict=True))


def test_waiting_is_said(
    scripted_server: ScriptedServer, prompts: list[list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    engine = connect(scripted_server)
    scripted_server.fault = on_generation(Fault(503, body="overloaded"), times=1)
    with caplog.at_level(logging.WARNING, logger="prox"):
        engine.generate(prompts, 6)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 1  # one for requests that fail together
    assert scripted_server.base_url in lines[0]
    assert "503" in lines[0]


def test_no_more_requests_are_under_way_than_allowed(scripted_server: ScriptedServer, prompts: list[list[int]]) -> None:
    engine = connect(scripted_server, concurrency=1)
    engine.generate(prompts, 2)
    assert [request["prompt"] for request in scripted_server.requests if "prompt" in request] == prompts


def test_conversations_count_with_their_longest_answers(scripted_server: ScriptedServer, pauses: list[float]) -> None:
    engine = connect(scripted_server, concurrency=1, tokens_per_minute=600)
    conversation = [{"role": "user", "content": "x" * 80}]  # 20 tokens by estimate
    numbers = iter(range(3))

    def take() -> tuple[int, list[dict[str, str]]] | None:
        number = next(numbers, None)
        return None if number is None else (number, conversation)

    engine.chat_each(take, lambda number, answer: None, max_new_tokens=40)
    assert 2 * 6 - 1.5 < sum(pauses) <= 2 * 6
    engine.chat([conversation] * 3, max_new_tokens=40)
    assert 5 * 6 - 3 < sum(pauses) <= 5 * 6
