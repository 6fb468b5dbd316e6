"""Learning rates: pure functions of the optimizer step, counted from 1 (a step at rate 0 would be a step lost)."""

import math

from pretraining.train_config import TrainConfig


def cosine(step: int, peak: float, minimum: float, warmup_steps: int, max_steps: int) -> float:
    """Linear warm-up to ``peak``, then half a cosine down to ``minimum`` at ``max_steps``."""
    if step < warmup_steps:
        return peak * step / warmup_steps
    progress = (step - warmup_steps) / max(1, max_steps - warmup_steps)
    return minimum + 0.5 * (1 + math.cos(math.pi * min(1.0, progress))) * (peak - minimum)


def warmup_stable_decay(step: int, peak: float, warmup_steps: int, decay_steps: int, max_steps: int) -> float:
    """Equation 8 of the paper: linear warm-up, ``peak``, then a fall to a sixteenth over the last ``decay_steps``."""
    if step < warmup_steps:
        return peak * step / warmup_steps
    stable_end = max_steps - decay_steps
    if step <= stable_end:
        return peak
    return peak * 0.5 ** (4 * (step - stable_end) / decay_steps)


def learning_rate(config: TrainConfig, step: int) -> float:
    """The learning rate of optimizer step ``step`` (from 1)."""
    if config.schedule == "wsd":
        return warmup_stable_decay(
            step, config.learning_rate, config.warmup_steps, config.decay_steps, config.resolved_steps()
        )
    return cosine(step, config.learning_rate, config.min_learning_rate, config.warmup_steps, config.resolved_steps())
