"""Hugging Face models of every architecture come in, train on, and go out again, computing the same."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
)

from pretraining.__main__ import VERBS
from prox.command import main
from tests.pretraining.conftest import VOCAB_SIZE

SIZES = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
EPS = {"rms_norm_eps": 1e-5, "tie_word_embeddings": False}
MODELS = {
    "tinyllama": (LlamaForCausalLM, LlamaConfig(**SIZES, **EPS, num_key_value_heads=2)),
    "llama-2": (LlamaForCausalLM, LlamaConfig(**SIZES, **EPS)),
    "codellama": (LlamaForCausalLM, LlamaConfig(**SIZES, **EPS, rope_parameters={"rope_theta": 1e6})),
    "mistral": (MistralForCausalLM, MistralConfig(**SIZES, **EPS, num_key_value_heads=1, sliding_window=32)),
    "pythia": (GPTNeoXForCausalLM, GPTNeoXConfig(**SIZES)),
}


def run(*arguments: object) -> int:
    return main("pretraining", VERBS, [str(argument) for argument in arguments])


def save(model: PreTrainedModel, tokenizer: Path, folder: Path) -> Path:
    # Fresh norms are ones and fresh biases zeros, which a mistake could pass by unseen.
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 1.0 if parameter.dim() < 2 else 0.0, 0.1)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_in_and_goes_out_unchanged(name: str, tokenizer: Path, tmp_path: Path) -> None:
    kind, config = MODELS[name]
    torch.manual_seed(0)
    original = kind(config).eval()
    folder = save(original, tokenizer, tmp_path / "hub")
    assert run("import", "--checkpoint", folder, "--output", tmp_path / "in") == 0
    assert run("export", "--checkpoint", tmp_path / "in", "--tokenizer", folder, "--output", tmp_path / "out") == 0
    returned = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokens = torch.arange(64).reshape(2, 32)
    with torch.no_grad():
        torch.testing.assert_close(returned(tokens).logits, original(tokens).logits, atol=1e-4, rtol=1e-4)
    assert returned.config.max_position_embeddings == (32 if name == "mistral" else 64)


def test_training_goes_on_from_an_imported_model(
    tokenizer: Path, tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, config = MODELS["pythia"]
    folder = save(kind(config), tokenizer, tmp_path / "hub")
    assert run("import", "--checkpoint", folder, "--output", tmp_path / "in") == 0
    shape = ["n_embd=64", "intermediate_size=96", "n_layer=2", "n_head=4", "n_query_groups=4", "family=gpt_neox"]
    command = [f"--shape.{part}" for part in ("name=small", *shape, f"vocab_size={VOCAB_SIZE}", "context=64")]
    command += [f"--tokens={tokens}", "--max_steps=2", "--global_batch_size=4", "--micro_batch_size=4"]
    command += ["--warmup_steps=0", "--tracking.wandb=disabled", f"--init_from={tmp_path / 'in'}"]
    assert run("train", *command, f"--output={tmp_path / 'train'}") == 0
    assert run("train", *command, "--shape.family=llama", f"--output={tmp_path / 'other'}") == 1
    # Its ids mean what they meant to the tokenizer it learned with.
    other = tmp_path / "tokens"
    shutil.copytree(tokens, other)
    stats = json.loads((other / "stats.json").read_text())
    (other / "stats.json").write_text(json.dumps(stats | {"tokenizer": "another"}))
    assert run("train", *command, f"--tokens={other}", f"--output={tmp_path / 'mixed'}") == 2
    assert "different tokenizers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (LlamaConfig(**SIZES, rms_norm_eps=1e-5, tie_word_embeddings=True), "tie_word_embeddings is True"),
        (LlamaConfig(**SIZES, **EPS, attention_bias=True), "attention_bias is True"),
        (LlamaConfig(**SIZES, **EPS, head_dim=32), "head_dim is 32, not 16"),
        (LlamaConfig(**SIZES, tie_word_embeddings=False), "rms_norm_eps is 1e-06"),
    ],
)
def test_what_has_no_place_is_refused(
    config: LlamaConfig, reason: str, tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save(LlamaForCausalLM(config), tokenizer, tmp_path / "hub")
    assert run("import", "--checkpoint", folder, "--output", tmp_path / "in") == 1
    assert reason in capsys.readouterr().err


def test_a_mistyped_path_is_not_looked_for_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    assert run("import", "--checkpoint", "runs/absent", "--output", tmp_path / "in") == 2
    assert "runs/absent does not exist" in capsys.readouterr().err
