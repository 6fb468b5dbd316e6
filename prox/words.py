"""What counts as a word, in any script."""

import re

UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002ffff"
)
"""Scripts written without spaces (Thai, Lao, Burmese, Khmer, Japanese, Chinese), as ranges for a character class."""

# A run of letters or digits is a word, except in scripts written without spaces, where every character counts as one.
_WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
_UNSPACED_CHARACTER = re.compile(rf"[{UNSPACED}]")


def count_words(text: str) -> int:
    """Number of words; characters of scripts without spaces (Chinese, Japanese, Thai, ...) count one each."""
    return len(_WORD.findall(text))


def count_unspaced(text: str) -> int:
    """Number of characters of scripts without spaces."""
    return len(_UNSPACED_CHARACTER.findall(text))
