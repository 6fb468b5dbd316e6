"""Measures a training config's speed: tokens per second, and the share of what the matrix units were seen to do.

The ceiling is measured in the same process, on square matrices of the training's type, so that the share says how much
the model and the loop leave on the table rather than how honest a data sheet is.
"""

import statistics
import time
from typing import Any

import torch

from pretraining.train import Training, optimizer_step, set_up
from pretraining.train_config import ThroughputConfig
from prox.artifact import write_json

CEILING_SIZE = {"cpu": 2_048, "cuda": 8_192}
CEILING_REPEATS = 10


def synchronise(device: torch.device) -> None:
    """Waits for the work in flight."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matrix_ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """The best FLOP/s seen in multiplying two square matrices."""
    size = CEILING_SIZE[device.type]
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    fastest = float("inf")
    for _ in range(CEILING_REPEATS):
        synchronise(device)
        begin = time.perf_counter()
        torch.mm(left, right)
        synchronise(device)
        fastest = min(fastest, time.perf_counter() - begin)
    return 2 * size**3 / fastest


def time_steps(config: ThroughputConfig, training: Training) -> float:
    """Median seconds of one optimizer step on random tokens."""
    device = training.fabric.device
    shape = (config.global_batch_size // training.fabric.world_size, config.resolved_sequence_length() + 1)
    generator = torch.Generator().manual_seed(config.seed)
    batch = torch.randint(0, config.resolved_shape().vocab_size, shape, generator=generator).to(device)
    training.model.train()
    seconds = []
    for _ in range(config.discarded_steps + config.measured_steps):
        synchronise(device)
        begin = time.perf_counter()
        optimizer_step(config, training, batch, config.learning_rate)
        synchronise(device)
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[config.discarded_steps :])


def throughput(config: ThroughputConfig) -> dict[str, Any]:
    """Measures and writes ``throughput.json``; the ceiling is that of one device times their number."""
    training = set_up(config)
    fabric = training.fabric
    dtype = torch.float32 if training.hardware.precision == "32-true" else torch.bfloat16
    ceiling = matrix_ceiling(fabric.device, dtype) * fabric.world_size
    tokens = config.global_batch_size * config.resolved_sequence_length()
    speed = tokens / time_steps(config, training)
    flops = config.resolved_shape().training_flops_per_token(config.resolved_sequence_length())
    result = {
        "model": config.resolved_shape().name,
        "parameters": config.resolved_shape().num_parameters(),
        "device": torch.cuda.get_device_name() if fabric.device.type == "cuda" else "cpu",
        "devices": fabric.world_size,
        "threads": torch.get_num_threads(),
        "precision": training.hardware.precision,
        "tokens_per_second": round(speed),
        "flops_per_token": flops,
        "matrix_ceiling_flops_per_second": round(ceiling),
        "share_of_ceiling": round(speed * flops / ceiling, 4),
    }
    if fabric.is_global_zero:
        write_json(config.output / "throughput.json", result)
    names = ("tokens_per_second", "flops_per_token", "share_of_ceiling", "precision", "threads")
    return {name: result[name] for name in names}
