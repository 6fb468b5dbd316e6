"""What figures need to know of finished steps: ``facts.py model TRAIN`` and ``facts.py refining STATISTICS ARM``.

The former prints a trained model's parameters without the input embedding and its tokens an optimizer step, the latter
the FLOPs of refining an arm.
"""

import sys
from pathlib import Path
from typing import Any

import yaml

from pretraining.shapes import ModelShape, shape_named
from prox.artifact import SNAPSHOT, read_json


def model_facts(train: Path) -> tuple[int, int]:
    """Parameters without the input embedding, and tokens a step, by the config that a training recorded."""
    config: dict[str, Any] = yaml.safe_load((train / SNAPSHOT).read_text(encoding="utf-8"))["config"]
    shape = ModelShape(**config["shape"]) if config["shape"] else shape_named(config["model"])
    tokens = config["global_batch_size"] * (config["sequence_length"] or shape.context)
    return shape.num_parameters_without_embedding(), tokens


def refining_flops(statistics: Path, arm: str) -> int:
    """FLOPs of an arm's refining, as `refinement stats` found them."""
    flops = read_json(statistics / "cost.json")["arms"][arm]["flops"]
    if flops is None:
        sys.exit(f"error: {statistics / 'cost.json'} has no FLOPs of {arm}: its refiner's size could not be read there")
    return flops


if __name__ == "__main__":
    if sys.argv[1] == "model":
        print(*model_facts(Path(sys.argv[2])))
    else:
        print(refining_flops(Path(sys.argv[2]), sys.argv[3]))
