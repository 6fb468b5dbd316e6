"""The zoo against the paper's Table 8, and the initialisation."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from litgpt import GPT
from torch.nn import functional

from pretraining.head_loss import head_loss
from pretraining.models import LanguageModel, initialise, language_model_loss, litgpt_config
from pretraining.shapes import SHAPES, Family, ModelShape

TINY = ModelShape("tiny", 64, 96, 3, 4, 2, vocab_size=512, context=64)


@pytest.mark.parametrize(
    ("name", "parameters", "without_embedding"),
    [
        ("tlm-xs", 354_284_800, 313_324_800),
        ("tlm-s", 758_982_144, 709_830_144),
        ("tlm-m", 1_741_785_088, 1_676_249_088),
        ("pythia-410m", 405_334_016, 353_822_720),
        ("pythia-1b", 1_011_781_632, 908_759_040),
        ("tinyllama-1.1b", 1_100_048_384, 1_034_512_384),
        ("llama-2-7b", 6_738_415_616, 6_607_343_616),
        ("codellama-7b", 6_738_546_688, 6_607_409_152),
        ("mistral-7b", 7_241_732_096, 7_110_660_096),
    ],
)
def test_counts_are_table_8s(name: str, parameters: int, without_embedding: int) -> None:
    shape = SHAPES[name]
    with torch.device("meta"):
        model = GPT(litgpt_config(shape))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters == shape.num_parameters()
    assert parameters - model.transformer.wte.weight.numel() == without_embedding


def test_initial_weights_follow_the_authors_and_the_seed() -> None:
    models = [LanguageModel(litgpt_config(TINY)) for _ in range(3)]
    for model, seed in zip(models, (0, 0, 1), strict=True):
        initialise(model, seed)
    first, again, other = (model.state_dict() for model in models)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])
    assert first["transformer.h.0.mlp.fc_1.weight"].std().item() == pytest.approx(math.sqrt(2 / (5 * 64)), rel=0.05)
    assert first["transformer.h.0.mlp.proj.weight"].std().item() == pytest.approx(1 / (math.sqrt(64) * 3), rel=0.05)
    assert first["transformer.h.0.attn.proj.weight"].std().item() == pytest.approx(1 / (math.sqrt(64) * 3), rel=0.05)


def batch(rows: int = 4) -> torch.Tensor:
    return torch.randint(0, 512, (rows, 65), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
def test_logits_are_litgpts_own(family: Family) -> None:
    shape = replace(TINY, family=family, n_query_groups=4, n_embd=64)
    ours, litgpts = LanguageModel(litgpt_config(shape)), GPT(litgpt_config(shape))
    initialise(ours, 0)
    litgpts.load_state_dict(ours.state_dict())
    tokens = batch()[:, 1:]
    assert torch.equal(ours(tokens), litgpts(tokens))


def plain_loss(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """With all logits at once, as the definition has it."""
    return functional.cross_entropy(functional.linear(hidden, weight).float(), targets)


@pytest.mark.parametrize("rows", [7, 100, 256])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_loss_in_pieces_is_the_loss(rows: int, dtype: torch.dtype) -> None:
    hidden, weight = torch.randn(200, 32), torch.randn(50, 32) / 4
    targets = torch.randint(0, 50, (200,))
    found = []
    for loss in (partial(head_loss, rows=rows), plain_loss):
        leaves = [tensor.clone().requires_grad_() for tensor in (hidden, weight)]
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            value = loss(*leaves, targets)
        (value * 3).backward()
        found.append([value.detach(), *(leaf.grad for leaf in leaves)])
    tolerance = {"atol": 1e-6, "rtol": 1e-4} if dtype == torch.float32 else {"atol": 2e-3, "rtol": 3e-2}
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, **tolerance)


def test_the_loss_alone_makes_no_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    zeros_like = torch.zeros_like
    monkeypatch.setattr(torch, "zeros_like", lambda *one, **options: made.append(one) or zeros_like(*one, **options))
    hidden, weight = torch.randn(20, 8, requires_grad=True), torch.randn(50, 8, requires_grad=True)
    with torch.no_grad():
        head_loss(hidden, weight, torch.zeros(20, dtype=torch.long))
    assert not made
    head_loss(hidden, weight, torch.zeros(20, dtype=torch.long))
    assert len(made) == 1  # of the matrix


def test_recomputed_activations_give_the_same_gradients() -> None:
    gradients = []
    for recompute in (False, True):
        model = LanguageModel(litgpt_config(TINY), recompute=recompute)
        initialise(model, 0)
        calls = []
        model.transformer.h[1].attn.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        language_model_loss(model, batch()).backward()
        assert len(calls) == 1 + recompute
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


def test_a_tiny_model_learns_one_batch_by_heart() -> None:
    model = LanguageModel(litgpt_config(TINY))
    initialise(model, 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = language_model_loss(model, batch(2))
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


def test_a_fresh_model_knows_nothing() -> None:
    model = LanguageModel(litgpt_config(TINY))
    initialise(model, 0)
    assert language_model_loss(model, batch()).item() == pytest.approx(math.log(512), rel=0.05)
