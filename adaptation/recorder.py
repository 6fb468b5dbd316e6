"""Trainer callbacks: the loss curve, the mark that a checkpoint is complete, and logits of the answers alone.

Imported by the launcher only.
"""

import json
from pathlib import Path
from typing import Any

from accelerate.utils import extract_model_from_parallel
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from adaptation.answer_logits import compute_answer_logits_only
from adaptation.checkpoints import OPTIMIZER_FILES, checkpoint_folder, list_checkpoints
from prox.artifact import write_atomically
from prox.dialogue import Dialogue

ANSWER_LOGITS_LINE = "prox: logits are computed for the answers alone"
"""In `train.log`."""


class Recorder(TrainerCallback):
    """Keeps ``metrics.jsonl`` in step with the trainer's own history, which a resumed run restores."""

    def __init__(self, metrics: Path, dialogue: Dialogue) -> None:
        self.metrics, self.dialogue = metrics, dialogue

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        # A logged loss is the mean since the last one, which a checkpoint does not hold: no mean may span one.
        control.should_log = True

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.is_world_process_zero:
            rows = [json.dumps(_row(entry)) + "\n" for entry in state.log_history if "loss" in entry]
            write_atomically(self.metrics, "".join(rows))

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        folder = checkpoint_folder(Path(args.output_dir), state.global_step)
        # The dialogue is the last file of a checkpoint: where it lies, everything before it was written.
        self.dialogue.save(folder)
        for earlier in list_checkpoints(Path(args.output_dir)):
            if earlier != folder:
                for name in OPTIMIZER_FILES:
                    (earlier / name).unlink(missing_ok=True)  # twice the model's size; only the newest resumes


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
