"""`adaptation train`: full-parameter fine-tuning (paper, A.2), one checkpoint an epoch, and others on the way.

A generative refiner is trained by LLaMA-Factory, a tagger by the trainer beneath it, Hugging Face's.

A killed run goes on from its newest complete checkpoint with optimizer, schedule and random state, and ends with the
weights of an undisturbed one.
"""

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from adaptation.checkpoints import STATE_FILE, list_checkpoints, remove_incomplete, strip_resume_files
from adaptation.checks import check_base, check_prompts
from adaptation.configs import REPORT, TrainConfig
from prox import artifact
from prox.errors import UserError
from prox.progress import Progress
from prox.tracking import Mirror, start_wandb

log = logging.getLogger("prox")

CHECKPOINTS = "checkpoints"
METRICS = "metrics.jsonl"
TRAINING = "training.json"
LOG = "train.log"
CARD_SETTINGS = (
    "learning_rate",
    "min_learning_rate",
    "num_epochs",
    "global_batch_size",
    "warmup_ratio",
    "weight_decay",
    "lm_weight",
    "teacher_weight",
    "seed",
)
LOG_LINES_SHOWN = 15
POLL_SECONDS = 0.5


def train(config: TrainConfig) -> dict[str, Any]:
    """Trains, or finishes a killed training; writes `checkpoints/`, `metrics.jsonl`, `training.json`, `train.log`."""
    if config.data is None:
        raise UserError("--data is not set")
    report = artifact.read_json(config.data / REPORT)
    checkpoints = config.output / CHECKPOINTS
    checkpoints.mkdir(exist_ok=True)
    num_steps = config.num_steps(report["splits"]["train"]["num_examples"])
    begin = time.monotonic()
    if not (config.output / TRAINING).is_file():
        check_prompts(config.data, report["task"])
        check_base(config.base, report)
        newest = remove_incomplete(checkpoints)
        if newest is not None:
            log.info("adaptation train: going on from %s", newest)
        if resume_step(newest) < num_steps:
            run_launcher(config, launch_plan(config, report, newest), num_steps, resume_step(newest))
        record(config, report, num_steps)
    strip_resume_files(checkpoints)
    seconds = time.monotonic() - begin
    losses = [json.loads(line)["loss"] for line in (config.output / METRICS).read_text(encoding="utf-8").splitlines()]
    return {
        "checkpoints": len(list_checkpoints(checkpoints)),
        "steps": num_steps,
        "loss": f"{losses[0]:.3f} -> {losses[-1]:.3f}",
        "seconds": f"{seconds:.0f}",
    }


def resume_step(checkpoint: Path | None) -> int:
    """The optimizer step that training goes on from."""
    return artifact.read_json(checkpoint / STATE_FILE)["global_step"] if checkpoint else 0


def launch_plan(config: TrainConfig, report: dict[str, Any], resume_from: Path | None) -> dict[str, Any]:
    """What the launcher is told: the trainer's arguments, LLaMA-Factory's own, and where to write what."""
    arguments = {
        "output_dir": str(config.output / CHECKPOINTS),
        "resume_from_checkpoint": str(resume_from) if resume_from else None,
        "per_device_train_batch_size": config.micro_batch_size,
        "gradient_accumulation_steps": config.accumulation_steps,
        "train_sampling_strategy": "group_by_length" if config.group_by_length else "random",
        "num_train_epochs": float(config.num_epochs),
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr": config.min_learning_rate},
        "warmup_steps": config.warmup_ratio,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "save_strategy": "epoch",
        "logging_steps": config.log_every,
        "logging_first_step": True,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "seed": config.seed,
    }
    if config.strategy == "fsdp":
        arguments |= {"fsdp": "full_shard auto_wrap", "fsdp_config": {"state_dict_type": "FULL_STATE_DICT"}}
    factory = {
        "stage": "sft",
        "finetuning_type": "full",
        "do_train": True,
        "dataset": "train",
        # Export has left out every longer example, so nothing is cut here.
        "cutoff_len": report["context"],
        "overwrite_cache": True,
    }
    return {
        "base": config.base,
        "data": str(config.data),
        "arguments": arguments,
        "factory": factory,
        "gradient_checkpointing": config.gradient_checkpointing,
        "precision": config.precision,
        "context": report["context"],
        "lm_weight": config.lm_weight,
        "dropout": config.dropout,
        "teacher_weight": config.teacher_weight,
        "variation": {name: getattr(config, name) for name in ("shift_chunks", "line_dropout", "token_noise")},
        "metrics": str(config.output / METRICS),
        "save_every": config.save_every,
    }


def command_line(config: TrainConfig, plan: Path) -> list[str]:
    """The launcher's command line, under torchrun for several devices."""
    module = ["-m", "adaptation.launcher", str(plan)]
    if config.devices == 1:
        return [sys.executable, *module]
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={config.devices}"]
    return [sys.executable, *torchrun, *module]


def run_launcher(config: TrainConfig, plan: dict[str, Any], num_steps: int, first_step: int) -> None:
    """Runs the launcher to its end, its output in `train.log`, progress on the console, and the curve to W&B."""
    plan_path, cache = config.output / "launch.json", config.output / "cache"
    artifact.write_json(plan_path, plan)
    (config.output / METRICS).unlink(missing_ok=True)  # may hold steps after the checkpoint that is resumed
    root = str(Path(__file__).resolve().parent.parent)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")])),
        "HF_DATASETS_CACHE": str(cache.resolve()),  # the tokenised copy of the data goes away with the run
        "TOKENIZERS_PARALLELISM": "false",
        # Threads that spin while they wait make training many times slower where others use the same cores.
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
    }
    log_path = config.output / LOG
    mirror = start_wandb(config.tracking, config.output, config)
    with log_path.open("ab") as output:
        process = subprocess.Popen(
            command_line(config, plan_path),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        try:
            follow(process, config.output / METRICS, num_steps, mirror, first_step)
        finally:
            process.kill()
            process.wait()
            mirror.finish()
            shutil.rmtree(cache, ignore_errors=True)
            plan_path.unlink()
    if process.returncode:
        last = log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        raise UserError(
            f"the trainer ended with status {process.returncode}; the end of {log_path}:\n  " + "\n  ".join(last)
        )


def follow(process: "subprocess.Popen[bytes]", metrics: Path, num_steps: int, mirror: Mirror, first_step: int) -> None:
    """Shows progress from ``metrics`` until the process ends, and passes on what comes after ``first_step``."""
    with Progress("fine-tuning", num_steps, "steps", initial=first_step) as progress:
        while True:
            running = process.poll() is None
            lines = metrics.read_text(encoding="utf-8").splitlines() if metrics.is_file() else []
            for row in map(json.loads, lines):
                if row["step"] > progress.count:
                    mirror.log({name: value for name, value in row.items() if name != "step"}, row["step"])
                    progress.advance(row["step"] - progress.count, f"loss {row['loss']:.3f}")
            if not running:
                return
            time.sleep(POLL_SECONDS)


def record(config: TrainConfig, report: dict[str, Any], num_steps: int) -> None:
    """Writes `training.json`: that the training is over, and what a model card says about it."""
    train_split = report["splits"]["train"]
    facts = {
        "base": config.base,
        "task": report["task"],
        "num_examples": train_split["num_examples"],
        "num_tokens": train_split["num_tokens"] * config.num_epochs,
        "num_steps": num_steps,
        "settings": {name: getattr(config, name) for name in CARD_SETTINGS},
    }
    artifact.write_json(config.output / TRAINING, facts)
