"""Configs of training and of measuring its speed. As light to import as `pretraining.configs`."""

import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pretraining.configs import STATS, require_file
from pretraining.shapes import SHAPES, ModelShape, shape_named
from prox.artifact import SUCCESS, read_json
from prox.command import VOLATILE_FIELDS, CommandConfig
from prox.tracking import TrackingConfig

# Published peaks of dense bf16 matrix products, in FLOP/s (the SXM boards where there are several).
PEAK_FLOPS = {"A100": 312e12, "H100": 989.4e12, "H200": 989.4e12, "L40S": 362e12}
PLANNED_MFU = 0.5
CHECKPOINT_BYTES = 12
"""A parameter: itself and AdamW's two moments, in float32."""
COUNTS = ("global_batch_size", "micro_batch_size", "num_nodes", "save_interval", "log_interval", "decay_steps")
COUNTS += ("validation_interval", "validation_sequences", "early_stop_step")
# Names of fields, their least value, and what they must stay below.
RANGES: dict[tuple[str, ...], tuple[float, float, str]] = {
    COUNTS: (1, math.inf, "at least 1"),
    ("learning_rate", "max_gradient_norm", "peak_flops"): (sys.float_info.min, math.inf, "above 0, and finite"),
    ("warmup_steps", "keep_checkpoints", "weight_decay", "min_learning_rate", "seed"): (
        0,
        math.inf,
        "at least 0, and finite",
    ),
    ("beta1", "beta2"): (0, 1, "at least 0 and below 1"),
}


@dataclass
class SourceConfig:
    """A corpus of a mixture."""

    tokens: Path
    """Token shards."""
    weight: float = 1.0
    """Its share of the sequences, in any unit: shares are weights over their sum."""


@dataclass
class TrainConfig(CommandConfig):
    """Trains a language model on token shards. The defaults are the paper's for TLM-xs (Table 9)."""

    tokens: Path | None = None
    """Token shards to train on; set this or `mixture`."""
    mixture: list[SourceConfig] | None = None
    """Several corpora, mixed by weight: a list of {tokens, weight}."""
    validation: Path | None = None
    """Token shards to measure the loss on while training; made with the same tokenizer."""
    validation_interval: int = 250
    """Steps between two measurements; the last step is always measured."""
    validation_sequences: int = 512
    """Most sequences of the validation shards that are read, from their beginning."""
    init_from: Path | None = None
    """Output of `pretraining import`, or of an earlier `train`, of the same architecture: where the weights (not the
    optimizer) come from."""
    model: str = "tlm-xs"
    """Name of a shape in the zoo: tlm-nano, -mini, -xs, -s or -m, pythia-410m or -1b, tinyllama-1.1b, llama-2-7b,
    codellama-7b or mistral-7b."""
    shape: ModelShape | None = None
    """A shape of your own, used in place of `model`."""
    sequence_length: int | None = None
    """Tokens per sequence; null: the model's context."""
    max_steps: int | None = None
    """Optimizer steps to take; set this or `max_tokens`."""
    max_tokens: int | None = None
    """Tokens to train on, rounded down to whole steps; set this or `max_steps`."""
    early_stop_step: int | None = None
    """Stop after this step, in the middle of the schedule that `max_steps` or `max_tokens` lays out (Table 9's models
    of seven billion parameters)."""
    global_batch_size: int = 1_024
    """Sequences per optimizer step, over all devices."""
    micro_batch_size: int = 8
    """Sequences per forward pass on one device."""
    learning_rate: float = 5e-4
    """Peak learning rate."""
    min_learning_rate: float = 5e-5
    """Learning rate at the end of the cosine schedule; `wsd` ends at 1/16 of the peak (Equation 8)."""
    warmup_steps: int = 500
    """Steps of linear warm-up."""
    schedule: Literal["cosine", "wsd"] = "cosine"
    """`cosine`, or `wsd` (warm-up, stable, decay: Equation 8)."""
    decay_steps: int = 200
    """Steps of the decay that ends a `wsd` schedule."""
    weight_decay: float = 0.1
    """AdamW's weight decay, on every parameter as the authors have it (norms and embeddings too)."""
    beta1: float = 0.9
    """AdamW's first-moment decay."""
    beta2: float = 0.95
    """AdamW's second-moment decay."""
    max_gradient_norm: float = 1.0
    """Gradients are clipped to this norm."""
    precision: Literal["auto", "32-true", "bf16-mixed", "bf16-true"] = "auto"
    """`auto`: bf16-mixed where the hardware multiplies bf16 matrices (CUDA; CPUs with AMX), else 32-true."""
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: CUDA where there is a device."""
    devices: int = 1
    """Devices on each node; -1: all CUDA devices. On a CPU a device is a process."""
    num_nodes: int = 1
    """Nodes."""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """How several devices share the work: a copy of the model on each (`ddp`, which is `auto`), or a part (`fsdp`)."""
    sharding: Literal["full", "hybrid"] = "full"
    """For fsdp: one model over all devices, or one over those of each node."""
    activation_checkpointing: bool = False
    """Compute each layer's insides again in the backward pass instead of keeping them: less memory, a third
    more work."""
    peak_flops: float | None = None
    """What one device can do at most, in FLOP/s, for the model FLOPs utilisation in the metrics; null: as published for
    A100, H100, H200 and L40S, else left out."""
    compile: bool | None = None
    """Run torch.compile on the model; null: on CUDA. On a CPU it needs a C++ compiler, takes a minute, and made a model
    of 7 million parameters 1.5 times faster."""
    save_interval: int = 250
    """Steps between resumable checkpoints."""
    keep_checkpoints: int = 1
    """How many of the newest checkpoints to keep; 0: all (one model with its optimizer each)."""
    log_interval: int = 10
    """Steps between lines of `metrics.jsonl`."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    """Where metrics are mirrored to."""

    def resolved_shape(self) -> ModelShape:
        """The model's shape: `shape` if given, else the one named `model`."""
        return self.shape or shape_named(self.model)

    def resolved_sequence_length(self) -> int:
        """Tokens per sequence."""
        return self.resolved_shape().context if self.sequence_length is None else self.sequence_length

    def resolved_steps(self) -> int:
        """Optimizer steps to take."""
        if self.max_steps is not None:
            return self.max_steps
        return (self.max_tokens or 0) // (self.global_batch_size * self.resolved_sequence_length())

    def sources(self) -> list[SourceConfig]:
        """What is trained on: `mixture`, or `tokens` alone."""
        return self.mixture or ([SourceConfig(self.tokens)] if self.tokens else [])

    def last_step(self) -> int:
        """The optimizer step that this run ends after."""
        return min(self.resolved_steps(), self.early_stop_step or self.resolved_steps())

    def inputs(self) -> list[Path]:
        paths = [*(source.tokens for source in self.sources()), self.init_from, self.validation]
        return [path for path in paths if path]

    def volatile_fields(self) -> frozenset[str]:
        """When a run is saved, what it logs, and how it is spread over devices, does not decide what it is: the weights
        are the same up to the order of sums."""
        saving = {"save_interval", "keep_checkpoints", "log_interval", "peak_flops", "validation_interval"}
        spreading = {"devices", "num_nodes", "strategy", "sharding", "micro_batch_size", "accelerator"}
        return VOLATILE_FIELDS | saving | spreading | {"activation_checkpointing", "compile"}

    def problems(self) -> list[str]:
        found = [] if self.dry_run else self._input_problems()  # a plan may be made before there is data
        found += self._number_problems()
        if self.shape is None and self.model not in SHAPES:
            return [*found, f"--model {self.model}: available are {', '.join(SHAPES)}, or give your own with --shape"]
        shape_problems = self.resolved_shape().problems()
        if shape_problems or found:
            return found + shape_problems
        return self._budget_problems() + self._token_problems()

    def _input_problems(self) -> list[str]:
        """Artefacts that are absent or unfinished."""
        if self.mixture is None:
            found = require_file(self.tokens, STATS, "tokens", "`pretraining tokenize`")
        else:
            found = self._mixture_problems()
        if self.validation is not None:
            found += require_file(self.validation, STATS, "validation", "`pretraining tokenize`")
        if self.init_from is not None:
            found += require_file(self.init_from, "model", "init_from", "`pretraining import` or `train`")
            if (self.init_from / "config.json").is_file():
                found = [f"--init_from {self.init_from} is a Hugging Face model: run `pretraining import` on it first"]
        return found

    def _mixture_problems(self) -> list[str]:
        """Sources that are absent, or have no share."""
        found = [] if self.tokens is None else ["give --tokens or --mixture, not both"]
        for number, source in enumerate(self.mixture or []):
            option = f"mixture[{number}].tokens"
            found += require_file(source.tokens, STATS, option, "`pretraining tokenize`")
            if not 0 < source.weight < math.inf:
                found.append(f"--mixture[{number}].weight {source.weight}: must be above 0, and finite")
        return found if self.mixture else [*found, "--mixture is empty: give at least one source"]

    def _number_problems(self) -> list[str]:
        """Fields out of range, each on its own, and two that are at odds."""
        found = []
        for names, (least, limit, rule) in RANGES.items():
            for name in names:
                value = getattr(self, name)
                if value is not None and not least <= value < limit:
                    found.append(f"--{name} {value}: must be {rule}")
        if self.min_learning_rate > self.learning_rate:
            found.append(f"--min_learning_rate {self.min_learning_rate} is above --learning_rate {self.learning_rate}")
        if self.devices < 1 and self.devices != -1:
            found.append(f"--devices {self.devices}: give a number of devices, or -1 for all")
        if self.sharding == "hybrid" and self.strategy != "fsdp":
            found.append("--sharding hybrid is a way of --strategy fsdp: set that too")
        return found

    def _budget_problems(self) -> list[str]:
        """Steps, sequence length and batch sizes that don't fit together."""
        found = []
        if (self.max_steps is None) == (self.max_tokens is None):
            found.append("give exactly one of --max_steps and --max_tokens: how long to train")
        elif self.resolved_steps() < 1:
            found.append(
                f"--max_steps {self.max_steps} / --max_tokens {self.max_tokens}: less than one step of "
                f"{self.global_batch_size} sequences of {self.resolved_sequence_length()} tokens"
            )
        elif self.warmup_steps + (self.decay_steps if self.schedule == "wsd" else 0) > self.resolved_steps():
            found.append(
                f"--warmup_steps {self.warmup_steps} (and, for wsd, --decay_steps {self.decay_steps}) don't fit into "
                f"the {self.resolved_steps()} steps of training"
            )
        if not 1 <= self.resolved_sequence_length() <= self.resolved_shape().context:
            found.append(
                f"--sequence_length {self.sequence_length}: must be 1 to {self.resolved_shape().context}, "
                f"the context of {self.resolved_shape().name}"
            )
        if self.global_batch_size % self.micro_batch_size:
            found.append(
                f"--global_batch_size {self.global_batch_size} must be a multiple of --micro_batch_size "
                f"{self.micro_batch_size}"
            )
        return found

    def _token_problems(self) -> list[str]:
        """Shards that this model can't be trained on, or measured on."""
        shape, length = self.resolved_shape(), self.resolved_sequence_length()
        found, tokenizers = [], {}
        for path in [*(source.tokens for source in self.sources()), *([self.validation] if self.validation else [])]:
            if self.dry_run and not (path / STATS).is_file():
                continue
            stats = read_json(path / STATS)
            tokenizers[path] = stats.get("tokenizer", "not recorded")
            if stats["vocab_size"] > shape.vocab_size:
                found.append(
                    f"{path} was made with a tokenizer of {stats['vocab_size']} tokens, but {shape.name} has "
                    f"{shape.vocab_size}: train a smaller tokenizer, or give a larger vocab_size with --shape"
                )
            if stats["tokens"] <= length:
                found.append(
                    f"{path} holds {stats['tokens']} tokens: not one sequence of {length} and its next token; use more "
                    "documents or a smaller --sequence_length"
                )
        if self.init_from is not None and (self.init_from / SUCCESS).is_file():
            learned = read_json(self.init_from / SUCCESS)["summary"].get("tokenizer")
            if learned is not None:
                tokenizers[self.init_from] = learned
        if len(set(tokenizers.values())) > 1:
            marks = ", ".join(f"{path} {mark}" for path, mark in tokenizers.items())
            found.append(f"these were made with different tokenizers ({marks}): use one for all")
        return found

    def plan(self) -> dict[str, Any]:
        shape, length = self.resolved_shape(), self.resolved_sequence_length()
        tokens = self.last_step() * self.global_batch_size * length
        flops = tokens * shape.training_flops_per_token(length)
        early = "" if self.last_step() == self.resolved_steps() else f" of {self.resolved_steps():,}"
        plan = {
            "model": shape.name,
            "parameters": f"{shape.num_parameters():,}",
            "parameters without the input embedding": f"{shape.num_parameters() - shape.vocab_size * shape.n_embd:,}",
            "steps": f"{self.last_step():,}{early}",
            "tokens a step": f"{self.global_batch_size * length:,}",
            "tokens to train on": f"{tokens:,}",
            "estimated FLOPs": f"{flops:.3g}",
            "hours of one GPU at half its peak": ", ".join(
                f"{name} {flops / (PLANNED_MFU * peak) / 3_600:,.1f}" for name, peak in PEAK_FLOPS.items()
            ),
        }
        checkpoints = math.ceil(self.last_step() / self.save_interval)
        checkpoints = min(checkpoints, self.keep_checkpoints or checkpoints)
        plan["disk for checkpoints"] = (
            f"{checkpoints * shape.num_parameters() * CHECKPOINT_BYTES / 1e9:,.1f} GB ({checkpoints} kept)"
        )
        weights = sum(source.weight for source in self.sources())
        for source in self.sources():
            if (source.tokens / STATS).is_file():
                there, share = read_json(source.tokens / STATS)["tokens"], source.weight / weights
                plan[f"tokens in {source.tokens}"] = f"{there:,} ({share * tokens / max(there, 1):.2f} epochs)"
        return plan


@dataclass
class ThroughputConfig(TrainConfig):
    """Measures the speed of training, forward to optimizer step, under the same config as `train`, on random tokens."""

    measured_steps: int = 10
    """Optimizer steps that are timed; the median counts."""
    discarded_steps: int = 2
    """Optimizer steps before them that are not (compilation, memory pools)."""

    def inputs(self) -> list[Path]:
        return []

    def problems(self) -> list[str]:
        if self.shape is None and self.model not in SHAPES:
            return [f"--model {self.model}: available are {', '.join(SHAPES)}, or give your own with --shape"]
        found = self._number_problems() + self.resolved_shape().problems()
        if self.measured_steps < 1 or self.discarded_steps < 0:
            found.append(f"--measured_steps {self.measured_steps} / --discarded_steps {self.discarded_steps}: too few")
        return found or self._budget_problems()
