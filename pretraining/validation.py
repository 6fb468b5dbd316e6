"""The loss on held-out shards while training, in nats per token and in bits per byte of text."""

import math

import torch
from lightning.fabric import Fabric

from pretraining.configs import STATS
from pretraining.loader import TokenStream
from pretraining.models import language_model_loss
from pretraining.train_config import TrainConfig
from prox.artifact import read_json


class Validation:
    """The first sequences of the validation shards, one after another; each device reads its part of them."""

    def __init__(self, config: TrainConfig, fabric: Fabric) -> None:
        self._fabric, self._micro_batch_size = fabric, config.micro_batch_size
        self._stream = TokenStream(config.validation)
        self._length = config.resolved_sequence_length()
        there = (len(self._stream) - 1) // self._length
        self.num_sequences = min(there, config.validation_sequences)
        statistics = read_json(config.validation / STATS)
        text_bytes = statistics.get("text_bytes")  # shards of earlier versions don't say
        self._bytes_per_token = text_bytes / statistics["tokens"] if text_bytes else None

    @torch.no_grad()
    def measure(self, model: torch.nn.Module) -> dict[str, float]:
        """``validation_loss`` in nats per token; ``validation_bits_per_byte`` by the shards' own bytes a token.

        Every device takes as many micro batches, the last of them perhaps empty: a sharded model is put together by
        all of them at once.
        """
        model.eval()
        fabric, size = self._fabric, self._micro_batch_size
        total = torch.zeros((), dtype=torch.float64, device=fabric.device)
        for begin in range(0, self.num_sequences, size * fabric.world_size):
            own = range(begin + fabric.global_rank * size, begin + (fabric.global_rank + 1) * size)
            numbers = [number for number in own if number < self.num_sequences]
            rows = [self._stream.read(number * self._length, self._length + 1) for number in numbers or [0]]
            batch = fabric.to_device(torch.stack([torch.from_numpy(row) for row in rows]))
            total += language_model_loss(model, batch).double() * len(numbers)
        model.train()
        loss = float(fabric.all_reduce(total, reduce_op="sum")) / self.num_sequences
        found = {"validation_loss": loss}
        if self._bytes_per_token is not None:
            found["validation_bits_per_byte"] = loss / math.log(2) / self._bytes_per_token
        return found
