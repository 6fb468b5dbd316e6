"""Trainer callbacks: the loss curve, checkpoints that are complete and can be resumed, and logits of the answers alone.

Imported by the launcher only.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from accelerate.data_loader import SeedableRandomSampler
from accelerate.utils import extract_model_from_parallel
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from adaptation.answer_logits import compute_answer_logits_only
from adaptation.checkpoints import checkpoint_folder, remove_outdated
from prox.artifact import write_atomically
from prox.dialogue import Dialogue

ANSWER_LOGITS_LINE = "prox: logits are computed for the answers alone"
"""In `train.log`."""


class Recorder(TrainerCallback):
    """Keeps ``metrics.jsonl`` in step with the trainer's own history, which a resumed run restores.

    The trainer saves where an epoch ends; this has it save every ``save_every`` steps besides, unless that is 0, and
    keeps of those checkpoints only the newest.
    """

    def __init__(self, metrics: Path, dialogue: Dialogue, save_every: int) -> None:
        self.metrics, self.dialogue, self.save_every = metrics, dialogue, save_every

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        at_epoch_end = float(state.epoch or 0).is_integer()
        if self.save_every and state.global_step % self.save_every == 0 and not at_epoch_end:
            control.should_save = control.should_log = True

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        # A logged loss is the mean since the last one, which a checkpoint does not hold: no mean may span one.
        control.should_log = True

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.is_world_process_zero:
            rows = [json.dumps(_row(entry)) + "\n" for entry in state.log_history if "loss" in entry]
            write_atomically(self.metrics, "".join(rows))

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if dist.is_initialized():
            dist.barrier()  # every process has written its own part
        if not state.is_world_process_zero:
            return
        folder = checkpoint_folder(Path(args.output_dir), state.global_step)
        # The dialogue is the last file of a checkpoint: where it lies, everything before it was written.
        self.dialogue.save(folder)
        remove_outdated(Path(args.output_dir))


class EpochOrder(TrainerCallback):
    """Has the order of an epoch's examples follow from seed and epoch, so that a run resumed within one finds it again.

    Where examples of like length are put into one batch, the trainer draws it from the process's random numbers, whose
    state at the epoch's begin no checkpoint holds.
    """

    def on_epoch_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        train_dataloader: DataLoader,
        **_: Any,
    ) -> None:
        batches = train_dataloader.batch_sampler
        while hasattr(batches, "batch_sampler"):  # of several processes, each has its share of the batches
            batches = batches.batch_sampler
        if isinstance(batches.sampler, SeedableRandomSampler):
            return  # follows from seed and epoch by itself
        seed = np.random.SeedSequence((args.seed, epoch_of(state))).generate_state(1)[0]
        batches.sampler.generator = torch.Generator().manual_seed(int(seed))


def epoch_of(state: TrainerState) -> int:
    """The epoch that is begun, or gone on with, counted from 0."""
    return int(state.epoch or 0)


class AnswerLogits(TrainerCallback):
    """See ``compute_answer_logits_only``; the model is ready, wrapped for its number format, when training begins."""

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: PreTrainedModel,
        **_: Any,
    ) -> None:
        # DDP, FSDP and DeepSpeed wrap the model that computes the logits.
        if compute_answer_logits_only(extract_model_from_parallel(model)):
            print(ANSWER_LOGITS_LINE, flush=True)
        else:
            print(f"prox: {type(model).__name__} computes the logits of every token", flush=True)


def _row(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: entry[name] for name in ("step", "epoch", "loss", "learning_rate", "grad_norm") if name in entry}
