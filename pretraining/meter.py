"""Turns optimizer steps into metrics: speed, model FLOPs utilisation, memory."""

import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from pretraining.hardware import Hardware
from pretraining.train_config import PEAK_FLOPS, TrainConfig

GIB = 2**30


def peak_flops(config: TrainConfig, device: torch.device) -> float | None:
    """What one device can do at most, in FLOP/s: as configured, else as published for its name; None if unknown."""
    if config.peak_flops is not None:
        return config.peak_flops
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    if any(board in name for board in ("PCIe", "NVL")):  # slower than the boards that the figures are for
        return None
    return next((peak for kind, peak in PEAK_FLOPS.items() if kind in name), None)


def peak_memory(device: torch.device) -> float:
    """The most memory this process has held so far, in GiB: on its GPU, or resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024 / GIB


class Meter:
    """Speeds are those of the steps since the last call, without the time in which it was stopped."""

    def __init__(self, config: TrainConfig, hardware: Hardware, device: torch.device, first: int) -> None:
        length = config.resolved_sequence_length()
        self._step_tokens = config.global_batch_size * length
        self._flops_per_token = config.resolved_shape().training_flops_per_token(length)
        peak = peak_flops(config, device)
        self._peak = None if peak is None else peak * hardware.world_size
        self._device = device
        self._first = self._step = first
        self._begin = self._last = time.monotonic()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """What happens inside, such as saving, is not training."""
        begin = time.monotonic()
        yield
        seconds = time.monotonic() - begin
        self._begin, self._last = self._begin + seconds, self._last + seconds

    def metrics(self, step: int, loss: float, norm: float, rate: float, epochs: Sequence[float]) -> dict[str, float]:
        """One line of ``metrics.jsonl``.

        ``loss`` is in nats per token, ``tokens_per_second`` over all devices, ``model_flops_per_second`` what the
        model's arithmetic comes to (recomputed activations not counted), ``mfu`` its share of the peak,
        ``peak_memory_gib`` the main process's.
        """
        now = time.monotonic()
        speed = (step - self._step) * self._step_tokens / max(now - self._last, 1e-9)
        self._step, self._last = step, now
        found = {
            "loss": loss,
            "learning_rate": rate,
            "gradient_norm": norm,
            "tokens": step * self._step_tokens,
            "epoch": epochs[0],
            "tokens_per_second": speed,
            "model_flops_per_second": speed * self._flops_per_token,
            "peak_memory_gib": peak_memory(self._device),
        }
        found |= {f"epoch_{number}": epoch for number, epoch in enumerate(epochs) if number}
        if self._peak is not None:
            found["mfu"] = found["model_flops_per_second"] / self._peak
        return found

    def average_speed(self) -> float:
        """Tokens per second of this process so far."""
        return (self._step - self._first) * self._step_tokens / max(self._last - self._begin, 1e-9)
