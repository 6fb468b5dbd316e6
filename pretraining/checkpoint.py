"""Resumable checkpoints: ``checkpoints/step-00000100/state.ckpt``, each there whole or not at all.

A checkpoint is written aside, flushed to the disk and renamed, so that a name without a leading dot means complete;
older ones go only after the newer one is in place.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from litgpt import GPT, Config
from litgpt.utils import save_config

from prox.errors import UserError

CHECKPOINTS = "checkpoints"
STATE = "state.ckpt"
MODEL = "model"
WEIGHTS = "lit_model.pth"
# The context is left out: weights may be trained on at another.
ARCHITECTURE = (
    "n_layer",
    "n_embd",
    "n_head",
    "n_query_groups",
    "head_size",
    "intermediate_size",
    "padded_vocab_size",
    "norm_class_name",
    "norm_eps",
    "mlp_class_name",
    "parallel_residual",
    "bias",
    "rotary_percentage",
    "rope_base",
)


def sync_to_disk(folder: Path) -> None:
    """Flushes a folder's files, then the folder itself."""
    for path in [*(file for file in folder.rglob("*") if file.is_file()), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def publish(aside: Path, folder: Path) -> None:
    """Renames a finished folder to its name, for good."""
    sync_to_disk(aside)
    remove(folder)
    aside.rename(folder)
    sync = os.open(folder.parent, os.O_RDONLY)
    try:
        os.fsync(sync)
    finally:
        os.close(sync)


def remove(folder: Path) -> None:
    """Deletes a folder under another name, so that a kill leaves no half of it under this one."""
    if folder.exists():
        condemned = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(condemned, ignore_errors=True)
        folder.rename(condemned)
        shutil.rmtree(condemned)


def start_aside(folder: Path) -> Path:
    """An empty folder next to ``folder`` to write into."""
    aside = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    return aside


def complete_checkpoints(output: Path) -> list[Path]:
    """The complete checkpoints, oldest first."""
    return sorted((output / CHECKPOINTS).glob("step-*"), key=step_of)


def step_of(checkpoint: Path) -> int:
    """The number of optimizer steps that a checkpoint has behind it."""
    return int(checkpoint.name.removeprefix("step-"))


def save_checkpoint(fabric: Fabric, output: Path, state: dict[str, Any], keep: int) -> Path:
    """Saves ``state`` (model, optimizer, step, loader, rng) and removes all but the ``keep`` newest (0: none).

    Every process of a distributed run must call it.
    """
    folder = output / CHECKPOINTS / f"step-{state['step']:08d}"
    aside = folder.with_name(f".{folder.name}.tmp")
    if fabric.is_global_zero:
        start_aside(folder)
    fabric.barrier()
    fabric.save(aside / STATE, state)
    fabric.barrier()
    if fabric.is_global_zero:
        publish(aside, folder)
        if keep:
            for old in complete_checkpoints(output)[:-keep]:
                remove(old)
    fabric.barrier()
    return folder


def load_newest(fabric: Fabric, output: Path, state: dict[str, Any]) -> bool:
    """Fills ``state`` from the newest complete checkpoint; False when there is none."""
    checkpoints = complete_checkpoints(output)
    if not checkpoints:
        return False
    state.update(fabric.load(checkpoints[-1] / STATE, {"model": state["model"], "optimizer": state["optimizer"]}))
    return True


def save_model(fabric: Fabric, output: Path, model: torch.nn.Module, config: Any) -> None:
    """Writes the final weights as litgpt does: ``model/lit_model.pth`` and ``model/model_config.yaml``."""
    folder = output / MODEL
    aside = folder.with_name(f".{folder.name}.tmp")
    if fabric.is_global_zero:
        save_config(config, start_aside(folder))
    fabric.barrier()
    fabric.save(aside / WEIGHTS, {"model": model})
    fabric.barrier()
    if fabric.is_global_zero:
        publish(aside, folder)
    fabric.barrier()


def read_weights(artifact: Path, step: int | None = None) -> dict[str, torch.Tensor]:
    """The weights of a train artefact on the CPU: final, or those of the checkpoint at ``step``."""
    path = artifact / MODEL / WEIGHTS if step is None else artifact / CHECKPOINTS / f"step-{step:08d}" / STATE
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return content["model"]


def load_weights(model: GPT, artifact: Path) -> None:
    """Copies the final weights of an earlier train (or import) artefact into ``model``.

    Raises:
        UserError: they are of another architecture. Some differences no weight's shape would give away: the number of
            heads, the rotary base.
    """
    there = Config.from_file(artifact / MODEL / "model_config.yaml")
    differences = [
        f"{name} is {getattr(there, name)!r}, not {getattr(model.config, name)!r}"
        for name in ARCHITECTURE
        if getattr(there, name) != getattr(model.config, name)
    ]
    if differences:
        raise UserError(
            f"--init_from {artifact} has another architecture than --model {model.config.name}: its "
            f"{'; its '.join(differences)}"
        )
    model.load_state_dict(read_weights(artifact), strict=True)
