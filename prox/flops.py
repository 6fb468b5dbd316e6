"""Floating-point operations of a transformer as the paper counts them (appendix E.2, after Kaplan et al., 2020).

Parameters are those without one embedding matrix (Table 8).
"""

from typing import TypeVar

Number = TypeVar("Number", int, float)


def training_flops(parameters: Number, tokens: Number) -> Number:
    """FLOPs to train a model of ``parameters`` on ``tokens`` (Equation 9)."""
    return 6 * parameters * tokens


def inference_flops(parameters: Number, prefill_tokens: Number, decoded_tokens: Number = 0) -> Number:
    """FLOPs to read ``prefill_tokens`` and write ``decoded_tokens`` (Equation 10; without the latter 11 and 12)."""
    return 2 * parameters * (prefill_tokens + decoded_tokens)
