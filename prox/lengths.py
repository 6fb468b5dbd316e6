"""Classes of length that scores are given by."""

import bisect
import itertools
from collections.abc import Iterable
from typing import TypeVar

Item = TypeVar("Item")

WORD_BOUNDS = (100, 300, 1000, 3000)
"""Where the classes begin, in words (``prox.words.count_words``), after the first."""


def by_length(items: Iterable[tuple[int, Item]]) -> list[tuple[str, list[Item]]]:
    """(class of length, the items in it), shortest first, from (words, item); classes without any are left out."""
    names = [f"{low:,}-{high - 1:,}" for low, high in itertools.pairwise((0, *WORD_BOUNDS))]
    names.append(f"{WORD_BOUNDS[-1]:,} or more")
    members: list[list[Item]] = [[] for _ in names]
    for words, item in items:
        members[bisect.bisect_right(WORD_BOUNDS, words)].append(item)
    return [(name, found) for name, found in zip(names, members, strict=True) if found]
