"""Trains a language model on token shards: a plain Lightning Fabric loop over litgpt's GPT.

Whatever decides the result (weights, optimizer, place in the data, random state) is in each checkpoint, so a run that
was killed and started again ends with the weights of an undisturbed one.
"""

import logging
import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from lightning.fabric import Fabric
from litgpt import GPT

from pretraining.checkpoint import load_newest, load_weights, save_checkpoint, save_model
from pretraining.configs import TrainConfig
from pretraining.hardware import Hardware, build_fabric, resolve
from pretraining.loader import SequenceLoader, TokenStream
from pretraining.models import initialise, language_model_loss, litgpt_config
from pretraining.schedule import learning_rate
from prox.errors import UserError
from prox.progress import Progress
from prox.tracking import Tracker

log = logging.getLogger("prox")


@dataclass
class Training:
    """A model, its optimizer, and how to run them."""

    fabric: Fabric
    hardware: Hardware
    model: torch.nn.Module
    optimizer: torch.optim.Optimizer


def set_up(config: TrainConfig) -> Training:
    """Builds the model (freshly initialised, or from ``init_from``) and the optimizer on the chosen hardware.

    Raises:
        UserError: the hardware can't do what the config asks, or ``init_from`` has another architecture.
    """
    torch.set_float32_matmul_precision("high")
    for library in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(library).setLevel(logging.WARNING)  # our own lines say device, precision and seed
    hardware = resolve(config)
    fabric = build_fabric(config, hardware)
    fabric.seed_everything(config.seed, verbose=False)
    with fabric.init_module(empty_init=False):
        model = GPT(litgpt_config(config.resolved_shape()))
        initialise(model, config.seed)
    model.max_seq_length = config.resolved_sequence_length()
    if config.init_from is not None:
        load_weights(model, config.init_from)
    if hardware.compile:
        model = torch.compile(model)
    model = fabric.setup_module(model)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=True,
    )
    return Training(fabric, hardware, model, fabric.setup_optimizers(optimizer))


def optimizer_step(
    config: TrainConfig, training: Training, batch: torch.Tensor, rate: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """One update from one batch, (sequences of this device, T + 1); returns the mean loss and the gradient's norm."""
    fabric, model, optimizer = training.fabric, training.model, training.optimizer
    for group in optimizer.param_groups:
        group["lr"] = rate
    parts = batch.split(config.micro_batch_size)
    total = torch.zeros((), device=fabric.device)
    for number, part in enumerate(parts, start=1):
        with fabric.no_backward_sync(model, enabled=number < len(parts)):
            loss = language_model_loss(model, part, training.hardware.head_chunk) / len(parts)
            fabric.backward(loss)
        total += loss.detach()
    norm = fabric.clip_gradients(model, optimizer, max_norm=config.max_gradient_norm, error_if_nonfinite=False)
    optimizer.step()
    optimizer.zero_grad()
    return total, norm


def check_finite(step: int, loss: float, norm: float) -> None:
    """Stops a training that has blown up, before its checkpoint replaces a good one."""
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise UserError(
            f"the training diverged at step {step} (loss {loss}, gradient norm {norm}): lower --learning_rate, or "
            "lengthen --warmup_steps"
        )


def report_data(config: TrainConfig, loader: SequenceLoader) -> None:
    """Says what an epoch is and how many will be run."""
    wanted = config.resolved_steps() * config.global_batch_size
    log.info(
        "pretraining train: %s tokens are %s sequences of %d and %d over (reached by each epoch's own offset); %s "
        "sequences to train on, %.2f epochs",
        f"{len(loader.stream):,}",
        f"{loader.num_sequences:,}",
        loader.sequence_length,
        loader.remainder,
        f"{wanted:,}",
        wanted / loader.num_sequences,
    )


def train(config: TrainConfig) -> dict[str, Any]:
    """Trains to the end, from the newest checkpoint if there is one; returns loss, tokens and speed of this run."""
    training = set_up(config)
    fabric = training.fabric
    loader = SequenceLoader(
        TokenStream(config.tokens),
        config.resolved_sequence_length(),
        config.seed,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
    )
    state = {
        "model": training.model,
        "optimizer": training.optimizer,
        "step": 0,
        "loader": loader.state(),
        "rng": torch.get_rng_state(),
    }
    if load_newest(fabric, config.output, state):
        loader.restore(state["loader"])
        torch.set_rng_state(state["rng"])
        log.info("pretraining train: continuing after step %d", state["step"])
    elif fabric.is_global_zero:
        report_data(config, loader)
    with Tracker(
        config.tracking, config.output, resume_step=state["step"], settings=config, is_main=fabric.is_global_zero
    ) as tracker:
        summary = run_steps(config, training, loader, state, tracker)
    save_model(fabric, config.output, training.model, litgpt_config(config.resolved_shape()))
    return summary


class Meter:
    """Turns a step into its metrics; the speed is that of the steps since the last call."""

    def __init__(self, config: TrainConfig, first: int) -> None:
        self._step_tokens = config.global_batch_size * config.resolved_sequence_length()
        self._first = self._step = first
        self._begin = self._last = time.monotonic()

    def metrics(self, step: int, loss: float, norm: float, rate: float, epoch: float) -> dict[str, float]:
        """One line of ``metrics.jsonl``: loss in nats per token, speed in tokens per second."""
        now = time.monotonic()
        speed = (step - self._step) * self._step_tokens / max(now - self._last, 1e-9)
        self._step, self._last = step, now
        return {
            "loss": loss,
            "learning_rate": rate,
            "gradient_norm": norm,
            "tokens": step * self._step_tokens,
            "epoch": epoch,
            "tokens_per_second": speed,
        }

    def average_speed(self) -> float:
        """Tokens per second of this process so far."""
        return (self._step - self._first) * self._step_tokens / max(self._last - self._begin, 1e-9)


def run_steps(
    config: TrainConfig, training: Training, loader: SequenceLoader, state: dict[str, Any], tracker: Tracker
) -> dict[str, Any]:
    """The loop: batch, update, metrics, checkpoint. The loss is read, which waits for the device, only to be logged."""
    fabric, first, last = training.fabric, state["step"], config.resolved_steps()
    meter, metrics, note = Meter(config, first), {}, ""
    training.model.train()
    with Progress("pretraining train", last, "steps", initial=first) as progress:
        for step in range(first + 1, last + 1):
            batch = fabric.to_device(torch.from_numpy(loader.next_batch(config.global_batch_size)))
            rate = learning_rate(config, step)
            loss, norm = optimizer_step(config, training, batch, rate)
            saves = step % config.save_interval == 0 and step < last
            if step % config.log_interval == 0 or step in (1, last) or saves:
                mean_loss = float(fabric.all_reduce(loss, reduce_op="mean"))
                check_finite(step, mean_loss, float(norm))
                epoch = loader.epoch + loader.index / loader.num_sequences
                metrics = meter.metrics(step, mean_loss, float(norm), rate, epoch)
                tracker.log(step, metrics)
                note = f"loss {mean_loss:.3f}, lr {rate:.2e}, {metrics['tokens_per_second']:,.0f} tokens/s"
            progress.advance(1, note)
            if saves:
                state.update(step=step, loader=loader.state(), rng=torch.get_rng_state())
                save_checkpoint(fabric, config.output, state, config.keep_checkpoints)
    return {
        "model": config.resolved_shape().name,
        "step": last,
        "tokens": metrics["tokens"],
        "loss": round(metrics["loss"], 4),
        "tokens_per_second": round(meter.average_speed()),
        "precision": training.hardware.precision,
    }
