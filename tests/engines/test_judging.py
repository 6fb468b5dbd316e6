"""Lines judged in one prefill: what the local engine answers is what a forward pass by hand says."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prox.chunk_refiner import chunk_refiner, chunk_renderer, engine_for
from prox.chunking import Chunk
from prox.dialogue import Dialogue
from prox.engines import EngineConfig, Failure
from prox.engines.judging import batches_by_length
from prox.engines.local import LocalEngine
from prox.errors import UserError
from prox.tagging import verdict_tokens
from tests.engines.conftest import ScriptedServer, connect

if TYPE_CHECKING:
    from prox.tagging import LinePrompt

TAGGER = Dialogue(kind="tagger", layout="plain", system="")
CHUNKS = [
    Chunk(0, "Home | About | Login"),
    Chunk(7, "Rivers are fed by rain.\nCopyright 2020\n\nShare this page"),
    Chunk(0, "水は低きに流れる。\n" * 20),
]


def prompts_of(engine: LocalEngine) -> list["LinePrompt"]:
    renderer = chunk_renderer(TAGGER, engine.tokenizer, engine.max_context)
    return [renderer.chunk(chunk) for chunk in CHUNKS]


def by_hand(engine: LocalEngine, prompt: "LinePrompt", verdicts: tuple[int, int]) -> list[float]:
    """With the causal mask written out, and all logits."""
    size = len(prompt.ids)
    mask = torch.full((1, 1, size, size), torch.finfo(torch.float32).min).triu(diagonal=1)
    with torch.inference_mode():
        logits = engine.model(
            input_ids=torch.tensor([prompt.ids]),
            position_ids=torch.tensor([prompt.positions]),
            attention_mask=mask,
        ).logits[0, -prompt.num_lines :]
    return torch.softmax(logits[:, list(verdicts)], dim=-1)[:, 1].tolist()


def test_a_judgement_is_the_model_s_next_token(reference: LocalEngine, tiny_checkpoint: Path) -> None:
    verdicts = verdict_tokens(TAGGER, reference.tokenizer)
    prompts = prompts_of(reference)
    expected = [by_hand(reference, prompt, verdicts) for prompt in prompts]
    together = LocalEngine(EngineConfig(batch_size=8), str(tiny_checkpoint))
    for engine in (reference, together):
        for found, right in zip(engine.judge(prompts, verdicts), expected, strict=True):
            assert found == pytest.approx(right, abs=1e-5)
    assert len({round(value, 6) for row in expected for value in row}) > 5  # not one answer for all


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_compiled_layers_judge_the_same(reference: LocalEngine, tiny_checkpoint: Path) -> None:
    verdicts = verdict_tokens(TAGGER, reference.tokenizer)
    prompts = prompts_of(reference)
    compiled = LocalEngine(EngineConfig(compile=True, batch_size=2), str(tiny_checkpoint))
    for found, right in zip(compiled.judge(prompts, verdicts), reference.judge(prompts, verdicts), strict=True):
        assert found == pytest.approx(right, abs=1e-5)


def test_what_is_no_number_is_a_failure(tiny_checkpoint: Path) -> None:
    engine = LocalEngine(EngineConfig(), str(tiny_checkpoint))
    prompts = prompts_of(engine)
    embeddings = engine.model.get_input_embeddings().weight
    with torch.no_grad():
        embeddings[(set(prompts[1].ids) - set(prompts[2].ids)).pop()] = float("nan")
    answers = engine.judge([prompts[1], prompts[2]], verdict_tokens(TAGGER, engine.tokenizer))
    assert isinstance(answers[0], Failure)
    assert "try engine.dtype" in answers[0].reason
    assert len(answers[1]) == prompts[2].num_lines  # one broken prompt costs the others nothing


def test_only_taggers_are_compiled() -> None:
    with pytest.raises(UserError, match="is for taggers"):
        engine_for(EngineConfig(compile=True), Dialogue())
    assert any("engine.kind local" in problem for problem in EngineConfig(kind="vllm", compile=True).problems())


def test_programs_have_the_document_s_line_numbers(reference: LocalEngine) -> None:
    prompts = prompts_of(reference)
    answers = chunk_refiner(reference, TAGGER, 0).ask(list(zip(CHUNKS, prompts, strict=True)))
    for chunk, answer in zip(CHUNKS, answers, strict=True):
        removed = [number for number, one in enumerate(answer.line_probabilities, chunk.first_line) if one >= 0.5]
        assert all(f"line_start={number}" in answer.text for number in removed[:1])
        assert bool(removed) != (answer.text == "keep_chunk()")
        assert answer.num_tokens == 0


def test_only_the_local_engine_judges(scripted_server: ScriptedServer, reference: LocalEngine) -> None:
    with pytest.raises(UserError, match=r"set engine\.kind local"):
        connect(scripted_server).judge(prompts_of(reference), (1, 2))


@given(st.lists(st.integers(1, 900), max_size=40), st.integers(1, 6), st.integers(1, 2_000))
def test_batches_are_whole(lengths: list[int], size: int, tokens: int) -> None:
    batches = list(batches_by_length(lengths, size, tokens))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[index] for index in batch)
        assert len(batch) == 1 or (len(batch) <= size and len(batch) * longest <= tokens)
