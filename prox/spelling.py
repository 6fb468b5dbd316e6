"""How many tokens a text's letters take: by that a refiner notices a language it was not taught.

A tokenizer spells the words it was made of in few tokens, those of a cousin language in more, and those of another
script byte by byte. The step from English to Italian is small but clear over a page, not over a line
(docs/benchmarks.md).
"""

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prox.token_cuts import encode_batch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MOST_PER_LETTER = 1.0
"""No ASCII text takes more, whatever the tokenizer; letters spelled in bytes do."""
LEAST_LETTERS = 50
"""Of fewer letters, the tokens say little about the language. To leave an English page as it is costs less than to
clean one in another language, so that a few wrong ones among the shortest pages are borne (docs/benchmarks.md)."""
LEAST_LETTERS_OF_A_SCRIPT = 20
"""And of so few nothing about the script: they may be symbols of mathematics."""
NOT_UTF8 = "\ufffd"
BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")


@dataclass(frozen=True)
class Spelling:
    """Letters of a text, and the tokens that have a letter in them or a part of one."""

    tokens: int = 0
    letters: int = 0

    def __add__(self, other: "Spelling") -> "Spelling":
        return Spelling(self.tokens + other.tokens, self.letters + other.letters)

    @property
    def tokens_per_letter(self) -> float:
        """0 of a text without letters."""
        return self.tokens / self.letters if self.letters else 0.0

    def is_foreign(self, limit: float) -> bool:
        """Whether a whole page of it is in a language that takes more than ``limit`` tokens a letter."""
        return self.letters >= LEAST_LETTERS and self.tokens_per_letter > limit

    def is_spelled_in_bytes(self, limit: float) -> bool:
        """Whether it is in a script that takes far more, which the lines of a part of a page tell."""
        return self.letters >= LEAST_LETTERS_OF_A_SCRIPT and self.tokens_per_letter > max(MOST_PER_LETTER, 1.5 * limit)


@functools.lru_cache(maxsize=2)
def speller_of(tokenizer: "PreTrainedTokenizerBase") -> "Speller":
    """The tokenizer's speller, made once: it looks at the whole vocabulary."""
    return Speller(tokenizer)


class Speller:
    """Counts for one tokenizer."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self._tokenizer = tokenizer
        size = max(tokenizer.get_vocab().values()) + 1
        texts = tokenizer.batch_decode([[number] for number in range(size)], skip_special_tokens=True)
        self._has_letter = [any(one.isalpha() or one == NOT_UTF8 for one in text) for text in texts]

    def count(self, lines: Iterable[tuple[str, Sequence[int]]]) -> Spelling:
        """Of lines and their token ids."""
        tokens = letters = 0
        symbols: list[str] = []
        for line, ids in lines:
            letters += sum(map(str.isalpha, line))
            if any(not one.isalpha() for one in BEYOND_ASCII.findall(line)):
                symbols.append("".join(one if one.isascii() or one.isalpha() else " " for one in line))
            else:
                tokens += self._with_letters(ids)
        # Parts of an emoji or a quotation mark can't be told from those of a letter.
        tokens += sum(self._with_letters(encoding.ids) for encoding in encode_batch(self._tokenizer, symbols))
        return Spelling(tokens, letters)

    def _with_letters(self, ids: Sequence[int]) -> int:
        return sum(map(self._has_letter.__getitem__, ids))
