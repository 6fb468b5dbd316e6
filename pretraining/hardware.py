"""Chooses device, precision and strategy, and says why a combination can't work."""

import logging
import os
import shutil
from dataclasses import dataclass

import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies import DDPStrategy, FSDPStrategy, Strategy
from litgpt.model import Block

from pretraining.configs import TrainConfig
from prox.errors import UserError
from prox.precision import multiplies_bf16

log = logging.getLogger("prox")

CPU_HEAD_CHUNK = 64


@dataclass(frozen=True)
class Hardware:
    """What ``auto`` came to."""

    accelerator: str
    precision: str
    compile: bool
    head_chunk: int
    """Positions whose logits are computed at once; 0: all."""


def has_compiler() -> bool:
    """True where torch.compile can make code for a CPU; says so where it can't."""
    found = any(shutil.which(name) for name in (os.environ.get("CXX", ""), "g++", "clang++") if name)
    if not found:
        log.warning("--compile true needs a C++ compiler on a CPU, and there is none (g++): training goes on without")
    return found


def resolve(config: TrainConfig) -> Hardware:
    """Resolves every ``auto`` of the config.

    Raises:
        UserError: CUDA is asked for and absent, or several devices on a CPU.
    """
    has_cuda = torch.cuda.is_available()
    accelerator = config.accelerator
    if accelerator == "auto":
        accelerator = "cuda" if has_cuda else "cpu"
    if accelerator == "cuda" and not has_cuda:
        raise UserError("--accelerator cuda: PyTorch finds no CUDA device here; use --accelerator cpu")
    if accelerator == "cpu" and (config.devices != 1 or config.num_nodes != 1):
        raise UserError(
            f"--devices {config.devices} --num_nodes {config.num_nodes}: training on a CPU uses one device (set "
            "OMP_NUM_THREADS for its threads); several devices need CUDA"
        )
    precision = config.precision
    if precision == "auto":
        precision = "bf16-mixed" if multiplies_bf16(accelerator) else "32-true"
    on_cuda = accelerator == "cuda"
    return Hardware(
        accelerator=accelerator,
        precision=precision,
        compile=on_cuda if config.compile is None else config.compile and (on_cuda or has_compiler()),
        head_chunk=0 if on_cuda else CPU_HEAD_CHUNK,
    )


def build_strategy(config: TrainConfig) -> Strategy | str:
    """Fabric's strategy; a single device needs none."""
    if config.strategy == "fsdp":
        # A full state dict is one file a checkpoint: resumable on another number of devices, exportable as it is.
        return FSDPStrategy(auto_wrap_policy={Block}, state_dict_type="full", sharding_strategy="HYBRID_SHARD")
    if config.strategy == "ddp" or config.devices != 1 or config.num_nodes != 1:
        return DDPStrategy()
    return "auto"


def build_fabric(config: TrainConfig, hardware: Hardware) -> Fabric:
    """A launched Fabric; the global batch must divide over its devices.

    Raises:
        UserError: `--strategy fsdp` without CUDA, or a global batch that doesn't divide.
    """
    if config.strategy == "fsdp" and hardware.accelerator != "cuda":
        raise UserError("--strategy fsdp needs CUDA devices; leave it at auto here")
    fabric = Fabric(
        accelerator=hardware.accelerator,
        devices=config.devices,
        num_nodes=config.num_nodes,
        strategy=build_strategy(config),
        precision=hardware.precision,
    )
    fabric.launch()
    if config.global_batch_size % (config.micro_batch_size * fabric.world_size):
        raise UserError(
            f"--global_batch_size {config.global_batch_size} must be a multiple of --micro_batch_size "
            f"{config.micro_batch_size} times the {fabric.world_size} devices"
        )
    return fabric
