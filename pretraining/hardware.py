"""Chooses device, precision and strategy, and says why a combination can't work."""

import logging
import os
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Literal

import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard

from pretraining.models import LanguageModel
from pretraining.train_config import TrainConfig
from prox.compiling import has_compiler
from prox.errors import UserError
from prox.precision import multiplies_bf16
from prox.ranks import launched_processes

log = logging.getLogger("prox")

LONGEST_WAIT = timedelta(hours=2)
"""For the main process, which alone writes checkpoints."""


@dataclass(frozen=True)
class Hardware:
    """What every ``auto`` came to."""

    accelerator: Literal["cpu", "cuda"]
    precision: str
    compile: bool
    devices: int
    """On each node."""
    num_nodes: int
    strategy: Literal["single", "ddp", "fsdp"]
    sharding: Literal["full", "hybrid"]

    @property
    def world_size(self) -> int:
        """Devices in all."""
        return self.devices * self.num_nodes


def resolve(config: TrainConfig) -> Hardware:
    """Resolves every ``auto`` of the config.

    Raises:
        UserError: CUDA is asked for and absent, or has fewer devices than asked for.
    """
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    accelerator = config.accelerator
    if accelerator == "auto":
        accelerator = "cuda" if there else "cpu"
    on_cuda = accelerator == "cuda"
    if on_cuda and not there:
        raise UserError("--accelerator cuda: PyTorch finds no CUDA device here; use --accelerator cpu")
    devices = config.devices if config.devices != -1 else max(1, there if on_cuda else 1)
    if on_cuda and devices > there:
        raise UserError(f"--devices {devices}: this node has {there}; give that many, or -1 for all")
    cores = os.cpu_count() or 1
    if not on_cuda and devices > cores:
        log.warning("--devices %d: on a CPU a device is a process, and this machine has %d cores", devices, cores)
    precision = config.precision
    if precision == "auto":
        precision = "bf16-mixed" if multiplies_bf16(accelerator) else "32-true"
    strategy = config.strategy
    if strategy == "auto":
        strategy = "ddp" if devices * config.num_nodes > 1 else "single"
    return Hardware(
        accelerator=accelerator,
        precision=precision,
        compile=on_cuda if config.compile is None else config.compile and (on_cuda or has_compiler()),
        devices=devices,
        num_nodes=config.num_nodes,
        strategy=strategy,
        sharding=config.sharding,
    )


def shard(model: LanguageModel, mesh: DeviceMesh, hardware: Hardware) -> LanguageModel:
    """Spreads the weights over the devices, a layer at a time (FSDP2): whole while they are used, in parts otherwise.

    ``hybrid`` keeps a whole copy on each node, so that only gradients travel between nodes. Weights travel in float32,
    and autocast makes them smaller, as on one device: a run may change its strategy and compute the same.
    """
    data = mesh["data_parallel"]
    if hardware.sharding == "hybrid":
        data = init_device_mesh(
            hardware.accelerator, (hardware.num_nodes, hardware.devices), mesh_dim_names=("copies", "parts")
        )
    for block in model.transformer.h:
        fully_shard(block, mesh=data)
    return fully_shard(model, mesh=data)


def build_strategy(hardware: Hardware) -> Strategy | str:
    """Fabric's strategy; a single device needs none."""
    if hardware.strategy == "fsdp":
        return ModelParallelStrategy(
            partial(shard, hardware=hardware),
            data_parallel_size=hardware.world_size,
            tensor_parallel_size=1,
            timeout=LONGEST_WAIT,
        )
    return DDPStrategy(timeout=LONGEST_WAIT) if hardware.strategy == "ddp" else "auto"


def build_fabric(config: TrainConfig, hardware: Hardware) -> Fabric:
    """A launched Fabric, of as many processes as the config says.

    Raises:
        UserError: a global batch that doesn't divide over them, or a launcher that has started another number.
    """
    if config.global_batch_size % (config.micro_batch_size * hardware.world_size):
        raise UserError(
            f"--global_batch_size {config.global_batch_size} must be a multiple of --micro_batch_size "
            f"{config.micro_batch_size} times the {hardware.world_size} devices"
        )
    launched = launched_processes()
    if launched is not None and launched != hardware.world_size:
        raise UserError(wrong_number(launched, hardware))
    fabric = Fabric(
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        num_nodes=hardware.num_nodes,
        strategy=build_strategy(hardware),
        precision=hardware.precision,
    )
    fabric.launch()
    if fabric.world_size != hardware.world_size:
        raise UserError(wrong_number(fabric.world_size, hardware))
    return fabric


def wrong_number(processes: int, hardware: Hardware) -> str:
    """What to say where launcher and config disagree, before each process trains by itself."""
    return (
        f"{processes} processes were launched, but --devices {hardware.devices} times --num_nodes {hardware.num_nodes} "
        "is another number: make them agree (in a Slurm job start with srun, a task a device)"
    )


def end_children(fabric: Fabric) -> None:
    """Ends the processes that Lightning's own launcher has started, which would wait for this one for hours."""
    for process in getattr(getattr(fabric.strategy, "launcher", None), "procs", []):
        process.terminate()
