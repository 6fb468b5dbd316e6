"""The local engine's own: batches, EOS tokens, sampling settings of the checkpoint, grammars that can't be had."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from prox.engines import EngineConfig
from prox.engines.local import LocalEngine
from prox.errors import UserError
from prox.grammar import program_grammar

GRAMMAR = program_grammar("document")


@pytest.fixture
def checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return shutil.copytree(tiny_checkpoint, tmp_path / "copy")


def change(file: Path, **values: object) -> None:
    content = json.loads(file.read_text()) | values
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def load(checkpoint: Path, **settings: object) -> LocalEngine:
    return LocalEngine(EngineConfig(device="cpu", **settings), str(checkpoint))


def test_batches_hold_no_more_prompts_and_tokens_than_allowed(tiny_checkpoint: Path) -> None:
    engine = load(tiny_checkpoint, batch_size=3, max_batch_tokens=60)
    prompts = [[5] * length for length in (2, 40, 10, 30, 2, 2, 2, 9, 80)]
    batches = [(indices, tuple(ids.shape)) for indices, ids, _ in engine._batches(prompts, room=5)]
    assert batches == [([8], (1, 80)), ([1], (1, 40)), ([3], (1, 30)), ([2, 7, 0], (3, 10)), ([4, 5, 6], (3, 2))]


def test_batches_do_not_change_answers(tiny_checkpoint: Path, reference: LocalEngine) -> None:
    prompts = [[5 + n] * (1 + 7 * n) for n in range(9)]
    assert load(tiny_checkpoint, max_batch_tokens=100).generate(prompts, 20) == reference.generate(prompts, 20)


def test_every_eos_token_of_the_checkpoint_ends_an_answer(checkpoint: Path, reference: LocalEngine) -> None:
    prompt = reference.tokenizer.encode("A river is")
    *_, second, third = reference.model.generate(input_ids=torch.tensor([prompt]), max_new_tokens=3)[0].tolist()
    assert second != third
    answer = reference.generate([prompt], 12)[0]
    change(checkpoint / "generation_config.json", eos_token_id=[1, third])
    engine = load(checkpoint)
    cut = engine.generate([prompt], 12)[0]
    assert (cut.num_tokens, cut.finish_reason) == (3, "stop")
    assert answer.text.startswith(cut.text)
    assert engine.generate([prompt], 20, grammar=GRAMMAR)[0].text in ("keep_doc()", "drop_doc()")


def test_sampling_settings_of_the_checkpoint_are_ignored(
    checkpoint: Path, reference: LocalEngine, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = {"do_sample": True, "temperature": 5.0, "top_k": 3, "repetition_penalty": 9.0, "max_length": 4}
    change(checkpoint / "generation_config.json", **settings)
    prompts = [[7, 8, 9], [20, 21]]
    engine = load(checkpoint)
    capfd.readouterr()
    assert engine.generate(prompts, 20) == reference.generate(prompts, 20)
    assert "temperature" not in capfd.readouterr().err


def test_a_model_without_eos_can_not_be_constrained(checkpoint: Path) -> None:
    change(checkpoint / "generation_config.json", eos_token_id=None)
    change(checkpoint / "config.json", eos_token_id=None)
    change(checkpoint / "tokenizer_config.json", eos_token=None)
    engine = load(checkpoint)
    assert len(engine.generate([[5]], 4)) == 1
    with pytest.raises(UserError, match="no EOS token"):
        engine.generate([[5]], 4, grammar=GRAMMAR)


def test_padding_may_be_the_eos_token(checkpoint: Path, reference: LocalEngine) -> None:
    change(checkpoint / "tokenizer_config.json", pad_token=None)
    change(checkpoint / "config.json", pad_token_id=None)
    change(checkpoint / "generation_config.json", pad_token_id=None)
    engine = load(checkpoint)
    assert engine._pad == 1
    prompts = [reference.tokenizer.encode(text) for text in ("A river is", "Start | Catalogue | Help", "x")]
    assert engine.generate(prompts, 40) == reference.generate(prompts, 40)
    assert engine.generate(prompts, 40, grammar=GRAMMAR) == reference.generate(prompts, 40, grammar=GRAMMAR)


def test_without_xgrammar_the_remedy_is_named(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = load(tiny_checkpoint)
    monkeypatch.setitem(sys.modules, "xgrammar", None)
    with pytest.raises(UserError, match=r"needs xgrammar.*scripts/setup.sh"):
        engine.generate([[5]], 4, grammar=GRAMMAR)


def test_a_context_the_checkpoint_does_not_have_is_refused(tiny_checkpoint: Path) -> None:
    with pytest.raises(UserError, match=r"max_context 513.*at most 512"):
        load(tiny_checkpoint, max_context=513)


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no-such-model"):
        load(tmp_path / "no-such-model")
