"""Runs the trainer in a process of its own: ``python -m adaptation.launcher RUN.json`` (or under torchrun).

``adaptation train`` starts it and holds the other end of its standard input: when that closes, `train` is gone, killed
perhaps, and this process ends too, so that a rerun never meets an orphan writing the same files.
"""

import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptation.checks import check_template, first_rows
from adaptation.factory import TEMPLATE, register_template, without_torchaudio
from prox import artifact
from prox.dialogue import Dialogue, load_dialogue
from prox.errors import UserError
from prox.precision import multiplies_bf16

if TYPE_CHECKING:
    from transformers import TrainerCallback


def end_with_parent() -> None:
    """Ends this process as soon as its standard input closes."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1):  # unbuffered: a buffer's lock would be in the way of a normal exit
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def number_format(precision: str) -> dict[str, bool]:
    """The trainer's arguments for the device found and the precision asked for."""
    import torch

    cuda = torch.cuda.is_available()
    if precision == "bf16" and cuda and not torch.cuda.is_bf16_supported():
        raise UserError("precision is bf16, which this GPU doesn't support: use fp32")
    use_bf16 = precision == "bf16" or (precision == "auto" and multiplies_bf16("cuda" if cuda else "cpu"))
    return {"bf16": use_bf16, "fp16": False, "use_cpu": not cuda}


def run(plan: dict[str, Any]) -> None:
    """Trains; ``plan`` is what ``adaptation.train.launch_plan`` returns."""
    from adaptation.recorder import EpochOrder, Recorder

    dialogue = load_dialogue(plan["data"], Dialogue())
    arguments = plan["arguments"] | number_format(plan["precision"])
    if arguments["use_cpu"] and "fsdp" in arguments:
        raise UserError("strategy is fsdp, but no GPU is here, and on CPU nothing would be sharded: use ddp")
    callbacks = [Recorder(Path(plan["metrics"]), dialogue, plan["save_every"]), EpochOrder()]
    if dialogue.kind == "tagger":
        from adaptation.tagger import train_tagger

        train_tagger(arguments | {"gradient_checkpointing": plan["gradient_checkpointing"]}, plan, dialogue, callbacks)
    else:
        run_factory(arguments, plan, dialogue, callbacks)


def run_factory(
    arguments: dict[str, Any], plan: dict[str, Any], dialogue: Dialogue, callbacks: "list[TrainerCallback]"
) -> None:
    """Registers the template and has LLaMA-Factory train."""
    from transformers import AutoTokenizer

    from adaptation.recorder import AnswerLogits

    tokenizer = AutoTokenizer.from_pretrained(plan["base"])
    check_template(register_template(dialogue), dialogue, tokenizer, first_rows(Path(plan["data"])))
    with without_torchaudio():
        from llamafactory.train.tuner import run_exp
    more = {
        "model_name_or_path": plan["base"],
        "dataset_dir": plan["data"],
        "template": TEMPLATE,
        "disable_gradient_checkpointing": not plan["gradient_checkpointing"],
    }
    run_exp(args=arguments | plan["factory"] | more, callbacks=[*callbacks, AnswerLogits()])


if __name__ == "__main__":
    end_with_parent()
    try:
        run(artifact.read_json(Path(sys.argv[1])))
    except UserError as error:
        sys.exit(f"error: {error}")
