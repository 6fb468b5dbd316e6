"""Token ids of a document's numbered lines, as they stand in the middle of a prompt.

Encoding is the dear part of chunking, and most words of a corpus come again and again. ``LineIds`` cuts documents into
words where the tokenizer allows it (``prox/token_cuts.py``), looks their ids up (``prox/piece_ids.py``) and joins them:
Arrow cuts and NumPy joins, a batch of documents at a time.
"""

import functools
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prox.piece_ids import ID_TYPE, UNKNOWN, PieceIds, line_key, opening_keys
from prox.token_cuts import Cuts, batches, find_cuts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BATCH_CHARACTERS = 4_000_000
"""Characters of documents joined at a time: the more, the fewer words to look up; takes about 30 bytes for each."""

_BEFORE_A_SPACE = re.compile(r"(?<=[^\s\x01-\x06]|\n) ")
"""Where white space that begins with a space can be cut off from the word, or a line from the line, before it."""


@dataclass(frozen=True)
class NumberedIds:
    """Ids of a document's numbered lines, each with its line break; line ``n`` ends before ``ids[ends[n]]``."""

    ids: np.ndarray
    ends: np.ndarray

    def sizes(self) -> list[int]:
        """Number of tokens of each line."""
        return np.diff(self.ends, prepend=0).tolist()

    def between(self, first_line: int, end_line: int) -> list[int]:
        """Ids of the lines from ``first_line`` to before ``end_line``."""
        return self.ids[self.ends[first_line - 1] if first_line else 0 : self.ends[end_line - 1]].tolist()

    def starts(self, first_line: int, end_line: int) -> list[int]:
        """Where each of these lines begins among their ids."""
        begin = self.ends[first_line - 1] if first_line else 0
        return [0, *(self.ends[first_line : end_line - 1] - begin).tolist()]


class LineIds:
    """Encodes numbered lines for one tokenizer."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", cuts: Cuts) -> None:
        self._cuts = cuts
        self._look_up = PieceIds(tokenizer, cuts)
        self._openings: list[str] = []
        self._is_line_end = np.zeros(max(tokenizer.get_vocab().values()) + 2, dtype=bool)
        # A piece without ids counts as two line ends: no document with one has as many as it has lines.
        self._is_line_end[[*cuts.line_ends, UNKNOWN]] = True

    @property
    def markers(self) -> frozenset[int]:
        """Line numbers whose markers are tokens of their own."""
        return self._cuts.markers

    def __call__(self, texts: Sequence[str]) -> list[NumberedIds | None]:
        """The ids of each document's lines; None for a document whose ids can't be cut."""
        return [ids for batch in batches(texts, BATCH_CHARACTERS) for ids in self._batch(batch)]

    def _batch(self, texts: list[str]) -> list[NumberedIds | None]:
        found: list[NumberedIds | None] = [None] * len(texts)
        left = [index for index, text in enumerate(texts) if self._cuts.allow(text)]
        # Few documents have white space that isn't cut: it shows in a word that has no ids.
        for split in (
            (self._split_at_every_space, self._split_before_spaces) if self._cuts.words else (self._split_lines,)
        ):
            for index, ids in zip(left, self._ids(split([texts[index] for index in left])), strict=True):
                ends = np.flatnonzero(self._is_line_end[ids]) + 1
                if len(ends) == texts[index].count("\n") + 1:
                    found[index] = NumberedIds(ids, ends)
            left = [index for index in left if found[index] is None]
        return found

    def _split_at_every_space(self, texts: list[str]) -> pa.ListArray:
        """The keys of documents whose white space is single spaces and line breaks."""
        return pc.split_pattern(pa.array(map(self._numbered, texts), pa.string()), " ")

    def _split_before_spaces(self, texts: list[str]) -> pa.ListArray:
        """The keys of any documents: a word takes all white space before it but the first space."""
        return pa.array([_BEFORE_A_SPACE.split(self._numbered(text)) for text in texts], pa.list_(pa.string()))

    def _numbered(self, text: str) -> str:
        """The document's lines behind their openings, a space between one and the next."""
        lines = text.split("\n")
        openings = self._get_openings(len(lines))
        return " ".join([f"{opening}{line}\n" for opening, line in zip(openings, lines, strict=False)])

    def _split_lines(self, texts: list[str]) -> pa.ListArray:
        keys = [[line_key(number, line) for number, line in enumerate(text.split("\n"))] for text in texts]
        return pa.array(keys, pa.list_(pa.string()))

    def _get_openings(self, num_lines: int) -> list[str]:
        for number in range(len(self._openings), num_lines):
            self._openings.append(opening_keys(number, number in self._cuts.markers))
        return self._openings

    def _ids(self, keys: pa.ListArray) -> list[np.ndarray]:
        """Ids of each document, given as the keys of its pieces."""
        table = pc.dictionary_encode(keys.values)
        pieces = self._look_up(table.dictionary.to_pylist())
        ids = np.frombuffer(b"".join(pieces), ID_TYPE)
        lengths = np.fromiter(map(len, pieces), np.int64, len(pieces)) // ids.itemsize
        begins = np.cumsum(lengths) - lengths
        # For each id of the documents, how far it lies from its place among the ids of the pieces.
        words = table.indices.to_numpy()
        lengths = lengths[words]
        ends = np.cumsum(lengths)
        shifts = np.repeat(begins[words] - (ends - lengths), lengths)
        ids = ids[np.arange(len(shifts)) + shifts]
        bounds = np.concatenate([[0], ends])[keys.offsets.to_numpy()]
        return [ids[begin:end] for begin, end in itertools.pairwise(bounds)]


def line_ids(tokenizer: "PreTrainedTokenizerBase") -> LineIds | None:
    """The encoder of numbered lines for a tokenizer, kept with what it has learned; None where lines can't be cut."""
    return _line_ids(tokenizer, len(tokenizer))


@functools.lru_cache(maxsize=2)
def _line_ids(tokenizer: "PreTrainedTokenizerBase", _size: int) -> LineIds | None:
    cuts = find_cuts(tokenizer)
    return LineIds(tokenizer, cuts) if cuts else None
