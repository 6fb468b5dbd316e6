"""Splitting documents into chunks that fit the refiner's window (paper, Algorithm 1 in A.4)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prox.operations import line_marker
from prox.words import count_words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Counter = Callable[[Sequence[str]], Sequence[int]]

LINE_GAP = " ... "
"""Stands where the middle of a long line was left out."""
MIN_LINE_CHARACTERS = 20
"""Fewer characters of a line say nothing about it."""


SKIP_REASONS = ("longer_than_window", "language_not_taught", "mostly_not_shown")
"""Why no refiner sees a chunk."""
LONGER_THAN_WINDOW, LANGUAGE_NOT_TAUGHT, MOSTLY_NOT_SHOWN = SKIP_REASONS


@dataclass(frozen=True)
class Chunk:
    """Consecutive lines of a document; ``first_line`` is the number of its first line in the document.

    ``skipped`` marks what no refiner sees and is kept untouched: a single line that is longer than the window, or a
    chunk of a page that is unlike what a tagger was taught, in another language or of lines that are too long.
    """

    first_line: int
    text: str
    skipped: bool = False
    skip_reason: str = LONGER_THAN_WINDOW
    """Why, if it is."""

    @property
    def end_line(self) -> int:
        """Number of the line after the chunk's last."""
        return self.first_line + self.text.count("\n") + 1


def number_lines(text: str, first_line: int = 0) -> str:
    """Puts its number in front of every line, as the refiner reads it: ``[007]The line``."""
    return "\n".join(line_marker(number) + line for number, line in enumerate(text.split("\n"), first_line))


def shorten_lines(text: str, max_characters: int) -> str:
    """Cuts the middle out of every line that is longer, so that the refiner reads its beginning and its end.

    Lines keep their numbers. Two thirds of what is left are beginning: how a line opens says most about what it is.
    """
    if len(text) <= max_characters:
        return text
    left = max_characters - len(LINE_GAP)
    begin, end = left - left // 3, left // 3
    return "\n".join(
        line if len(line) <= max_characters else line[:begin] + LINE_GAP + line[len(line) - end :]
        for line in text.split("\n")
    )


def count_by_words(lines: Sequence[str]) -> list[int]:
    """Length of each line in words (the paper's short cut, A.4); characters of scripts without spaces count each."""
    return [len(line.split()) if line.isascii() else max(len(line.split()), count_words(line)) for line in lines]


def count_by_tokens(tokenizer: "PreTrainedTokenizerBase") -> Counter:
    """A counter of tokens that encodes all lines of a document in one batch."""

    def count(lines: Sequence[str]) -> list[int]:
        encoded = tokenizer(list(lines), add_special_tokens=False, return_attention_mask=False)
        return [len(ids) + 1 for ids in encoded["input_ids"]]  # one for the line break

    return count


def split_into_chunks(
    text: str,
    window: int,
    count: Counter = count_by_words,
    max_line_characters: int | None = None,
    numbered: bool = True,
) -> list[Chunk]:
    """Splits ``text`` at line breaks into chunks of at most ``window`` units each, greedily and without overlap.

    ``count`` gives the length of each line as the refiner reads it, with its number if lines are ``numbered``, and
    shortened where the refiner is shown no more than ``max_line_characters``; the default counts words.
    Joining the chunks' texts with line breaks gives ``text`` back exactly. Raises ``ValueError`` for a window below 1.
    """
    lines = text.split("\n")
    shown = lines if max_line_characters is None else shorten_lines(text, max_line_characters).split("\n")
    if numbered:
        shown = [line_marker(number) + line for number, line in enumerate(shown)]
    return pack_lines(lines, count(shown), window)


def pack_lines(lines: Sequence[str], sizes: Sequence[int], window: int) -> list[Chunk]:
    """``split_into_chunks`` for the lines of a document (at least one) whose lengths are known."""
    if window < 1:
        raise ValueError(f"window must be at least 1, is {window}")
    chunks: list[Chunk] = []
    begin, used = 0, 0
    for number, size in enumerate(sizes):
        if used + size <= window:
            used += size
            continue
        if number > begin:
            chunks.append(Chunk(begin, "\n".join(lines[begin:number])))
        begin, used = number, size
        if size > window:
            chunks.append(Chunk(number, lines[number], skipped=True))
            begin, used = number + 1, 0
    if begin < len(lines):
        chunks.append(Chunk(begin, "\n".join(lines[begin:])))
    return chunks
