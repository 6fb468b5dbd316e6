"""Token ids of the pieces that numbered lines are cut into, learned once and remembered.

A piece is encoded with the neighbours that decide its ids: a word stands between two words, the first word of a line
behind a marker. So that a new word costs little, many are encoded as one text, which is then cut again.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from prox.operations import line_marker
from prox.token_cuts import CONTROLS, PUNCTUATION, Cuts, batches, encode_batch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MEMORY = 300_000
"""Pieces remembered before those not asked for lately are forgotten; so many again may be kept of those."""
LONGEST_REMEMBERED = 100
"""Characters of the longest piece remembered."""
GROUP_CHARACTERS = 5_000
"""New pieces are encoded in texts of about this length."""

ID_TYPE = np.int32
Piece = bytes
"""Token ids of ``ID_TYPE``, in a form that takes little memory and is joined fast."""

UNKNOWN = -1
NOT_CUT: Piece = np.array([UNKNOWN, UNKNOWN], ID_TYPE).tobytes()
"""In place of the ids of a piece that can't be cut out."""

# A piece's key is a sign of its kind and what it writes. A word inside a line is its own key, without the space before
# it; so is a line's last word, with the line break.
_HEAD, _MARKED_HEAD, _MARKER, _ADDED_MARKER, _TAIL, _LINE = CONTROLS
_HEADS, _MARKERS = (_HEAD, _MARKED_HEAD), (_MARKER, _ADDED_MARKER)
_WHOLE = (*_MARKERS, _TAIL, _LINE)
_TAIL_ENDS = PUNCTUATION + "\n"


def line_key(number: int, line: str) -> str:
    """Key of a numbered line that is one piece."""
    return f"{_LINE}{line_marker(number)}{line}\n"


def opening_keys(number: int, added: bool) -> str:
    """The key of a line's marker, a space, and the beginning of the key of the line's first word.

    A marker that is an added token is cut off behind its bracket, any other before it.
    """
    marker = line_marker(number)
    return f"{_ADDED_MARKER}{marker} {_MARKED_HEAD}" if added else f"{_MARKER}{marker[:-1]} {_HEAD}]"


class PieceIds:
    """Ids of pieces by key, for one tokenizer."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", cuts: Cuts) -> None:
        self._tokenizer, self._cuts = tokenizer, cuts
        self._memory: dict[str, Piece] = {}
        self._earlier: dict[str, Piece] = {}
        self._is_line_end, self._is_word_start, self._is_bracket = (
            _table(tokens, tokenizer) for tokens in (cuts.line_ends, cuts.word_starts, cuts.brackets)
        )
        plain = next(number for number in range(len(cuts.markers) + 1) if number not in cuts.markers)
        self._plain, self._added = line_marker(plain), line_marker(min(cuts.markers, default=0))
        zero, after_plain, after_added = self._rows(["[0 0\n", self._plain + "0\n", self._added + "0\n"])
        one = ID_TYPE().itemsize
        self._known: dict[str, Piece] = {"": b"", self._added: after_added[:one], "0\n": after_added[one:]}
        self._known["[0"], self._known[" 0\n"] = _split_at_last(zero, self._is_word_start)
        self._known[self._plain[:-1]], self._known["]0\n"] = _split_at_last(after_plain, self._is_bracket)

    def __call__(self, keys: Sequence[str]) -> list[Piece]:
        """The ids of each piece; ``NOT_CUT`` where they can't be told from those of its neighbours."""
        if len(self._memory) > MEMORY:
            self._earlier, self._memory = self._memory, {}
        pieces = list(map(self._memory.get, keys))
        gaps = [place for place, piece in enumerate(pieces) if piece is None]
        self._learn([keys[place] for place in gaps])
        for place in gaps:
            key = keys[place]
            lasting = len(key) <= LONGEST_REMEMBERED and key[:1] != _LINE
            pieces[place] = self._memory[key] if lasting else self._memory.pop(key)
        return pieces

    def _learn(self, new: Iterable[str]) -> None:
        memory, earlier = self._memory, self._earlier
        joined: dict[str, tuple[str, str]] = {}
        inner, others = [], []
        keys = list(new)
        for key in keys:  # grows by the stems and tails of words
            if key in memory:
                continue
            known = earlier.get(key)
            memory[key] = known or NOT_CUT
            if known or not self._can_be_cut_out(key):
                continue
            if key[-1] in _TAIL_ENDS and (stem := self._stem(key)) != key:
                joined[key] = stem, _TAIL + key[len(stem) :]
                keys += joined[key]
            elif key[0] in CONTROLS or key[-1] == "\n" or key[0].isspace():
                others.append(key)
            else:
                inner.append(key)
        memory.update(zip(inner, self._inner_words(inner), strict=True))
        memory.update(zip(others, self._in_rows(others), strict=True))
        memory.update((key, memory[stem] + memory[tail]) for key, (stem, tail) in joined.items())

    def _can_be_cut_out(self, key: str) -> bool:
        """False for what is left of a word that was cut at a space with other white space, or nothing, before it."""
        text = key[1:] if key[:1] in _HEADS else key
        if text[-1:] != "\n":
            return bool(text) and not text[-1].isspace()
        # Where markers are tokens of their own, white space at a line's end depends on the next line having such a one.
        return not (self._cuts.markers and (text[-2:-1].isspace() or key == "\n"))

    def _stem(self, key: str) -> str:
        """The word without punctuation and line break at its end, where it can be cut there."""
        if not self._cuts.tails or len(key) > LONGEST_REMEMBERED or key[0] in _WHOLE:
            return key
        stem = key.rstrip(_TAIL_ENDS)
        return stem if stem[-1:].isascii() and stem[-1:].isalnum() else key

    def _inner_words(self, words: list[str]) -> list[Piece]:
        """Ids of words that have a space on either side."""

        def cut(ids: np.ndarray) -> np.ndarray:
            return np.flatnonzero(self._is_word_start[ids[1:]]) + 1

        return self._encode(words, lambda group: f"0 {' '.join(group)} 0", cut)

    def _in_rows(self, keys: list[str]) -> list[Piece]:
        """Ids of the other pieces, each encoded as a part of a line of its own."""
        parts = [self._row(key) for key in keys]
        rows = self._rows(["".join(row) for row in parts])
        return [self._between(before, row, after) for (before, _, after), row in zip(parts, rows, strict=True)]

    def _row(self, key: str) -> tuple[str, str, str]:
        """What stands before a piece, what it writes, and what stands behind it."""
        kind, written = key[0], key[1:]
        if kind == _LINE:
            return "", written, ""
        if kind in _MARKERS:
            return "", written, "]0\n" if kind == _MARKER else "0\n"
        after = "" if key[-1] == "\n" else " 0\n"
        if kind in _HEADS:
            return self._plain[:-1] if kind == _HEAD else self._added, written, after
        return "[0", written if kind == _TAIL else f" {key}", after

    def _between(self, before: str, ids: Piece, after: str) -> Piece:
        """The ids without those of their surroundings."""
        head, tail = self._known[before], self._known[after]
        end = len(ids) - len(tail)
        return ids[len(head) : end] if len(head) <= end and ids.startswith(head) and ids.endswith(tail) else NOT_CUT

    def _rows(self, rows: list[str]) -> list[Piece]:
        """Ids of numbered lines, given with their line breaks."""

        def cut(ids: np.ndarray) -> np.ndarray:
            return np.flatnonzero(self._is_line_end[ids]) + 1

        return self._encode(rows, lambda group: f"0\n{''.join(group)}[", cut)

    def _encode(
        self, parts: list[str], join: Callable[[list[str]], str], cut: Callable[[np.ndarray], np.ndarray]
    ) -> list[Piece]:
        """Encodes parts, joined in groups; a joined text begins and ends with a piece that is no part."""
        groups = list(batches(parts, GROUP_CHARACTERS))
        found: list[Piece] = []
        for group, encoding in zip(groups, encode_batch(self._tokenizer, list(map(join, groups))), strict=True):
            ids = np.array(encoding.ids, ID_TYPE)
            places = (cut(ids) * ids.itemsize).tolist()
            if len(places) == len(group) + 1:
                joined = ids.tobytes()
                found += [joined[begin:end] for begin, end in itertools.pairwise(places)]
            elif len(group) == 1:
                found.append(NOT_CUT)
            else:
                found += [piece for part in group for piece in self._encode([part], join, cut)]
        return found


def _table(tokens: Iterable[int], tokenizer: "PreTrainedTokenizerBase") -> np.ndarray:
    """For every token id whether it is one of ``tokens``."""
    table = np.zeros(max(tokenizer.get_vocab().values()) + 1, dtype=bool)
    table[list(tokens)] = True
    return table


def _split_at_last(piece: Piece, table: np.ndarray) -> tuple[Piece, Piece]:
    """The ids before the last one that is in the table, and the rest."""
    ids = np.frombuffer(piece, ID_TYPE)
    places = np.flatnonzero(table[ids])
    return (ids[: places[-1]].tobytes(), ids[places[-1] :].tobytes()) if len(places) else (NOT_CUT, NOT_CUT)
