"""Checkpoints of a training run on disk: which are complete, which can be resumed, what is needed to use one."""

import shutil
from pathlib import Path

from prox import artifact, dialogue
from prox.errors import UserError

STATE_FILE = "trainer_state.json"
OPTIMIZER_FILES = ("optimizer.pt", "optimizer.bin")
"""The trainer's own name for it, and accelerate's where FSDP has sharded it."""
BULKY_FILES = (*OPTIMIZER_FILES, "pytorch_model_fsdp.bin")
"""What of a checkpoint is as large as its weights, or twice as large; the last is FSDP's own copy of them."""
# Written by the trainer for resuming only; removed when the run is over.
RESUME_FILES = (*BULKY_FILES, "scheduler.pt", "rng_state*.pth", "training_args.bin")


def checkpoint_folder(folder: Path, step: int) -> Path:
    """Where the trainer puts the checkpoint of an optimizer step."""
    return folder / f"checkpoint-{step}"


def list_checkpoints(folder: Path) -> list[Path]:
    """Checkpoint folders by step, complete or not."""
    found = [path for path in folder.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit()]
    return sorted(found, key=step_of)


def step_of(checkpoint: Path) -> int:
    """The optimizer step that a checkpoint folder was written after."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def ends_epoch(checkpoint: Path) -> bool:
    """False when the checkpoint was written on the way through an epoch, only for going on from it."""
    return float(artifact.read_json(checkpoint / STATE_FILE)["epoch"]).is_integer()


def is_readable(checkpoint: Path) -> bool:
    """True when the checkpoint was written to its end and the header of every weights file can be read."""
    from safetensors import SafetensorError, safe_open

    weights = sorted(checkpoint.glob("*.safetensors"))
    if not weights or not (checkpoint / STATE_FILE).is_file() or not (checkpoint / dialogue.FILE_NAME).is_file():
        return False
    try:
        artifact.read_json(checkpoint / STATE_FILE)
        for file in weights:
            with safe_open(file, framework="np") as tensors:
                tensors.keys()
    except (SafetensorError, OSError, UserError):
        return False
    return True


def remove_incomplete(folder: Path) -> Path | None:
    """Removes what a killed run left half-written; returns the newest checkpoint, None when there is none.

    Where the newest can't be resumed, as its optimizer state is missing, all are removed: training starts over rather
    than go on from another state than the undisturbed run's.
    """
    complete = []
    for checkpoint in list_checkpoints(folder):
        if is_readable(checkpoint):
            complete.append(checkpoint)
        else:
            shutil.rmtree(checkpoint)
    if complete and not any((complete[-1] / name).is_file() for name in OPTIMIZER_FILES):
        for checkpoint in complete:
            shutil.rmtree(checkpoint)
        return None
    return complete[-1] if complete else None


def remove_outdated(folder: Path) -> None:
    """Of all checkpoints but the newest, removes what only resuming takes: those within an epoch as a whole, also where
    that was begun before, of the others the bulk of it."""
    for checkpoint in list_checkpoints(folder)[:-1]:
        if not (is_readable(checkpoint) and ends_epoch(checkpoint)):
            shutil.rmtree(checkpoint)
            continue
        for name in BULKY_FILES:
            (checkpoint / name).unlink(missing_ok=True)


def strip_resume_files(folder: Path) -> None:
    """Leaves of a finished run's folder only the epochs' checkpoints, and of those only what using one takes."""
    remove_outdated(folder)
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
    for checkpoint in list_checkpoints(folder):
        for pattern in RESUME_FILES:
            for file in checkpoint.glob(pattern):
                file.unlink()
