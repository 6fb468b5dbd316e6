"""Prompts of any text between a fixed opening and a fixed closing: fitted to a length, or spliced from lines' ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from prox.chunking import Chunk, count_by_tokens, number_lines, pack_lines
from prox.errors import UserError
from prox.operations import line_marker
from prox.token_cuts import encode_batch

if TYPE_CHECKING:
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerBase

    from prox.line_ids import LineIds, NumberedIds

FIRST_TRY = 6
"""Characters of a text that are encoded for each token a prompt may have; more only where they turn out too few."""

# Texts whose ids must come out the same spliced and encoded whole, or no ids are spliced.
_PROBES = (
    "\n\nHome | About us \n  The heron's (first) page, 12,345.67 EUR.\t\nend\n",
    "a\nb.\r\n\r\n[1] [x](http://example.org/?a=1&b=2)]\n水は低きに流れる。\n\u00a0\u2028x\n🙂 e\u0301\n)\n-\n'tis\n7",
    "\n".join(
        f"{mark}{word} {word}{mark} {word}" for mark in "\"'(*#_]/%.:-9é" for word in ("The", "don't", "3rd", "ß")
    ),
)


@dataclass(frozen=True)
class Prompt:
    """A prompt as text and as token ids: BOS as the dialogue has it, then those of the text.

    The latter are ``tokenizer.encode(text, add_special_tokens=False)``: how LLaMA-Factory encodes the human turn.
    """

    text: str
    ids: list[int]
    cut: bool = False
    """A part of the document was left out."""


class Frame:
    """What stands around a text, for one tokenizer and length (``max_tokens``, with the ``bos`` ids in front).

    The lines of a chunk have their numbers in the document, or ``from_zero`` on.
    """

    def __init__(
        self,
        opening: str,
        closing: str,
        tokenizer: "PreTrainedTokenizerBase",
        bos: list[int],
        max_tokens: int,
        from_zero: bool = False,
    ) -> None:
        self._opening, self._closing, self._tokenizer, self._bos = opening, closing, tokenizer, bos
        self._max_tokens, self._from_zero = max_tokens, from_zero
        (empty,) = encode_batch(tokenizer, [opening + closing])
        self.num_tokens = len(bos) + len(empty)
        """Tokens of a prompt without text."""

    def check(self) -> None:
        """Raises ``UserError`` where the frame leaves no room for any text."""
        if self.num_tokens >= self._max_tokens:
            raise UserError(
                f"a prompt of at most {self._max_tokens} tokens has no room: its frame alone takes {self.num_tokens}"
            )

    def prompts(self, texts: Sequence[str]) -> list[Prompt]:
        """A prompt of each text; where it would be too long, the text's end is cut, never the closing."""
        self.check()
        limit = FIRST_TRY * self._max_tokens
        encodings = self._encode([text[:limit] for text in texts])
        return [self._fit(text, limit, encoding) for text, encoding in zip(texts, encodings, strict=True)]

    def _encode(self, texts: Sequence[str]) -> list["Encoding"]:
        framed = [self._opening + text + self._closing for text in texts]
        return list(encode_batch(self._tokenizer, framed, offsets=True))

    def _fit(self, text: str, limit: int, encoding: "Encoding") -> Prompt:
        """The prompt of a text whose first ``limit`` characters are encoded; to be cut, it is encoded once more."""
        room = self._max_tokens - len(self._bos)
        if len(encoding) <= room and limit < len(text):
            limit = self._max_tokens * self._longest_token
            (encoding,) = self._encode([text[:limit]])
        kept = min(limit, len(text))
        place = _tokens_before(encoding, len(self._opening) + kept)
        whole, step = encoding, 1
        while len(encoding) > room:
            # A cut changes the tokens around it: the more often that was wrong, the more is cut.
            place -= step * (len(encoding) - room)
            step *= 2
            kept = max(_end(whole, place) - len(self._opening), 0)
            (encoding,) = self._encode([text[:kept]])
        return Prompt(self._opening + text[:kept] + self._closing, self._bos + encoding.ids, kept < len(text))

    @cached_property
    def _longest_token(self) -> int:
        return _longest_token(self._tokenizer, len(self._tokenizer))

    def numbered(self, chunk: Chunk) -> str:
        """The chunk's lines with their numbers."""
        return number_lines(chunk.text, 0 if self._from_zero else chunk.first_line)

    def chunks(self, texts: Sequence[str], window: int) -> list[list[tuple[Chunk, Prompt | None]]]:
        """Each document in chunks of at most ``window`` tokens, line numbers and breaks included, with their prompts.

        Skipped chunks, lines longer than the window, have none.
        """
        self.check()
        longest = 4 * window * self._longest_token  # no such line fits: it isn't even encoded
        short = [text if len(text) <= longest else _without_long_lines(text, longest) for text in texts]
        numbered = self._splicing[0](short) if self._splicing else [None] * len(texts)
        return [self._chunks(*document, window) for document in zip(texts, short, numbered, strict=True)]

    def _chunks(
        self, text: str, short: str, ids: "NumberedIds | None", window: int
    ) -> list[tuple[Chunk, Prompt | None]]:
        lines, short_lines = text.split("\n"), short.split("\n")
        if ids:
            sizes = ids.sizes()
        else:
            marked = [line_marker(number) + line for number, line in enumerate(short_lines)]
            sizes = count_by_tokens(self._tokenizer)(marked)
        if short is not text:
            pairs = zip(lines, short_lines, sizes, strict=True)
            sizes = [size if len(line) == len(shorter) else window + 1 for line, shorter, size in pairs]
        chunks = pack_lines(lines, sizes, window)
        asked = [chunk for chunk in chunks if not chunk.skipped]
        prompts: list[Prompt | None] = [ids and self._splice(chunk, ids) for chunk in asked]
        left = [chunk for chunk, prompt in zip(asked, prompts, strict=True) if not prompt]
        fitted = iter(self.prompts([self.numbered(chunk) for chunk in left]))
        answers = iter([prompt or next(fitted) for prompt in prompts])
        return [(chunk, None if chunk.skipped else next(answers)) for chunk in chunks]

    def _splice(self, chunk: Chunk, lines: "NumberedIds") -> Prompt | None:
        """A chunk's prompt from the ids of its document's lines.

        None where it would be too long, or has numbers from zero that are not single tokens.
        """
        _, before, after = self._splicing
        inner = lines.between(chunk.first_line, chunk.end_line)
        if self._from_zero and chunk.first_line:
            starts = lines.starts(chunk.first_line, chunk.end_line)
            of_document = range(chunk.first_line, chunk.end_line)
            if not self._markers.keys() >= {*of_document, *range(len(of_document))}:
                return None
            for number, start in enumerate(starts):
                inner[start] = self._markers[number]
        ids = [*self._bos, *before, *inner, *after]
        if len(ids) > self._max_tokens:
            return None
        return Prompt(self._opening + self.numbered(chunk) + self._closing, ids)

    @cached_property
    def _markers(self) -> dict[int, int]:
        """Ids of the line markers that are tokens of their own, by the line's number."""
        encoder, _, _ = self._splicing
        return {number: self._tokenizer.convert_tokens_to_ids(line_marker(number)) for number in encoder.markers}

    @cached_property
    def _splicing(self) -> "tuple[LineIds, list[int], list[int]] | None":
        """The encoder of lines, and the ids before and after them; None where prompts must be encoded whole."""
        from prox.line_ids import line_ids

        encoder = line_ids(self._tokenizer)
        # Lines must have the neighbours here that they have in the middle of a document.
        after_line = self._opening.endswith("\n") and not self._opening[-2:-1].isspace()
        if encoder is None or not after_line or not self._closing.startswith("\n["):
            return None
        (line,) = encoder(["0"])
        (whole,) = self._encode([number_lines("0")])
        parts = _split_around(whole.ids, line.ids.tolist()) if line else None
        return (encoder, *parts) if parts and self._splices_well(encoder, *parts) else None

    def _splices_well(self, encoder: "LineIds", before: list[int], after: list[int]) -> bool:
        probes = [(text, lines) for text, lines in zip(_PROBES, encoder(_PROBES), strict=True) if lines]
        for text, lines in probes:
            for first_line in (0, 3):
                rest = "\n".join(text.split("\n")[first_line:])
                (whole,) = self._encode([number_lines(rest, first_line)])
                if whole.ids != before + lines.between(first_line, len(lines.ends)) + after:
                    return False
        return bool(probes)


@lru_cache(maxsize=4)
def _longest_token(tokenizer: "PreTrainedTokenizerBase", _size: int) -> int:
    """Characters of the longest token."""
    return max(map(len, tokenizer.get_vocab()))


def _tokens_before(encoding: "Encoding", place: int) -> int:
    """Number of tokens that end at or before a character."""
    count = len(encoding)
    while count and _end(encoding, count) > place:
        count -= 1
    return count


def _end(encoding: "Encoding", count: int) -> int:
    """Character behind the first ``count`` tokens."""
    return encoding.token_to_chars(count - 1)[1] if count > 0 else 0


def _split_around(ids: list[int], part: list[int]) -> tuple[list[int], list[int]] | None:
    """The ids before and after the last place where ``part`` stands."""
    for begin in range(len(ids) - len(part), -1, -1):
        if ids[begin : begin + len(part)] == part:
            return ids[:begin], ids[begin + len(part) :]
    return None


def _without_long_lines(text: str, longest: int) -> str:
    return "\n".join(line if len(line) <= longest else "" for line in text.split("\n"))
