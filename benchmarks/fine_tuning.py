"""How long a training step takes with the logits of the answers alone, as a ratio to those of every token.

    python -m benchmarks.fine_tuning --base runs/quickstart/pretraining/base/export --context 512

Forward and backward pass of one batch of random tokens, padded to several lengths, turn by turn on the same weights:
the model as Transformers has it, and with ``compute_answer_logits_only``, as `adaptation train` trains it. The loss
must be the same. The table shows the median of the turns.
"""

import argparse
import copy
from functools import partial
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from adaptation.answer_logits import IGNORED, compute_answer_logits_only
from benchmarks.common import seconds

Batch = dict[str, torch.Tensor]


def make_batch(size: int, context: int, answer: int, vocab_size: int) -> Batch:
    """Sequences of between three quarters of the context and all of it, of which the last tokens are the answer."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, vocab_size, (size, context), generator=generator)
    labels, mask = torch.full_like(ids, IGNORED), torch.zeros_like(ids)
    for row, end in enumerate(torch.linspace(0.75 * context, context, size).int().tolist()):
        labels[row, end - answer : end] = ids[row, end - answer : end]
        mask[row, :end] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def step(model: PreTrainedModel, batch: Batch, dtype: torch.dtype) -> float:
    """The loss of a forward and a backward pass."""
    with torch.autocast(model.device.type, dtype, enabled=dtype != torch.float32):
        loss = model(**batch).loss
    loss.backward()
    model.zero_grad()
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    return loss.item()


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="Hugging Face folder of a causal language model")
    parser.add_argument("--context", type=int, default=2_048, help="tokens of the longest sequence")
    parser.add_argument("--answer", type=int, default=10, help="tokens of an answer")
    parser.add_argument("--batch", type=int, default=8, help="sequences")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    whole = AutoModelForCausalLM.from_pretrained(options.base, dtype=torch.float32).to(device).train()
    ours = copy.deepcopy(whole)
    if not compute_answer_logits_only(ours):
        raise SystemExit(f"{options.base} is a model that can't leave logits out: there is nothing to compare")
    batch = make_batch(options.batch, options.context, options.answer, whole.config.vocab_size)
    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    models = {"every token": whole, "answers alone": ours}
    tasks = {name: partial(step, model, batch, getattr(torch, options.dtype)) for name, model in models.items()}
    times, losses = seconds(tasks, options.repeats)
    if abs(losses["every token"] - losses["answers alone"]) > 1e-2 * losses["every token"]:
        raise SystemExit(f"the losses differ: {losses}")
    print("| logits of | tokens/s | every token | ratio |\n|---|---|---|---|")
    speeds = {name: int(batch["attention_mask"].sum()) / taken for name, taken in times.items()}
    ratio = speeds["answers alone"] / speeds["every token"]
    print(f"| answers alone | {speeds['answers alone']:,.0f} | {speeds['every token']:,.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
