"""Resumable checkpoints: ``checkpoints/step-00000100/state.ckpt``, each there whole or not at all.

A checkpoint is written aside, flushed to the disk and renamed, so that a name without a leading dot means complete;
older ones go only after the newer one is in place.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import Optimizer

from pretraining.models import LanguageModel
from prox.errors import UserError

CHECKPOINTS = "checkpoints"
STATE = "state.ckpt"
MODEL = "model"
WEIGHTS = "lit_model.pth"
CONFIG = "model_config.yaml"
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


def remove(folder: Path) -> None:
    """Deletes a folder under another name, so that a kill leaves no half of it under this one."""
    if folder.exists():
        condemned = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(condemned, ignore_errors=True)
        folder.rename(condemned)
        shutil.rmtree(condemned, ignore_errors=True)  # what is left is hidden, and goes with the next one


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """An empty folder to write into, which takes its name when everything in it is on the disk.

    Left by an error, a full disk for example, it is deleted, and what stood there before stays.
    """
    aside = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
        sync_to_disk(aside)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)  # gives back what it took
        raise
    remove(folder)
    aside.rename(folder)
    sync = os.open(folder.parent, os.O_RDONLY)
    try:
        os.fsync(sync)
    finally:
        os.close(sync)


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


def by_main_process(fabric: Fabric, write: Callable[[], None]) -> None:
    """Has the main process write while the others wait. What fails there ends all of them.

    Raises:
        OSError: in the main process, the disk is full or gone.
        UserError: in the others.
    """
    failure: OSError | None = None
    if fabric.is_global_zero:
        try:
            write()
        except OSError as error:
            failure = error
    if fabric.broadcast(failure is not None):
        raise failure or UserError("the main process could not save")


def save_checkpoint(
    fabric: Fabric, output: Path, model: LanguageModel, optimizer: Optimizer, progress: dict[str, Any], keep: int
) -> None:
    """Saves model, optimizer and ``progress`` (step, loader, rng), and removes all but the ``keep`` newest (0: none).

    Every process of a distributed run must call it; the main one writes.

    Raises:
        OSError: the disk is full or gone; earlier checkpoints are as they were.
    """
    state = gather(model, optimizer) | progress

    def write() -> None:
        with new_folder(output / CHECKPOINTS / f"step-{progress['step']:08d}") as folder:
            save_config(model.config, folder)
            save(state, folder / STATE)
        if keep:
            for old in complete_checkpoints(output)[:-keep]:
                remove(old)

    by_main_process(fabric, write)


def save(content: dict[str, Any], path: Path) -> None:
    """``torch.save``, whose archive writer says of a full disk only that it is out of step with itself."""
    with path.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def load_newest(fabric: Fabric, output: Path, model: LanguageModel, optimizer: Optimizer) -> dict[str, Any] | None:
    """Fills model and optimizer from the newest complete checkpoint, and returns its progress; None without one.

    The main process looks and reads, for all: others may not see yet what is on a network's disk.
    """
    newest = fabric.broadcast(next(reversed(complete_checkpoints(output)), None))
    if newest is None:
        return None
    state: dict[str, Any] = {"model": {}, "optimizer": {}}
    if fabric.is_global_zero:
        # Not mapped: a mapped file could not be deleted for good while the run goes on.
        state = torch.load(newest / STATE, map_location="cpu", weights_only=True)
    weights, moments = state.pop("model"), state.pop("optimizer")
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=fabric.world_size > 1)
    # One by one: set_state_dict takes empty weights, which all but one process have, for none to be set.
    set_model_state_dict(model, weights, options=options)
    set_optimizer_state_dict(model, optimizer, moments, options=options)
    return fabric.broadcast(state)


def save_model(fabric: Fabric, output: Path, model: LanguageModel) -> None:
    """Writes the final weights as litgpt does: ``model/lit_model.pth`` and ``model/model_config.yaml``."""
    content = gather(model)

    def write() -> None:
        with new_folder(output / MODEL) as folder:
            save_config(model.config, folder)
            save(content, folder / WEIGHTS)

    by_main_process(fabric, write)


def weights_folder(artifact: Path, step: int | None = None) -> Path:
    """Where an artefact of `train` or `import` has its weights and their config: final, or of the checkpoint at
    ``step``."""
    return artifact / MODEL if step is None else artifact / CHECKPOINTS / f"step-{step:08d}"


def read_weights(artifact: Path, step: int | None = None) -> dict[str, torch.Tensor]:
    """The weights of an artefact on the CPU."""
    path = weights_folder(artifact, step) / (WEIGHTS if step is None else STATE)
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)["model"]


def load_weights(model: GPT, artifact: Path) -> None:
    """Copies the final weights of an earlier train (or import) artefact into ``model``.

    Raises:
        UserError: they are of another architecture. Some differences no weight's shape would give away: the number of
            heads, the rotary base.
    """
    there = Config.from_file(weights_folder(artifact) / CONFIG)
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
