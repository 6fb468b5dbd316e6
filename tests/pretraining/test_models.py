"""The zoo against the paper's Table 8, and the initialisation."""

import math

import pytest
import torch
from litgpt import GPT

from pretraining.models import initialise, language_model_loss, litgpt_config
from pretraining.shapes import SHAPES, ModelShape

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
    models = [GPT(litgpt_config(TINY)) for _ in range(3)]
    for model, seed in zip(models, (0, 0, 1), strict=True):
        initialise(model, seed)
    first, again, other = (model.state_dict() for model in models)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])
    assert first["transformer.h.0.mlp.fc_1.weight"].std().item() == pytest.approx(math.sqrt(2 / (5 * 64)), rel=0.05)
    assert first["transformer.h.0.mlp.proj.weight"].std().item() == pytest.approx(1 / (math.sqrt(64) * 3), rel=0.05)
    assert first["transformer.h.0.attn.proj.weight"].std().item() == pytest.approx(1 / (math.sqrt(64) * 3), rel=0.05)


def test_a_fresh_model_knows_nothing_and_chunks_do_not_matter() -> None:
    model = GPT(litgpt_config(TINY))
    initialise(model, 0)
    sequences = torch.randint(0, 512, (4, 65), generator=torch.Generator().manual_seed(0))
    whole = language_model_loss(model, sequences, head_chunk=0)
    assert whole.item() == pytest.approx(math.log(512), abs=0.4)
    assert language_model_loss(model, sequences, head_chunk=10).item() == pytest.approx(whole.item(), abs=1e-5)
