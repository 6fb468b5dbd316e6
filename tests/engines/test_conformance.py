"""One conformance test for every engine: same order, same answers, same probabilities, same constraints.

The fast suite runs the local engine, and the server engine against a small server made of it; vLLM in process and a
real `vllm serve` are marked `vllm`.
"""

import functools
import math
from pathlib import Path

import pytest

from prox.answers import is_cut_off, program_of
from prox.engines import Completion, Engine, EngineConfig, Failure, load_engine
from prox.engines.local import LocalEngine
from prox.engines.loops import repeats
from prox.engines.server import ServerEngine
from prox.grammar import program_grammar

TEXTS = ["A river is", "Start | Catalogue | Help", "It happens in the chloroplasts of", "x"]
VARIED_TEXTS = [*TEXTS[:2], "植物は光合成", "[003]", "\n\n"]
LOOPING_TEXTS = [TEXTS[0], TEXTS[2], "remove_lines(line_start="]
KINDS = ["local", "scripted", *(pytest.param(kind, marks=pytest.mark.vllm) for kind in ("vllm", "server"))]
GRAMMARS = [("document", "calls", None), ("chunk", "calls", None), ("chunk", "compact", None), ("chunk", "calls", 2)]

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(params=KINDS)
def engine(request: pytest.FixtureRequest, tiny_checkpoint: Path) -> Engine:
    if request.param in ("local", "vllm"):
        config = EngineConfig(kind=request.param, batch_size=3, max_context=512)
    elif request.param == "server":
        config = EngineConfig(kind="server", base_url=request.getfixturevalue("vllm_server"))
    else:
        config = EngineConfig(kind="server", base_url=request.getfixturevalue("scripted_server").base_url)
    return load_engine(config, str(tiny_checkpoint))


def prompts_of(reference: LocalEngine, texts: list[str] = TEXTS) -> list[list[int]]:
    return [reference.tokenizer.encode(text) for text in texts]


@functools.cache
def looping_answers(reference: LocalEngine) -> list[Completion | Failure]:
    return reference.generate(prompts_of(reference, LOOPING_TEXTS), 280)


def test_every_engine_generates_the_same_in_the_order_asked(engine: Engine, reference: LocalEngine) -> None:
    prompts = prompts_of(reference)
    answers, expected = engine.generate(prompts, max_new_tokens=12), reference.generate(prompts, 12)
    # A vLLM server holds back the bytes of a character that the token limit cut in two.
    assert [answer.text.rstrip("\ufffd") for answer in answers] == [answer.text.rstrip("\ufffd") for answer in expected]
    assert [answer.num_tokens for answer in answers] == [answer.num_tokens for answer in expected]
    assert [answer.finish_reason for answer in answers] == [answer.finish_reason for answer in expected]
    assert len({answer.text for answer in answers}) == len(TEXTS)


def test_every_engine_gives_the_same_probabilities(engine: Engine, reference: LocalEngine) -> None:
    prompts = prompts_of(reference)
    candidates = [5, 300, 17]
    found, expected = engine.choose(prompts, candidates), reference.choose(prompts, candidates)
    assert [[pytest.approx(value, abs=1e-3) for value in row] for row in expected] == found


def test_every_engine_adds_a_bias(engine: Engine, reference: LocalEngine) -> None:
    prompts = prompts_of(reference)
    first = [reference.tokenizer.encode(answer.text)[0] for answer in reference.generate(prompts, 1)]
    bias = {first[0]: -50.0, first[1]: 2.5}
    answers, expected = engine.generate(prompts, 12, bias=bias), reference.generate(prompts, 12, bias=bias)
    assert [answer.text.rstrip("\ufffd") for answer in answers] == [answer.text.rstrip("\ufffd") for answer in expected]
    without = engine.generate(prompts, 12)
    assert answers[0].text != without[0].text
    assert engine.generate(prompts, 12, bias={}) == without


def test_every_engine_stops_before_the_stop_string(engine: Engine, reference: LocalEngine) -> None:
    prompt = reference.tokenizer.encode(TEXTS[0])
    whole = reference.generate([prompt], 12)[0].text
    mark = whole[4:6]
    answer = engine.generate([prompt], 12, stop=[mark])[0]
    assert answer.text == whole[: whole.index(mark)]
    assert answer.finish_reason == "stop"
    assert answer.num_tokens < 12


@pytest.mark.parametrize(("stage", "style", "max_calls"), GRAMMARS)
def test_every_engine_writes_programs_under_a_grammar(
    engine: Engine, reference: LocalEngine, stage: str, style: str, max_calls: int | None
) -> None:
    prompts = prompts_of(reference, VARIED_TEXTS)
    answers = engine.generate(prompts, 60, grammar=program_grammar(stage, style, max_calls))
    finished = 0
    for answer in answers:
        faults = program_of(answer, style).faults
        assert len(faults) == is_cut_off(answer), answer
        assert len(program_of(answer, style).operations) <= (max_calls or 60)
        finished += answer.finish_reason == "stop"
    # A program can end: the EOS token is allowed behind it. Random weights end one only where nothing else may follow.
    assert finished == len(answers) if stage == "document" else finished or style == "compact" or not max_calls
    # And it was the grammar that did it.
    assert {answer.text for answer in engine.generate(prompts, 60)}.isdisjoint(answer.text for answer in answers)


def test_every_engine_can_go_on_without_the_grammar_and_with_a_stop(engine: Engine, reference: LocalEngine) -> None:
    prompts = prompts_of(reference, VARIED_TEXTS)
    answers = engine.generate(prompts, 40, stop=["_"], grammar=program_grammar("chunk"))
    assert {answer.text for answer in answers} <= {"keep", "remove", "normalize(source"}
    assert {answer.finish_reason for answer in answers} == {"stop"}
    assert engine.generate(prompts[:1], 12)[0].text == reference.generate(prompts[:1], 12)[0].text


def test_every_engine_stops_loops(engine: Engine, reference: LocalEngine) -> None:
    """Greedy decoding by random weights soon goes in circles."""
    answers = engine.generate(prompts_of(reference, LOOPING_TEXTS), 280)
    expected = looping_answers(reference)
    assert [(a.text, a.finish_reason) for a in answers] == [(a.text, a.finish_reason) for a in expected]
    assert {answer.finish_reason for answer in answers} == {"loop"}
    assert all(repeats(answer.text) == len(answer.text) for answer in answers)


def test_every_engine_chats(engine: Engine) -> None:
    answers = engine.chat([[{"role": "user", "content": "score this"}]] * 2, max_new_tokens=5)
    assert all(isinstance(answer, Completion) and 0 < answer.num_tokens <= 5 for answer in answers)
    conversation = [{"role": "user", "content": "score this"}]
    tokens = len(engine.tokenizer.apply_chat_template(conversation, add_generation_prompt=True, return_dict=False))
    unknown = {0} if isinstance(engine, ServerEngine) else set()  # a server need not say
    assert {answer.num_prompt_tokens for answer in answers} <= {tokens} | unknown


def test_every_engine_answers_nothing_with_nothing(engine: Engine) -> None:
    assert engine.generate([], 5) == engine.choose([], [1]) == engine.chat([], 5) == []


def test_every_engine_refuses_prompts_that_do_not_fit_before_any_work(engine: Engine) -> None:
    assert engine.max_context == 512
    with pytest.raises(ValueError, match="exceed the context of 512"):
        engine.generate([[5] * 10, [5] * 503], max_new_tokens=10)
    with pytest.raises(ValueError, match="exceed the context of 512"):
        engine.choose([[5] * 512], [1])
    with pytest.raises(ValueError, match="empty prompt"):
        engine.generate([[5], []], max_new_tokens=1)
    assert len(engine.generate([[5] * 510], max_new_tokens=2)) == 1
    assert len(engine.choose([[5] * 510], [1])) == 1


@pytest.mark.parametrize("engine", KINDS[:1] + KINDS[2:3], indirect=True)
def test_an_over_long_conversation_costs_itself_only(engine: Engine) -> None:
    long, short = ([{"role": "user", "content": content}] for content in ("x " * 600, "x"))
    answers = engine.chat([long, short], max_new_tokens=5)
    assert isinstance(answers[0], Failure)
    assert "the context leaves it 507" in answers[0].reason
    assert isinstance(answers[1], Completion)


def test_probabilities_are_normalised_over_the_whole_vocabulary(reference: LocalEngine) -> None:
    vocabulary = list(range(len(reference.tokenizer)))
    row = reference.choose([reference.tokenizer.encode("A river")], vocabulary)[0]
    assert sum(math.exp(value) for value in row) == pytest.approx(1.0, abs=1e-4)
