"""Training on the answers' logits alone is the training that it replaces."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from adaptation.answer_logits import IGNORED, compute_answer_logits_only


def load(checkpoint: Path):
    return AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).train()


def batch() -> dict[str, torch.Tensor]:
    """Three sequences padded on the right; the answers have 2, 1 and 4 tokens and end at 12, 9 and 7."""
    ids = torch.randint(5, 200, (3, 12), generator=torch.Generator().manual_seed(0))
    labels, mask = torch.full_like(ids, IGNORED), torch.zeros_like(ids)
    for row, (end, length) in enumerate([(12, 2), (9, 1), (7, 4)]):
        labels[row, end - length : end] = ids[row, end - length : end]
        mask[row, :end] = 1
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


def test_without_labels_all_logits_are_there(tiny_checkpoint: Path) -> None:
    model = load(tiny_checkpoint)
    compute_answer_logits_only(model)
    inputs = {name: value for name, value in batch().items() if name != "labels"}
    assert model(**inputs).logits.shape[1] == 12


def test_a_model_that_can_leave_nothing_out_is_left_alone() -> None:
    model = torch.nn.Linear(2, 2)
    assert not compute_answer_logits_only(model)
    assert model(torch.ones(2)).shape == (2,)
