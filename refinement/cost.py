"""What refining costs in floating-point operations (paper, Appendix E.2, Equations 9 to 14), beside measured time.

The paper counts a model's parameters without one of its embedding matrices (Table 8), and takes each stage to read its
whole input once. What a stage read of it, and what it generated, stands beside that.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prox.artifact import run_of
from prox.flops import inference_flops, training_flops
from refinement.provenance import Step

log = logging.getLogger("prox")

NOTES = {
    "flops": "Equations 11 and 12 for a stage, 13 for an arm (14 where its refiners have one size): 2 N tokens_in",
    "flops_of_read_and_generated": "Equation 10: 2 N (tokens_read + tokens_generated)",
    "flops_of_one_pass": "Equation 9: 6 N tokens of the arm",
    "tokens_of_the_same_flops": "tokens that Equation 9 lets the model train on for the arm's refining flops",
    "parameters_without_embedding": "N: all parameters but one embedding matrix, as in Table 8",
    "tokens": "tokens_in are those of the texts, by the tokenizer of these statistics; tokens_read and "
    "tokens_generated are the refiner's own: whole prompts with their frames and line numbers, and answers with their "
    "ends; where a server does not say how many it generated, they count as none",
    "seconds": "wall time of the run that finished the step, loading the model included; no rates of a resumed run, "
    "whose earlier part is not in it",
}


@dataclass(frozen=True)
class Parameters:
    """Size of a model: all parameters, and those without the input embedding (the paper's N)."""

    total: int
    without_embedding: int


def count_parameters(checkpoint: str) -> Parameters | None:
    """Size of a checkpoint by its ``config.json``, tied matrices once; None where that is not on this machine."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(checkpoint, local_files_only=True)
        with torch.device("meta"):  # shapes only: no memory, no weights
            model = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError) as error:
        log.warning("refinement stats: no FLOPs of refiner %s, whose size can't be read: %s", checkpoint, error)
        return None
    total = sum(weights.numel() for weights in model.parameters())
    return Parameters(total, total - model.get_input_embeddings().weight.numel())


def stage_cost(
    step: Step, tokens_in: int | None, counts: Mapping[str, Any], parameters: Parameters | None
) -> dict[str, Any]:
    """Tokens, FLOPs and seconds of one stage; None for what is not known.

    ``tokens_in`` are the tokens of the stage's input, ``counts`` what was counted of its output.
    """
    asked, run = step.asked(), run_of(step.asked().folder)
    seconds = run.get("seconds")
    documents = sum(size.get("documents", 0) for size in (counts["kept"], *counts["dropped"].values()))
    rated = seconds and not run["resumed"]
    read, generated = counts["ledger"]["read"], counts["ledger"]["generated"]
    n = parameters and parameters.without_embedding
    return {
        "step": step.name,
        "command": asked.command,
        "refiner": step.refiner(),
        "parameters": parameters and parameters.total,
        "parameters_without_embedding": n,
        "tokens_in": tokens_in,
        "tokens_read": read,
        "tokens_generated": generated,
        "flops": n and tokens_in and inference_flops(n, tokens_in),
        "flops_of_read_and_generated": n and read and inference_flops(n, read, generated),
        "seconds": seconds,
        "resumed": run.get("resumed"),
        "workers": asked.record["config"].get("workers"),
        "documents_per_second": documents / seconds if rated else None,
        "tokens_in_per_second": tokens_in / seconds if rated and tokens_in else None,
    }


def arm_cost(stages: Sequence[Mapping[str, Any]], tokens: int, models: Mapping[str, int]) -> dict[str, Any]:
    """Refining FLOPs of an arm, the sum over its stages, and what training on its ``tokens`` costs.

    ``models`` are the parameters without embedding of models to train, by name.
    """
    known = all(stage["flops"] is not None for stage in stages)
    flops = sum(stage["flops"] for stage in stages) if known else None
    training = {
        name: {
            "parameters_without_embedding": parameters,
            "flops_of_one_pass": training_flops(parameters, tokens),
            "tokens_of_the_same_flops": flops // (6 * parameters) if flops is not None else None,
        }
        for name, parameters in models.items()
    }
    return {"stages": [stage["step"] for stage in stages], "tokens": tokens, "flops": flops, "training": training}
