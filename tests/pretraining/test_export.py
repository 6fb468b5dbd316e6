"""The exported folder loads in transformers and computes what the trained model computes."""

import hashlib
from pathlib import Path

import pytest
import torch
from litgpt import GPT, Config
from transformers import AutoModelForCausalLM, AutoTokenizer

import pretraining.export as export_module
from pretraining.__main__ import VERBS
from pretraining.checkpoint import read_weights
from prox.command import main


def run(*arguments: object) -> int:
    return main("pretraining", VERBS, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def exported(trained: Path, tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("exports") / "model"
    assert run("export", "--checkpoint", trained, "--tokenizer", tokenizer, "--output", output) == 0
    return output


def test_logits_are_equal(exported: Path, trained: Path) -> None:
    loaded = AutoModelForCausalLM.from_pretrained(exported)
    original = GPT(Config.from_file(trained / "model" / "model_config.yaml")).eval()
    original.load_state_dict(read_weights(trained))
    tokens = torch.arange(64).reshape(2, 32)
    with torch.no_grad():
        torch.testing.assert_close(loaded(tokens).logits, original(tokens), atol=1e-5, rtol=1e-5)
    assert not torch.equal(loaded.lm_head.weight, loaded.model.embed_tokens.weight)


def test_folder_is_self_contained(exported: Path) -> None:
    tokenizer, config = AutoTokenizer.from_pretrained(exported), AutoModelForCausalLM.from_pretrained(exported).config
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (0, 1, 2)
    assert config.rope_parameters["rope_theta"] == 10_000
    assert tokenizer.model_max_length == config.max_position_embeddings == 32
    assert "base model" in (exported / "README.md").read_text()


def test_same_weights_give_the_same_bytes(exported: Path, trained: Path, tokenizer: Path, tmp_path: Path) -> None:
    assert run("export", "--checkpoint", trained, "--tokenizer", tokenizer, "--output", tmp_path / "again") == 0
    digests = [
        hashlib.sha256((folder / "model.safetensors").read_bytes()).digest()
        for folder in (exported, tmp_path / "again")
    ]
    assert digests[0] == digests[1]


def test_checkpoint_of_a_step_can_be_exported(trained: Path, tokenizer: Path, tmp_path: Path) -> None:
    command = ["--checkpoint", trained, "--tokenizer", tokenizer, "--step", 12, "--dtype", "bfloat16"]
    assert run("export", *command, "--output", tmp_path / "step") == 0
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "step").dtype == torch.bfloat16


def test_a_conversion_that_changes_the_model_is_refused(
    trained: Path, tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    faithful = export_module.to_huggingface

    def tied(*arguments: object) -> torch.nn.Module:
        model = faithful(*arguments)
        model.lm_head.weight = model.model.embed_tokens.weight
        return model

    monkeypatch.setattr(export_module, "to_huggingface", tied)
    assert run("export", "--checkpoint", trained, "--tokenizer", tokenizer, "--output", tmp_path / "bad") == 1
    assert "compute other logits" in capsys.readouterr().err
    assert not (tmp_path / "bad" / "_SUCCESS").exists()
