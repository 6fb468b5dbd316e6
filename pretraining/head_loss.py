"""The last matrix and the cross-entropy in one, which never holds the logits of a whole batch.

Logits are the largest thing in training a small model: 16 sequences of 2,048 tokens over 32,000 words are 4 GB in fp32,
and as much again for their gradients. Here they exist for 256 positions at a time (2,048 on a GPU): the gradients of
hidden states and matrix are made with the loss, while a piece is at hand, so that nothing is computed twice.
"""

from typing import Any

import torch

# On a CPU the pieces stay in the cache; on a GPU they are large enough to fill it.
ROWS = {"cpu": 256, "cuda": 2_048}


def compute_dtype(hidden: torch.Tensor) -> torch.dtype:
    """The type that autocast would multiply in, else that of the hidden states."""
    device = hidden.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype


class _HeadLoss(torch.autograd.Function):
    """The mean loss; see ``head_loss``."""

    @staticmethod
    def forward(
        context: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        targets: torch.Tensor,
        rows: int,
        wants_gradient: bool,
    ) -> torch.Tensor:
        dtype = compute_dtype(hidden)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        hidden_gradient = torch.empty_like(hidden) if wants_gradient else None
        weight_gradient = torch.zeros_like(weight, dtype=torch.float32) if wants_gradient else None
        with torch.autocast(hidden.device.type, enabled=False):
            matrix = weight.to(dtype)
            for begin in range(0, len(hidden), rows):
                piece, target = hidden[begin : begin + rows].to(dtype), targets[begin : begin + rows, None]
                logits = (piece @ matrix.T).float()
                log_sum = logits.logsumexp(-1, keepdim=True)
                total += (log_sum - logits.gather(-1, target)).sum()
                if wants_gradient:
                    # d loss / d logits: the probabilities, less one at the target.
                    slope = logits.sub_(log_sum).exp_()
                    slope.scatter_add_(-1, target, slope.new_full((), -1.0).expand_as(target))
                    slope = slope.div_(len(hidden)).to(dtype)
                    hidden_gradient[begin : begin + rows] = slope @ matrix
                    weight_gradient += slope.T @ piece
        if wants_gradient:
            context.save_for_backward(hidden_gradient, weight_gradient.to(weight.dtype))
        return total / len(hidden)

    @staticmethod
    def backward(context: Any, outer: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None, None]:
        hidden_gradient, weight_gradient = context.saved_tensors
        return hidden_gradient * outer, weight_gradient * outer, None, None, None


@torch.compiler.disable  # its loop would be unrolled, once for every piece
def head_loss(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, rows: int | None = None
) -> torch.Tensor:
    """Mean cross-entropy in nats of the targets.

    Args:
        hidden: what the last norm gives, (positions, width).
        weight: the output embedding, (vocabulary, width).
        targets: int64, (positions,).
        rows: positions whose logits exist at once; None: what suits the device.
    """
    # Inside the function gradients always look switched off.
    wants_gradient = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    return _HeadLoss.apply(hidden, weight, targets, rows or ROWS[hidden.device.type], wants_gradient)
