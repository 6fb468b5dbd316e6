"""Training on the answers' logits alone is the training that it replaces."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from adaptation.answer_logits import IGNORED, compute_answer_logits_only


def load(checkpoint: Path):
    return AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).train()


def batch(on_the_left: bool = False) -> dict[str, torch.Tensor]:
    """Three sequences; padded on the right, the answers have 2, 1 and 4 tokens and end at 12, 9 and 7."""
    ids = torch.randint(5, 200, (3, 12), generator=torch.Generator().manual_seed(0))
    labels, mask = torch.full_like(ids, IGNORED), torch.zeros_like(ids)
    for row, (end, length) in enumerate([(12, 2), (9, 1), (7, 4)]):
        labels[row, end - length : end] = ids[row, end - length : end]
        mask[row, :end] = 1
        if on_the_left:
            ids[row], labels[row], mask[row] = (one[row].roll(12 - end) for one in (ids, labels, mask))
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


@pytest.mark.parametrize("count", [{}, {"num_items_in_batch": torch.tensor(21)}], ids=["mean", "of a larger batch"])
def test_loss_and_gradients_are_the_same(tiny_checkpoint: Path, count: dict[str, torch.Tensor]) -> None:
    whole, ours = load(tiny_checkpoint), load(tiny_checkpoint)
    assert compute_answer_logits_only(ours)
    expected, found = whole(**batch(), **count), ours(**batch(), **count)
    assert found.logits.shape[1] == 7  # of 12: the tokens before 10 and 11, before 8, and before 3 to 6
    torch.testing.assert_close(found.loss, expected.loss)
    expected.loss.backward()
    found.loss.backward()
    for (name, one), other in zip(whole.named_parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, msg=name)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_loss_is_the_same_however_the_model_is_run(
    tiny_checkpoint: Path, checkpointing: bool, dtype: torch.dtype
) -> None:
    """Padded on the left, under autocast, with activations computed twice."""
    whole, ours = load(tiny_checkpoint), load(tiny_checkpoint)
    assert compute_answer_logits_only(ours)
    losses = []
    for model in (whole, ours):
        if checkpointing:
            model.gradient_checkpointing_enable()
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            losses.append(model(**batch(on_the_left=True)).loss)
        losses[-1].backward()
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-2 if dtype == torch.bfloat16 else 1e-5, atol=0)
    gradients = [next(model.parameters()).grad for model in (whole, ours)]
    torch.testing.assert_close(*gradients, rtol=0.1, atol=1e-3)


def test_a_model_with_a_loss_of_its_own_is_left_alone(tiny_checkpoint: Path) -> None:
    model = load(tiny_checkpoint)
    model.config.output_router_logits = True
    assert not compute_answer_logits_only(model)


def test_without_labels_all_logits_are_there(tiny_checkpoint: Path) -> None:
    model = load(tiny_checkpoint)
    compute_answer_logits_only(model)
    inputs = {name: value for name, value in batch().items() if name != "labels"}
    assert model(**inputs).logits.shape[1] == 12


def test_a_model_that_can_leave_nothing_out_is_left_alone() -> None:
    model = torch.nn.Linear(2, 2)
    assert not compute_answer_logits_only(model)
    assert model(torch.ones(2)).shape == (2,)
