"""`keep_probability`: the two-way softmax at the token where the two answers part."""

import math
from pathlib import Path

import pytest

from prox.decision import decision_tokens, keep_probability
from prox.dialogue import Dialogue, PromptRenderer
from prox.engines import EngineConfig, load_engine
from prox.errors import UserError


def test_answers_part_where_their_tokens_do(tiny_checkpoint: Path) -> None:
    tokenizer = load_engine(EngineConfig(device="cpu"), str(tiny_checkpoint)).tokenizer
    shared, keep, drop = decision_tokens(tokenizer)
    assert tokenizer.encode("keep_doc()", add_special_tokens=False)[: len(shared) + 1] == [*shared, keep]
    assert tokenizer.encode("drop_doc()", add_special_tokens=False)[: len(shared) + 1] == [*shared, drop]
    assert keep != drop


def test_probability_is_the_models_own(tiny_checkpoint: Path, pages: list[str]) -> None:
    import torch

    engine = load_engine(EngineConfig(device="cpu", batch_size=3), str(tiny_checkpoint))
    dialogue = Dialogue(layout="plain", system="")
    shared, keep, drop = decision_tokens(engine.tokenizer)
    found = keep_probability(engine, dialogue, pages, 200)
    for page, p_keep in zip(pages, found, strict=True):
        (prompt,) = PromptRenderer(dialogue, engine.tokenizer, 200).documents([page])
        ids = torch.tensor([prompt.ids + shared])
        with torch.inference_mode():
            logits = engine.model(input_ids=ids).logits[0, -1]
        expected = torch.softmax(logits[[keep, drop]].float(), dim=0)[0].item()
        assert math.isclose(p_keep, expected, abs_tol=1e-5)


def test_a_limit_beyond_the_context_is_named(tiny_checkpoint: Path) -> None:
    engine = load_engine(EngineConfig(device="cpu"), str(tiny_checkpoint))
    with pytest.raises(UserError, match="max_prompt_tokens 512"):
        keep_probability(engine, Dialogue(), ["text"], 512)
