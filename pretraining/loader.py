"""Feeds a model fixed-length sequences out of token shards, in an order that can be resumed to the token.

The shards of a source are one long stream. An epoch cuts it into sequences of T tokens whose targets are the tokens one
further, and visits them in a permutation that depends on (seed, epoch) alone; nothing is buffered, so the place in the
data is two numbers. A stream that is no multiple of T leaves a few tokens over: each epoch starts at another offset
within that remainder, so that over the epochs no token is out of reach (a fixed cut would never train on the last).

Several sources take turns by their weights, each in epochs of its own; whose turn it is follows from how often each has
had one, without chance.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np

from pretraining.configs import STATS
from pretraining.tokenize_corpus import SHARDS
from prox.artifact import read_json
from prox.errors import UserError


class Place(TypedDict):
    """The place in one source."""

    epoch: int
    index: int


class TokenStream:
    """The shards of a `pretraining tokenize` artefact as one stream, memory-mapped.

    Raises:
        UserError: a shard is not as long as the artefact's statistics say.
    """

    def __init__(self, artifact: Path) -> None:
        statistics = read_json(artifact / STATS)
        dtype = np.dtype(statistics["dtype"]).newbyteorder("<")
        self.artifact, self.vocab_size = artifact, int(statistics["vocab_size"])
        self.tokenizer: str | None = statistics.get("tokenizer")
        # An empty file can't be memory-mapped, and a task without documents leaves one.
        shards = [shard for shard in statistics["shards"] if shard["tokens"]]
        for shard in shards:
            path = artifact / SHARDS / shard["file"]
            size = path.stat().st_size if path.is_file() else 0
            if size != shard["tokens"] * dtype.itemsize:
                raise UserError(
                    f"{path} has {size:,} bytes, not the {shard['tokens'] * dtype.itemsize:,} of its "
                    f"{shard['tokens']:,} tokens: it is cut off or not whole; copy it again, or run "
                    "`pretraining tokenize` into a new folder"
                )
        self._shards = [np.memmap(artifact / SHARDS / shard["file"], dtype=dtype, mode="r") for shard in shards]
        self._starts = np.cumsum([0] + [len(shard) for shard in self._shards])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, start: int, length: int) -> np.ndarray:
        """Tokens ``start`` to ``start + length`` as int64, across shard boundaries; a token that is not in the
        vocabulary is a ``UserError``."""
        number = int(np.searchsorted(self._starts, start, side="right")) - 1
        pieces, begin = [], start
        while length > 0:
            offset = start - int(self._starts[number])
            piece = self._shards[number][offset : offset + length]
            pieces.append(piece)
            start, length, number = start + len(piece), length - len(piece), number + 1
        tokens = np.concatenate(pieces).astype(np.int64)
        if int(tokens.max()) >= self.vocab_size:
            raise UserError(
                f"{self.artifact} holds a token {int(tokens.max())} behind token {begin:,}, and its vocabulary ends at "
                f"{self.vocab_size}: a shard is damaged; run `pretraining tokenize` into a new folder"
            )
        return tokens


class Source:
    """The sequences of one stream, epoch after epoch."""

    def __init__(self, stream: TokenStream, sequence_length: int, seed: int) -> None:
        self.stream, self.sequence_length, self.seed = stream, sequence_length, seed
        self.num_sequences = (len(stream) - 1) // sequence_length
        if self.num_sequences < 1:
            raise ValueError(f"{len(stream)} tokens hold no sequence of {sequence_length} and its next token")
        self.remainder = (len(stream) - 1) % sequence_length
        self.start_epoch(0, 0)

    def start_epoch(self, epoch: int, index: int) -> None:
        """Goes to a sequence of an epoch."""
        self.epoch, self.index = epoch, index
        generator = np.random.default_rng((self.seed, epoch))
        self.offset = int(generator.integers(0, self.remainder + 1))
        self._order = generator.permutation(self.num_sequences)

    @property
    def taken(self) -> int:
        """Sequences taken so far, over all epochs."""
        return self.epoch * self.num_sequences + self.index

    def next_start(self) -> int:
        """Where the next sequence begins in the stream."""
        if self.index == self.num_sequences:
            self.start_epoch(self.epoch + 1, 0)
        start = self.offset + int(self._order[self.index]) * self.sequence_length
        self.index += 1
        return start


class SequenceLoader:
    """Hands out batches of sequences for ever.

    Args:
        streams: the sources; each holds at least ``sequence_length + 1`` tokens.
        weights: the share of each in the sequences, in any unit.
        sequence_length: T, in tokens.
        seed: seed of every epoch's order and offset.
        rank: this process's place among ``world_size``; each batch is cut into equal parts, so that the order of the
            data does not depend on the number of devices.
    """

    def __init__(
        self,
        streams: Sequence[TokenStream],
        weights: Sequence[float],
        sequence_length: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.sequence_length, self.rank, self.world_size = sequence_length, rank, world_size
        self.sources = [Source(stream, sequence_length, seed) for stream in streams]
        self.shares = [weight / sum(weights) for weight in weights]

    @property
    def epochs(self) -> list[float]:
        """Epochs behind each source."""
        return [source.taken / source.num_sequences for source in self.sources]

    def state(self) -> list[Place]:
        """The place in the data, for ``restore``."""
        return [{"epoch": source.epoch, "index": source.index} for source in self.sources]

    def restore(self, state: Sequence[Place]) -> None:
        """Continues at ``state``."""
        for source, place in zip(self.sources, state, strict=True):
            source.start_epoch(place["epoch"], place["index"])

    def _next(self) -> tuple[Source, int]:
        """The next sequence: of the source that lags most behind its share."""
        total = sum(source.taken for source in self.sources) + 1
        behind = [share * total - source.taken for share, source in zip(self.shares, self.sources, strict=True)]
        source = self.sources[behind.index(max(behind))]
        return source, source.next_start()

    def next_batch(self, size: int) -> np.ndarray:
        """This rank's part of the next ``size`` sequences: int64, (size / world_size, sequence_length + 1).

        A row's inputs are all but its last token, its targets all but its first.
        """
        if size % self.world_size:
            raise ValueError(f"a batch of {size} sequences can't be shared out to {self.world_size} devices")
        starts = [self._next() for _ in range(size)]
        share = size // self.world_size
        own = starts[self.rank * share : (self.rank + 1) * share]
        return np.stack([source.stream.read(start, self.sequence_length + 1) for source, start in own])
