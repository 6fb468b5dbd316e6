"""Computing cost in FLOPs, as the paper counts it (appendix E.2, Equations 9 to 14, after Kaplan et al., 2020).

Parameters are those without the embedding matrix. Fine-tuning is left out, as in the paper.
"""

from prox.flops import inference_flops

TOKENS_PER_STEP = 2048 * 1024
"""Tokens of one optimizer step of the paper's TLMs: 1,024 sequences of 2,048 tokens (section B.3, Table 9)."""


def tokens_at(step: float, tokens_per_step: float = TOKENS_PER_STEP) -> float:
    """Tokens trained on after ``step`` optimizer steps."""
    return step * tokens_per_step


def document_stage_flops(parameters: float, raw_tokens: float) -> float:
    """FLOPs of the document stage over a raw corpus; its few decoded tokens count as none (Equation 11)."""
    return inference_flops(parameters, raw_tokens)


def chunk_stage_flops(parameters: float, document_tokens: float) -> float:
    """FLOPs of the chunk stage over what the document stage kept; decoded tokens count as none (Equation 12)."""
    return inference_flops(parameters, document_tokens)


def refining_flops(
    raw_tokens: float, document_tokens: float, document_parameters: float, chunk_parameters: float
) -> float:
    """FLOPs of both stages, whose refiners may differ in size (Equation 13)."""
    return document_stage_flops(document_parameters, raw_tokens) + chunk_stage_flops(chunk_parameters, document_tokens)


def refining_flops_of_one_size(raw_tokens: float, document_tokens: float, parameters: float) -> float:
    """FLOPs of both stages with refiners of one size (Equation 14)."""
    return refining_flops(raw_tokens, document_tokens, parameters, parameters)
