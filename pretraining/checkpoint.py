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
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)
from torch.optim import Optimizer

from pretraining.models import LanguageModel
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


def gather(model: LanguageModel, optimizer: Optimizer | None = None) -> dict[str, Any]:
    """Whole weights (and optimizer state, by the parameters' names) on the CPU; empty in all but the main process.

    The same whatever the strategy, so that a run may go on with another number of devices or spread in another way.
    """
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    if optimizer is None:
        return {"model": get_model_state_dict(model, options=options)}
    weights, moments = get_state_dict(model, optimizer, options=options)
    return {"model": weights, "optimizer": moments}


def save_checkpoint(
    fabric: Fabric, output: Path, model: LanguageModel, optimizer: Optimizer, progress: dict[str, Any], keep: int
) -> None:
    """Saves model, optimizer and ``progress`` (step, loader, rng), and removes all but the ``keep`` newest (0: none).

    Every process of a distributed run must call it; the main one writes.

    Raises:
        OSError: the disk is full or gone; earlier checkpoints are as they were.
    """
    state = gather(model, optimizer) | progress
    if fabric.is_global_zero:
        folder = output / CHECKPOINTS / f"step-{progress['step']:08d}"
        aside = start_aside(folder)
        try:
            save(state, aside / STATE)
        except OSError:
            shutil.rmtree(aside, ignore_errors=True)  # gives back what it took
            raise
        publish(aside, folder)
        if keep:
            for old in complete_checkpoints(output)[:-keep]:
                remove(old)
    fabric.barrier()


def save(content: dict[str, Any], path: Path) -> None:
    """``torch.save``, whose archive writer says of a full disk only that it is out of step with itself."""
    with path.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            if error.__context__ is not None and isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def load_newest(output: Path, model: LanguageModel, optimizer: Optimizer) -> dict[str, Any] | None:
    """Fills model and optimizer from the newest complete checkpoint, and returns its progress; None without one."""
    checkpoints = complete_checkpoints(output)
    if not checkpoints:
        return None
    state = torch.load(checkpoints[-1] / STATE, map_location="cpu", weights_only=True, mmap=True)
    set_state_dict(
        model,
        optimizer,
        model_state_dict=state.pop("model"),
        optim_state_dict=state.pop("optimizer"),
        options=StateDictOptions(full_state_dict=True, cpu_offload=False),
    )
    return state


def save_model(fabric: Fabric, output: Path, model: LanguageModel) -> None:
    """Writes the final weights as litgpt does: ``model/lit_model.pth`` and ``model/model_config.yaml``."""
    content = gather(model)
    if fabric.is_global_zero:
        folder = output / MODEL
        aside = start_aside(folder)
        save_config(model.config, aside)
        save(content, aside / WEIGHTS)
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
