"""Feeds a model fixed-length sequences out of token shards, in an order that can be resumed to the token.

The shards are one long stream. An epoch cuts it into sequences of T tokens whose targets are the tokens one further,
and visits them in a permutation that depends on (seed, epoch) alone; nothing is buffered, so the place in the data is
two numbers. A stream that is no multiple of T leaves a few tokens over: each epoch starts at another offset within that
remainder, so that over the epochs no token is out of reach (a fixed cut would never train on the last ones).
"""

from pathlib import Path
from typing import TypedDict

import numpy as np

from pretraining.configs import STATS
from pretraining.tokenize_corpus import SHARDS
from prox.artifact import read_json


class LoaderState(TypedDict):
    """The place in the data."""

    epoch: int
    index: int


class TokenStream:
    """The shards of a `pretraining tokenize` artefact as one stream, memory-mapped."""

    def __init__(self, artifact: Path) -> None:
        statistics = read_json(artifact / STATS)
        dtype = np.dtype(statistics["dtype"]).newbyteorder("<")
        # An empty file can't be memory-mapped, and a task without documents leaves one.
        shards = [shard for shard in statistics["shards"] if shard["tokens"]]
        self._shards = [np.memmap(artifact / SHARDS / shard["file"], dtype=dtype, mode="r") for shard in shards]
        self._starts = np.cumsum([0] + [len(shard) for shard in self._shards])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, start: int, length: int) -> np.ndarray:
        """Tokens ``start`` to ``start + length`` as int64, across shard boundaries."""
        number = int(np.searchsorted(self._starts, start, side="right")) - 1
        pieces = []
        while length > 0:
            offset = start - int(self._starts[number])
            piece = self._shards[number][offset : offset + length]
            pieces.append(piece)
            start, length, number = start + len(piece), length - len(piece), number + 1
        return np.concatenate(pieces).astype(np.int64)


class SequenceLoader:
    """Hands out batches of sequences for ever, epoch after epoch.

    Args:
        stream: the tokens; at least ``sequence_length + 1`` of them.
        sequence_length: T, in tokens.
        seed: seed of every epoch's order and offset.
        rank: this process's place among ``world_size``; each batch is cut into equal parts, so that the order of the
            data does not depend on the number of devices.
    """

    def __init__(
        self, stream: TokenStream, sequence_length: int, seed: int, rank: int = 0, world_size: int = 1
    ) -> None:
        self.stream, self.sequence_length, self.seed = stream, sequence_length, seed
        self.rank, self.world_size = rank, world_size
        self.num_sequences = (len(stream) - 1) // sequence_length
        if self.num_sequences < 1:
            raise ValueError(f"{len(stream)} tokens hold no sequence of {sequence_length} and its next token")
        self.remainder = (len(stream) - 1) % sequence_length
        self._start_epoch(0, 0)

    def _start_epoch(self, epoch: int, index: int) -> None:
        self.epoch, self.index = epoch, index
        generator = np.random.default_rng((self.seed, epoch))
        self.offset = int(generator.integers(0, self.remainder + 1))
        self._order = generator.permutation(self.num_sequences)

    def state(self) -> LoaderState:
        """The place in the data, for ``restore``."""
        return {"epoch": self.epoch, "index": self.index}

    def restore(self, state: LoaderState) -> None:
        """Continues at ``state``."""
        self._start_epoch(state["epoch"], state["index"])

    def _next_start(self) -> int:
        if self.index == self.num_sequences:
            self._start_epoch(self.epoch + 1, 0)
        start = self.offset + int(self._order[self.index]) * self.sequence_length
        self.index += 1
        return start

    def next_batch(self, size: int) -> np.ndarray:
        """This rank's part of the next ``size`` sequences: int64, (size / world_size, sequence_length + 1).

        A row's inputs are all but its last token, its targets all but its first.
        """
        starts = [self._next_start() for _ in range(size)]
        share = size // self.world_size
        own = starts[self.rank * share : (self.rank + 1) * share]
        return np.stack([self.stream.read(start, self.sequence_length + 1) for start in own])
