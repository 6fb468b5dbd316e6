"""The server engine against a server that misbehaves: nothing lost, each fault named, and an end to it."""

from pathlib import Path

import pytest

from prox.answers import program_of
from prox.engines import Completion, EngineConfig, Failure
from prox.engines import endpoint as endpoint_module
from prox.engines.local import LocalEngine
from prox.engines.server import ServerEngine
from prox.errors import UserError
from prox.grammar import program_grammar
from tests.conftest import free_port
from tests.engines.conftest import Fault, ScriptedServer, connect, on_generation

pytestmark = pytest.mark.usefixtures("pauses")

HALF_JSON = Fault(body='{"id": "1", "choices": [{"index": 0, "te')
NOTHING = Fault(body="")
NO_CHOICE = Fault(body='{"id": "1", "object": "completion", "choices": []}')
NO_TEXT = Fault(body='{"id": "1", "choices": [{"index": 0, "text": null, "finish_reason": "stop"}]}')
HTML = Fault(body="<html>proxy</html>", headers=(("Content-Type", "text/html"),))
PASSING = {
    "429": Fault(429, headers=(("Retry-After", "0.01"),)),
    "500": Fault(500),
    "503": Fault(503, body="overloaded"),
    "half a JSON": HALF_JSON,
    "nothing": NOTHING,
    "no choice": NO_CHOICE,
    "no text": NO_TEXT,
    "HTML": HTML,
    "closed connection": Fault(close=True),
    "no answer in time": Fault(hang=True),
}


@pytest.mark.parametrize("name", PASSING)
def test_a_passing_fault_costs_nothing(
    name: str, scripted_server: ScriptedServer, reference: LocalEngine, prompts: list[list[int]]
) -> None:
    engine = connect(scripted_server, timeout=0.5 if PASSING[name].hang else 60.0)
    scripted_server.fault = on_generation(PASSING[name], times=1)
    assert engine.generate(prompts, 6) == reference.generate(prompts, 6)
    assert len(scripted_server.requests) == 1 + 2 * len(prompts)


@pytest.mark.parametrize(("name", "reason"), [("half a JSON", "unusable"), ("no text", "unusable")])
def test_a_request_that_keeps_failing_costs_itself_only(
    name: str, reason: str, scripted_server: ScriptedServer, reference: LocalEngine, prompts: list[list[int]]
) -> None:
    engine = connect(scripted_server)
    scripted_server.fault = on_generation(PASSING[name], times=9, prompt=prompts[2])
    answers = engine.generate(prompts, 6)
    assert isinstance(answers[2], Failure)
    assert reason in answers[2].reason
    assert "(3 tries)" in answers[2].reason
    expected = reference.generate(prompts, 6)
    assert [*answers[:2], *answers[3:]] == [*expected[:2], *expected[3:]]


def test_a_refused_request_is_not_repeated(scripted_server: ScriptedServer, prompts: list[list[int]]) -> None:
    engine = connect(scripted_server)
    scripted_server.fault = on_generation(Fault(400, '{"error": {"message": "too long"}}'), times=9, prompt=prompts[0])
    answers = engine.generate(prompts, 6)
    assert isinstance(answers[0], Failure)
    assert "too long" in answers[0].reason
    assert sum(request.get("prompt") == prompts[0] for request in scripted_server.requests) == 1


def test_a_connection_that_one_request_always_breaks_costs_that_request_only(
    scripted_server: ScriptedServer, prompts: list[list[int]]
) -> None:
    engine = connect(scripted_server)
    scripted_server.fault = on_generation(Fault(close=True), times=9, prompt=prompts[4])
    answers = engine.generate(prompts, 6)
    assert [type(answer) for answer in answers] == [Completion] * 4 + [Failure]
    assert "no connection" in answers[4].reason


def test_a_server_that_is_not_there_is_named_at_once(tmp_path: Path, pauses: list[float]) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    with pytest.raises(UserError, match=f"{url} can't be reached"):
        ServerEngine(EngineConfig(kind="server", base_url=url), "m")
    waits = sum(pauses) + endpoint_module.CHECK_SECONDS * 3
    assert waits <= 15


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_that_can_not_work_is_named_at_once(status: int, scripted_server: ScriptedServer) -> None:
    scripted_server.fault = lambda path, body, number: Fault(status)
    with pytest.raises(UserError, match=f"answers {status}"):
        connect(scripted_server)


@pytest.mark.parametrize("fault", [Fault(404), Fault(405), Fault(429), Fault(501), NOTHING, HALF_JSON, HTML])
def test_a_server_need_not_list_its_models(
    fault: Fault, scripted_server: ScriptedServer, prompts: list[list[int]]
) -> None:
    scripted_server.fault = lambda path, body, number: fault if path == "/models" else None
    engine = connect(scripted_server, max_context=100)
    assert engine.max_context == 100
    assert isinstance(engine.generate(prompts[:1], 3)[0], Completion)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_named(status: int, scripted_server: ScriptedServer, prompts: list[list[int]]) -> None:
    engine = connect(scripted_server, api_key_env="MY_KEY")
    scripted_server.fault = lambda path, body, number: Fault(status)
    with pytest.raises(UserError, match="MY_KEY"):
        connect(scripted_server, api_key_env="MY_KEY")
    with pytest.raises(UserError, match="MY_KEY"):
        engine.generate(prompts, 3)


def test_a_model_the_server_does_not_have_is_named(
    scripted_server: ScriptedServer, prompts: list[list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    engine = connect(scripted_server, served_name="other")
    assert "lists no model 'other' but" in caplog.text
    scripted_server.fault = on_generation(Fault(404), times=99)
    with pytest.raises(UserError, match="'other'"):
        engine.generate(prompts, 3)


def test_a_server_that_goes_away_stops_the_run(scripted_server: ScriptedServer, prompts: list[list[int]]) -> None:
    """In place of hundreds of failures one by one, which a rerun would have to find."""
    engine = connect(scripted_server)
    assert isinstance(engine.generate(prompts[:1], 3)[0], Completion)
    scripted_server.stop()
    with pytest.raises(UserError, match="can't be reached"):
        engine.generate(prompts, 3)


def test_a_server_that_breaks_down_stops_the_run(scripted_server: ScriptedServer, prompts: list[list[int]]) -> None:
    engine = connect(scripted_server)
    scripted_server.fault = lambda path, body, number: Fault(502)
    with pytest.raises(UserError, match="answers 502"):
        engine.generate(prompts, 3)


def test_the_name_on_the_server_may_differ(scripted_server: ScriptedServer, tiny_checkpoint: Path) -> None:
    scripted_server.name = "refiner"
    engine = ServerEngine(
        EngineConfig(kind="server", base_url=scripted_server.base_url, served_name="refiner"), str(tiny_checkpoint)
    )
    assert engine.max_context == 512
    engine.generate([engine.tokenizer.encode("a")], 2)
    assert scripted_server.requests[-1]["model"] == "refiner"


def test_a_smaller_context_than_the_servers_holds(scripted_server: ScriptedServer) -> None:
    assert connect(scripted_server, max_context=100).max_context == 100
    assert connect(scripted_server, max_context=10_000).max_context == 512


def test_an_older_vllm_is_asked_by_the_older_field(
    scripted_server: ScriptedServer, prompts: list[list[int]], reference: LocalEngine
) -> None:
    scripted_server.fields = {"guided_grammar"}
    engine = connect(scripted_server)
    grammar = program_grammar("document")
    assert engine.generate(prompts, 20, grammar=grammar) == reference.generate(prompts, 20, grammar=grammar)
    engine.generate(prompts, 20, grammar=grammar)
    assert len(scripted_server.requests) == 1 + 2 + 2 * len(prompts)  # the two fields are tried once


@pytest.mark.parametrize("refused", [True, False])
def test_a_server_that_can_not_constrain_answers_is_named(
    refused: bool, scripted_server: ScriptedServer, prompts: list[list[int]]
) -> None:
    scripted_server.fields = set()
    engine = connect(scripted_server)
    if refused:
        scripted_server.fault = on_generation(Fault(400, '{"error": {"message": "unknown field"}}'), times=9)
    with pytest.raises(UserError, match=f"guided_grammar: {'400' if refused else 'ignored'}"):
        engine.generate(prompts, 20, grammar=program_grammar("document"))


@pytest.mark.parametrize("refused", [True, False])
def test_a_server_that_scores_no_chosen_tokens_echoes_them(
    refused: bool, scripted_server: ScriptedServer, prompts: list[list[int]], reference: LocalEngine
) -> None:
    scripted_server.fields = set()
    if refused:
        scripted_server.fault = lambda path, body, number: Fault(400) if "logprob_token_ids" in body else None
    engine = connect(scripted_server, concurrency=1)
    found, expected = engine.choose(prompts, [5, 300, 17]), reference.choose(prompts, [5, 300, 17])
    assert [[pytest.approx(value, abs=1e-5) for value in row] for row in expected] == found
    asked = sum("logprob_token_ids" in request for request in scripted_server.requests)
    assert asked == (len(prompts) if refused else 1)


def test_a_failing_choice_costs_itself_only(scripted_server: ScriptedServer, prompts: list[list[int]]) -> None:
    engine = connect(scripted_server)
    scripted_server.fault = on_generation(Fault(500), times=9, prompt=prompts[1])
    answers = engine.choose(prompts, [5, 300])
    assert [isinstance(answer, Failure) for answer in answers] == [False, True, False, False, False]


@pytest.mark.parametrize("value", ["null", "0.5", '"x"', "NaN"])
def test_a_score_that_is_no_log_probability_is_a_failure(
    value: str, scripted_server: ScriptedServer, prompts: list[list[int]]
) -> None:
    choice = f'{{"index": 0, "text": "", "logprobs": {{"top_logprobs": [{{"token_id:5": {value}}}]}}}}'
    body = f'{{"id": "1", "choices": [{choice}]}}'
    engine = connect(scripted_server)
    scripted_server.fault = on_generation(Fault(body=body), times=9)
    assert all(isinstance(answer, Failure) for answer in engine.choose(prompts, [5]))


def test_what_a_server_says_of_itself_is_not_trusted(scripted_server: ScriptedServer) -> None:
    listed = f'{{"data": [{{"id": "{scripted_server.name}", "max_model_len": "many"}}]}}'
    scripted_server.fault = lambda path, body, number: Fault(body=listed) if path == "/models" else None
    assert connect(scripted_server).max_context == 2**20


def test_programs_come_from_a_server_as_from_anywhere(
    scripted_server: ScriptedServer, prompts: list[list[int]]
) -> None:
    answers = connect(scripted_server).generate(prompts, 20, grammar=program_grammar("document"))
    assert all(len(program_of(answer, "calls").operations) == 1 for answer in answers)


def test_a_missing_checkpoint_is_named(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    engine = ServerEngine(EngineConfig(kind="server", base_url=scripted_server.base_url), str(tmp_path / "no-such"))
    with pytest.raises(UserError, match="no-such"):
        _ = engine.tokenizer


def test_conversations_one_by_one_may_bring_others(scripted_server: ScriptedServer, reference: LocalEngine) -> None:
    """An answer is given back at once, and what it brings is asked although nothing was left for a moment."""
    engine = connect(scripted_server, concurrency=3)
    waiting = [(number, [{"role": "user", "content": f"number {number}"}]) for number in range(5)]
    answers: dict[int, Completion | Failure] = {}

    def give(number: int, answer: Completion | Failure) -> None:
        answers[number] = answer
        if number < 10:
            waiting.append((number + 10, [{"role": "user", "content": f"again {number}"}]))

    engine.chat_each(lambda: waiting.pop(0) if waiting else None, give, max_new_tokens=4)
    assert sorted(answers) == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]
    expected = reference.chat([[{"role": "user", "content": "again 3"}]], 4)[0]
    assert isinstance(expected, Completion)
    assert isinstance(answers[13], Completion)
    assert answers[13].text == expected.text


def test_an_error_in_between_ends_the_conversations(scripted_server: ScriptedServer) -> None:
    engine = connect(scripted_server, concurrency=3)
    given: list[int] = []

    def give(number: int, answer: Completion | Failure) -> None:
        given.append(number)
        raise UserError("enough")

    numbers = iter(range(50))

    def take() -> tuple[int, list[dict[str, str]]]:
        return next(numbers), [{"role": "user", "content": "x"}]

    with pytest.raises(UserError, match="enough"):
        engine.chat_each(take, give, max_new_tokens=4)
    assert len(given) == 1
