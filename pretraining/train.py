"""Trains a language model on token shards: a plain Lightning Fabric loop over litgpt's GPT.

Whatever decides the result (weights, optimizer, place in the data, random state) is in each checkpoint, so a run that
was killed and started again ends with the weights of an undisturbed one.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.fabric import Fabric
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.tensor import DTensor

from pretraining.checkpoint import load_newest, load_weights, save_checkpoint, save_model
from pretraining.hardware import Hardware, build_fabric, end_children, resolve
from pretraining.loader import SequenceLoader, TokenStream
from pretraining.meter import Meter
from pretraining.models import LanguageModel, initialise, language_model_loss, litgpt_config
from pretraining.schedule import learning_rate
from pretraining.train_config import TrainConfig
from pretraining.validation import Validation
from prox.errors import UserError
from prox.progress import Progress
from prox.tracking import Tracker

log = logging.getLogger("prox")

MANY_EPOCHS = 16
"""Readings of a corpus from which on a word is due: they teach ever less from the fourth on."""


@dataclass
class Training:
    """A model, its optimizer, and how to run them."""

    fabric: Fabric
    hardware: Hardware
    model: torch.nn.Module
    """As Fabric runs it."""
    optimizer: torch.optim.Optimizer

    @property
    def bare_model(self) -> LanguageModel:
        """The model itself, whose parameters have their own names."""
        return self.model.module

    @property
    def bare_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer without Fabric's wrapper."""
        return self.optimizer.optimizer


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
    model = build_model(config, fabric, hardware)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=True,
    )
    return Training(fabric, hardware, model, fabric.setup_optimizers(optimizer))


def build_model(config: TrainConfig, fabric: Fabric, hardware: Hardware) -> torch.nn.Module:
    """The model with its first weights, as Fabric runs it. A sharded one is whole in the main process's memory only."""
    sharded = hardware.strategy == "fsdp"
    with fabric.init_module(empty_init=sharded):
        model = LanguageModel(litgpt_config(config.resolved_shape()), recompute=config.activation_checkpointing)
        model.max_seq_length = config.resolved_sequence_length()
    if hardware.compile:
        for block in model.transformer.h:
            block.compile()  # the layers are alike: one of them is compiled
    if not sharded:
        first_weights(config, model)
        return fabric.setup_module(model)
    wrapped = fabric.setup_module(model)
    whole = {}
    if fabric.is_global_zero:
        source = LanguageModel(model.config)
        first_weights(config, source)
        whole = source.state_dict()
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    set_model_state_dict(wrapped.module, whole, options=options)
    return wrapped


def first_weights(config: TrainConfig, model: LanguageModel) -> None:
    """Fills ``model`` with what training starts from."""
    if config.init_from is None:
        initialise(model, config.seed)
    else:
        load_weights(model, config.init_from)


def optimizer_step(
    config: TrainConfig, training: Training, batch: torch.Tensor, rate: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """One update from one batch, (sequences of this device, T + 1); returns the mean loss and the gradient's norm."""
    fabric, model, optimizer = training.fabric, training.model, training.optimizer
    for group in optimizer.param_groups:
        group["lr"] = rate
    parts, waits = batch.split(config.micro_batch_size), training.hardware.strategy == "ddp"
    total = torch.zeros((), device=fabric.device)
    for number, part in enumerate(parts, start=1):
        # FSDP would hold whole gradients where it waits with sharing them out.
        with fabric.no_backward_sync(model, enabled=waits and number < len(parts)):
            loss = language_model_loss(model, part) / len(parts)
            fabric.backward(loss)
        total += loss.detach()
    norm = fabric.clip_gradients(model, optimizer, max_norm=config.max_gradient_norm, error_if_nonfinite=False)
    optimizer.step()
    optimizer.zero_grad()
    return total, norm.full_tensor() if isinstance(norm, DTensor) else norm


def check_finite(step: int, loss: float, norm: float) -> None:
    """Stops a training that has blown up, before its checkpoint replaces a good one."""
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise UserError(
            f"the training diverged at step {step} (loss {loss}, gradient norm {norm}): lower --learning_rate, or "
            "lengthen --warmup_steps"
        )


def report_data(config: TrainConfig, loader: SequenceLoader) -> None:
    """Says what an epoch of each source is, and how many will be run."""
    wanted = config.last_step() * config.global_batch_size
    shares = zip(loader.sources, loader.shares, strict=True)
    most = max(share * wanted / source.num_sequences for source, share in shares)
    if most > MANY_EPOCHS:
        log.warning(
            "pretraining train: the corpus will be read %.0f times: give more documents, or fewer --max_steps", most
        )
    for source, share in zip(loader.sources, loader.shares, strict=True):
        log.info(
            "pretraining train: %s: %s tokens are %s sequences of %d and %d over (reached by each epoch's own offset); "
            "%s sequences to train on, %.2f epochs",
            source.stream.artifact,
            f"{len(source.stream):,}",
            f"{source.num_sequences:,}",
            source.sequence_length,
            source.remainder,
            f"{round(share * wanted):,}",
            share * wanted / source.num_sequences,
        )


def train(config: TrainConfig) -> dict[str, Any]:
    """Trains to the end, from the newest checkpoint if there is one; returns loss, tokens and speed of this run."""
    streams = [TokenStream(source.tokens) for source in config.sources()]
    training = set_up(config)
    try:
        return train_on(config, training, streams)
    except BaseException:
        end_children(training.fabric)
        raise


def train_on(config: TrainConfig, training: Training, streams: Sequence[TokenStream]) -> dict[str, Any]:
    """See ``train``."""
    fabric = training.fabric
    loader = SequenceLoader(
        streams,
        [source.weight for source in config.sources()],
        config.resolved_sequence_length(),
        config.seed,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
    )
    begun = load_newest(fabric, config.output, training.bare_model, training.bare_optimizer)
    if begun is not None:
        loader.restore(begun["loader"])
        torch.set_rng_state(begun["rng"])
        log.info("pretraining train: continuing after step %d", begun["step"])
    else:
        begun = {"step": 0, "metrics": {}}
        report_data(config, loader)
    with Tracker(
        config.tracking, config.output, resume_step=begun["step"], settings=config, is_main=fabric.is_global_zero
    ) as tracker:
        summary = run_steps(config, training, loader, begun, tracker)
    save_model(fabric, config.output, training.bare_model)
    return summary


def run_steps(
    config: TrainConfig, training: Training, loader: SequenceLoader, begun: dict[str, Any], tracker: Tracker
) -> dict[str, Any]:
    """The loop: batch, update, metrics, checkpoint. The loss is read, which waits for the device, only to be logged.

    ``begun`` says the step that is done, and its metrics. The last step is saved too, so that no failure in writing the
    final weights costs a training.
    """
    fabric, first, last = training.fabric, begun["step"], config.last_step()
    meter, metrics, note = Meter(config, training.hardware, fabric.device, first), begun["metrics"], ""
    validation = Validation(config, fabric) if config.validation is not None else None
    training.model.train()
    with Progress("pretraining train", last, "steps", initial=first) as progress:
        for step in range(first + 1, last + 1):
            batch = fabric.to_device(torch.from_numpy(loader.next_batch(config.global_batch_size)))
            rate = learning_rate(config, step)
            loss, norm = optimizer_step(config, training, batch, rate)
            saves = step % config.save_interval == 0 or step == last
            validates = validation is not None and (step % config.validation_interval == 0 or step == last)
            if step % config.log_interval == 0 or step == 1 or saves or validates:
                mean_loss = float(fabric.all_reduce(loss, reduce_op="mean"))
                check_finite(step, mean_loss, float(norm))
                metrics = meter.metrics(step, mean_loss, float(norm), rate, loader.epochs)
                if validates:
                    with meter.stopped():
                        metrics |= validation.measure(training.model)
                tracker.log(step, metrics)
                note = f"loss {mean_loss:.3f}, lr {rate:.2e}, {metrics['tokens_per_second']:,.0f} tokens/s"
            progress.advance(1, note)
            if saves:
                with meter.stopped():
                    place = {"step": step, "metrics": metrics, "loader": loader.state(), "rng": torch.get_rng_state()}
                    keep = config.keep_checkpoints
                    save_checkpoint(fabric, config.output, training.bare_model, training.bare_optimizer, place, keep)
    summary = {
        "model": config.resolved_shape().name,
        "step": last,
        "tokens": metrics["tokens"],
        "loss": round(metrics["loss"], 4),
        "tokens_per_second": round(meter.average_speed()),
        "precision": training.hardware.precision,
        "tokenizer": loader.sources[0].stream.tokenizer,
    }
    return summary | {name: round(metrics[name], 4) for name in metrics if name.startswith("validation_")}
